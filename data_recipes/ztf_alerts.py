"""Zwicky Transient Facility: all stamps of a night of public alerts."""

import gzip
import importlib
import io
import tarfile
from typing import Any

from astropy.io import fits

from astro_vq.errors import ConfigError, DataError
from astro_vq.io.atomic import atomic_writer

from .archives import fetch_archive
from .base import BuildOptions, Recipe, Report
from .facts import recipe_of
from .folder import BuildFolder, safe_name

_FIELDS = {"science": "cutoutScience", "template": "cutoutTemplate",
           "difference": "cutoutDifference"}  # fmt: skip
_FILTERS = {1: "g", 2: "r", 3: "i"}
_LARGEST = 1 << 24  # bytes of a packet or stamp


def build_alerts(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Fetch a night and write each stamp as a FITS file with OBJECT and FILTER cards.

    Raises
    ------
    DownloadError
        When it cannot be fetched.
    ConfigError
        When fastavro is not installed, or a band is unknown.
    DataError
        When the archive is damaged.
    """
    try:
        avro: Any = importlib.import_module("fastavro")
    except ImportError as err:
        raise ConfigError("alert packets need fastavro: pip install 'astro-vq[recipes]'") from err
    bands = options.bands or recipe.bands
    if set(bands) - set(_FIELDS):
        raise ConfigError(f"an alert has {', '.join(_FIELDS)}, not {', '.join(bands)}")
    path = fetch_archive(recipe, folder, options, report)
    alerts = 0
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".avro") else None
                if file is None or member.size > _LARGEST:
                    continue
                for alert in avro.reader(io.BytesIO(file.read())):
                    _write_stamps(alert, bands, folder)
                alerts += 1
                if alerts >= (options.count or recipe.count):
                    break
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as err:
        raise DataError(f"{path} is a damaged archive ({err}); remove it and run again") from err
    report(f"{alerts} alerts")


def _write_stamps(alert: dict[str, Any], bands: tuple[str, ...], folder: BuildFolder) -> None:
    name = str(alert["objectId"])
    for band in bands:
        stem = safe_name(f"{name}_{alert['candid']}_{band}")
        path = folder.place(name, f"{stem}.fits")
        stamp = alert.get(_FIELDS[band])
        if folder.has(path):
            continue
        if not stamp:
            folder.leave_out(stem, "the alert has no such stamp")
            continue
        with gzip.open(io.BytesIO(stamp["stampData"])) as packed:
            content = packed.read(_LARGEST)
        with fits.open(io.BytesIO(content)) as hdus:
            image = fits.PrimaryHDU(hdus[0].data, hdus[0].header)
        image.header["OBJECT"] = name
        image.header["FILTER"] = _FILTERS.get(alert["candidate"]["fid"], "")
        image.header["CANDID"] = str(alert["candid"])
        image.header["STAMP"] = band
        with atomic_writer(path, overwrite=True) as file:
            image.writeto(file)
        folder.add(path)


RECIPE = recipe_of(__file__, build_alerts, {"bands"})
