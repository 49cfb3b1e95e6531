"""Which files a report is about, and what their pages are called."""

import glob
from collections.abc import Sequence
from pathlib import Path

from astro_vq.errors import DataError
from astro_vq.io.image import find_images


def find_inputs(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths, folders and patterns stand for, each once, in order.

    Parameters
    ----------
    paths : sequence of Path
        Files (returned as they are, whether they exist or not), folders (all images below), and
        patterns such as ``night*/*.fits`` that the shell left alone.

    Raises
    ------
    DataError
        A folder holds no images, or a pattern fits none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = find_images(path)
            if not inside:
                raise DataError(f"{path}: no FITS image in this folder or below")
            found += inside
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207
            if not matches:
                raise DataError(f"{path}: no file fits this pattern")
            found += matches
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def page_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for the page of each file: its own, made unique by its folders."""
    names = [path.name for path in paths]
    result = []
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            name = "__".join([*path.parent.parts[-2:], path.name]).replace("/", "")
        result.append(name)
    counts: dict[str, int] = {}
    for index, name in enumerate(result):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            result[index] = f"{name}-{counts[name]}"
    return result
