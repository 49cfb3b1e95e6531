"""Cutouts from a service that takes a position: one FITS file an object, as the service gave it.

The ``.toml`` of the survey has a table ``[cutouts]``: ``pixel_scale`` (arcsec), ``pixels`` (side),
``largest`` (side that the service allows), ``seconds_between`` requests, ``columns`` that the list
of positions needs, and ``regions`` of the sky, ``[[ra_min, ra_max, dec_min, dec_max], ...]`` in
degrees, from which positions are drawn when no list is given.  The URL is a template with the
columns in braces and ``{pixels}``, ``{degrees}``, ``{arcmin}``, ``{pixel_scale}``, ``{bands}``.
"""

import csv
import gzip
import io
import math
import string
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from astro_vq.errors import ConfigError, DownloadError

from . import download as fetching
from .base import BuildOptions, Recipe, Report
from .folder import BuildFolder, safe_name

Row = dict[str, str]

_NAMES = ("name", "id", "objid", "object", "object_id", "rgz_name", "rgzid", "oid")
_HOPELESS = 10  # failures at the start after which the service is taken to have changed
_SYNONYMS = {"ra": ("ra", "raj2000", "ra_deg", "radeg"), "dec": ("dec", "dej2000", "decj2000",
             "dec_deg", "decdeg")}  # fmt: skip


