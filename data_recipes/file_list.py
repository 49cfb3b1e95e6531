"""Files of a repository that lists them with their checksums, as Hugging Face does."""

import json
import re
from urllib.parse import quote

import numpy as np

from astro_vq.errors import DownloadError

from . import download as fetching
from .base import BuildOptions, Recipe, Report
from .folder import BuildFolder, safe_name


def build_listed(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Fetch files whose names fit the pattern of the recipe, each checked by its SHA-256.

    The object of a file is its name up to the first dot, so that a frame in several versions stays
    in one split.

    Raises
    ------
    DownloadError
        When the list or a file cannot be fetched, or the list is none.
    """
    listing, template = recipe.urls
    place = folder.downloads / "files.json"
    fetching.download(listing, place, mirror=options.mirror, policy=fetching.POLICY)
    pattern = re.compile((recipe.facts or {})["pattern"])
    try:
        files = {
            str(entry["path"]): str((entry.get("lfs") or {}).get("oid", ""))
            for entry in json.loads(place.read_bytes())
            if entry.get("type") == "file" and pattern.match(str(entry["path"]))
        }
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        place.unlink()
        raise DownloadError(
            f"{listing} gave no list of files ({err}); see {recipe.home} for how it is served now"
        ) from err
    if not files:
        place.unlink()
        raise DownloadError(
            f"{listing} lists no file that fits {pattern.pattern}; see {recipe.home} for what is "
            "there now"
        )
    names = sorted(files)
    order = np.random.default_rng(options.seed).permutation(len(names))
    chosen = [names[i] for i in order[: options.count or recipe.count]]
    for number, name in enumerate(chosen):
        base = safe_name(name.rsplit("/", 1)[-1])
        path = folder.place(base.partition(".")[0], base)
        if not folder.has(path):
            checksum = f"sha256:{files[name]}" if files[name] else ""
            url = template.format(path=quote(name))
            try:
                digest = fetching.download(
                    url, path, checksum=checksum, mirror=options.mirror, policy=fetching.POLICY
                )
            except DownloadError as err:
                if not err.is_missing:
                    raise
                folder.leave_out(name, str(err))
                continue
            folder.add(path, sha256=digest)
        report(f"{number + 1} of {len(chosen)}: {base}")