def build_cutouts(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Fetch a cutout of each position; those that the service does not have are left out.

    Raises
    ------
    ConfigError
        For a list of positions without what is needed, or an impossible size or band.
    DownloadError
        When the service fails; a later run goes on from there.
    """
    settings = (recipe.facts or {})["cutouts"]
    rows = positions_of(recipe, options)
    bands = options.bands or recipe.bands
    if set(bands) - set(recipe.bands):
        raise ConfigError(f"{recipe.name} has the bands {', '.join(recipe.bands)}, not all given")
    pixels = options.size or settings["pixels"]
    if not 8 <= pixels <= settings["largest"]:
        raise ConfigError(f"{recipe.name} gives 8 to {settings['largest']} pixels, not {pixels}")
    requested = False
    each = bands if "{band}" in recipe.urls[0] else ("",)
    jobs = [(row, band) for row in rows for band in each]
    for number, (row, band) in enumerate(jobs):
        name = object_name(row)
        stem = "_".join(filter(None, (name, row.get("candid"), band)))
        path = folder.place(name, f"{safe_name(stem)}.fits")
        if folder.has(path):
            continue
        url = cutout_url(recipe, row, pixels=pixels, bands=bands, band=band)
        if requested:
            fetching.sleep(settings["seconds_between"])
        requested = True
        try:
            digest = fetching.download(
                url, path, mirror=options.mirror, check=unpack_fits, policy=fetching.POLICY
            )
        except DownloadError as err:
            if not err.is_missing:
                raise
            folder.leave_out(f"{name} {band}".strip(), str(err))
            report(f"{number + 1} of {len(jobs)}: left out {name}")
            if len(folder.left_out) >= _HOPELESS and not folder.images:
                raise DownloadError(
                    f"the first {_HOPELESS} positions gave nothing, the last one because {err}; "
                    f"see {recipe.home} whether the service is still as {recipe.name} expects it"
                ) from err
            continue
        folder.add(path, sha256=digest)
        report(f"{number + 1} of {len(jobs)}: {path.name}")


def cutout_url(
    recipe: Recipe, row: Row, *, pixels: int, bands: tuple[str, ...], band: str = ""
) -> str:
    """Return the URL of one cutout."""
    scale = (recipe.facts or {})["cutouts"]["pixel_scale"]
    values = {key: quote(value, safe="") for key, value in row.items()}
    values |= {
        "pixels": str(pixels),
        "degrees": f"{pixels * scale / 3600:.6f}",
        "arcmin": f"{pixels * scale / 60:.4f}",
        "pixel_scale": f"{scale:g}",
        "bands": quote("".join(bands)),
        "band": quote(band),
    }
    return recipe.urls[0].format_map(values)


def positions_of(recipe: Recipe, options: BuildOptions) -> list[Row]:
    """Return the rows of the user's list, or positions drawn in the regions of the survey."""
    settings = (recipe.facts or {})["cutouts"]
    fields = {field for _, field, _, _ in string.Formatter().parse(recipe.urls[0]) if field}
    needed = fields - {"pixels", "degrees", "arcmin", "pixel_scale", "bands", "band"}
    count = recipe.count if options.count is None else options.count
    if options.positions is not None:
        rows = read_positions(options.positions, needed)
        return rows if options.count is None else rows[:count]
    if not settings.get("regions"):
        return [dict(row) for row in settings["examples"]][:count]
    rng = np.random.default_rng(options.seed)
    boxes = np.array(settings["regions"], dtype=np.float64)
    heights = np.sin(np.radians(boxes[:, 2:]))
    areas = (boxes[:, 1] - boxes[:, 0]) * (heights[:, 1] - heights[:, 0])
    chosen = rng.choice(len(boxes), size=count, p=areas / areas.sum())
    ra = rng.uniform(boxes[chosen, 0], boxes[chosen, 1])
    dec = np.degrees(np.arcsin(rng.uniform(heights[chosen, 0], heights[chosen, 1])))
    return [{"ra": f"{a:.6f}", "dec": f"{d:.6f}"} for a, d in zip(ra, dec, strict=True)]


def read_positions(path: Path, needed: set[str]) -> list[Row]:
    """Read a CSV list: a row of titles, then a row an object.

    Raises
    ------
    ConfigError
        Naming file, line and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is no text; a list of positions is a CSV file") from err
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    titles = {(title or "").strip().lower() for title in reader.fieldnames or ()}
    lacking = [n for n in sorted(needed) if not titles & set(_SYNONYMS.get(n, (n,)))]
    if lacking:
        raise ConfigError(
            f"{path}: no column {', '.join(lacking)}; the first line must name the columns, such "
            f"as name,{','.join(sorted(needed, reverse=True))}"
        )
    rows = []
    for record in reader:
        row = {
            k.strip().lower(): (v or "").strip() for k, v in record.items() if isinstance(k, str)
        }
        for target, titles_of in _SYNONYMS.items():
            if target in needed:
                row[target] = next(row[t] for t in titles_of if t in row)
                _check_degrees(row[target], target, path, reader.line_num)
        rows.append(row)
    if not rows:
        raise ConfigError(f"{path} lists no position")
    return rows


def _check_degrees(text: str, name: str, path: Path, line: int) -> None:
    low, high = (0.0, 360.0) if name == "ra" else (-90.0, 90.0)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ConfigError(
            f"{path}, line {line}: {name} is {text!r}, not {low:g} to {high:g} degrees"
        )


def object_name(row: Row) -> str:
    """Return the name of the object of a row: its own, or one made of its position."""
    name = next((row[key] for key in _NAMES if row.get(key)), "")
    return name or f"J{float(row['ra']):09.5f}{float(row['dec']):+09.5f}"


def unpack_fits(path: Path) -> str:
    """Return what is wrong with a file that should be FITS; a zip file of one is unpacked."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return _unzip(path)
    if start.startswith(b"\x1f\x8b"):
        return _gunzip(path)
    if start.startswith(b"SIMPLE  ="):
        return ""
    shown = " ".join(start[:60].decode("ascii", "replace").split())
    return f"with no FITS file but {shown!r}" if start else "with nothing"


def _unzip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.lower().endswith(".fits")]
            if not members:
                return "the zip file has no FITS file in it"
            largest = max(members, key=lambda member: member.file_size)
            with archive.open(largest) as file:
                content = _bounded(file)
    except (zipfile.BadZipFile, OSError, EOFError) as err:
        return f"the zip file is damaged ({err})"
    return _replace(path, content)


def _gunzip(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            content = _bounded(file)
    except (OSError, EOFError) as err:
        return f"the gzip file is damaged ({err})"
    return _replace(path, content)


def _bounded(file: Any) -> bytes:  # noqa: ANN401 - zipfile and gzip share no type
    """Read what a compressed file holds, a cutout's size at most."""
    content: bytes = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(f"more than {_LARGEST} bytes")
    return content


_LARGEST = 1 << 28  # bytes of a cutout out of a compressed file


def _replace(path: Path, content: bytes) -> str:
    if not content.startswith(b"SIMPLE  ="):
        return "what it holds is no FITS file"
    path.write_bytes(content)
    return ""
