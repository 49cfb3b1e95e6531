"""One way to compress a file: compress, decompress, and compare every pixel with the original."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.compress import compress
from astro_vq.codec.decompress import decompress
from astro_vq.codec.results import CompressionResult
from astro_vq.io.fits import open_fits
from astro_vq.metrics.distortion import Distortion
from astro_vq.metrics.rate import Rate, measure_rate
from astro_vq.report.choice import Choice
from astro_vq.report.comparison import compare_files, read_plane
from astro_vq.report.stages import ModelSpeed, StageTimes, split_time, time_read, time_write
from astro_vq.report.subject import Subject


class DeviceRun(NamedTuple):
    """One run on one device.

    Attributes
    ----------
    device : str
        Where the networks ran.
    compress_seconds, decompress_seconds : float
        Wall time.
    stages : StageTimes
        Of compressing.
    same_bytes : bool
        Whether the file is the one that the first device wrote.
    same_pixels : bool
        Whether the decompressed file is; reconstructions from tokens alone may differ by rounding.
    """

    device: str
    compress_seconds: float
    decompress_seconds: float
    stages: StageTimes
    same_bytes: bool
    same_pixels: bool

    def to_dict(self, megabytes: float) -> dict[str, Any]:
        """Return times and speeds as JSON values; `megabytes` are those of the images."""
        speeds = {
            name: megabytes / seconds if seconds else None
            for name, seconds in self.stages._asdict().items()
        }
        return {
            **self._asdict(),
            "stages": self.stages._asdict(),
            "stage_megabytes_per_second": speeds,
        }


@dataclass(frozen=True)
class Trial:
    """What came of one choice.

    Attributes
    ----------
    choice : Choice
        What was asked for.
    fidelity : str
        What was done; differs from the choice for the default.
    bound : float or None
        Largest error promised, in the image's unit; None for tokens.
    rate : Rate
        Sizes.
    distortion : Distortion
        Errors over all images of the file that have pixels, in their units.
    identical : bool
        Whether every image came back with the same bits.
    keeps_bound : bool or None
        Whether every image kept the bound that holds for it; None for tokens.
    compress_seconds, decompress_seconds : float
        Wall time.
    sigma : float or None
        Pixel noise that the compressor measured for the subject's HDU.
    decoded : ndarray, shape (H, W)
        The subject's plane after decompressing, physical, NaN where missing.
    hdus : list of dict
        For each image HDU: index, bound, errors.
    notes : tuple of str
        Of the compressor.
    devices : list of DeviceRun
        Times on each device, the first one first, and whether others wrote the same bytes.
    """

    choice: Choice
    fidelity: str
    bound: float | None
    rate: Rate
    distortion: Distortion
    identical: bool
    keeps_bound: bool | None
    compress_seconds: float
    decompress_seconds: float
    sigma: float | None
    decoded: NDArray[np.float64]
    hdus: list[dict[str, Any]]
    notes: tuple[str, ...]
    devices: list[DeviceRun]

    def to_dict(self) -> dict[str, Any]:
        """Return figures as JSON values, without the pixels."""
        megabytes = self.rate.image_bytes / 1e6
        return {
            "choice": self.choice.label,
            "fidelity": self.fidelity,
            "max_error_allowed": self.bound,
            **self.rate.to_dict(),
            "identical": self.identical,
            "keeps_bound": self.keeps_bound,
            **self.distortion._asdict(),
            "compress_seconds": self.compress_seconds,
            "decompress_seconds": self.decompress_seconds,
            "compress_megabytes_per_second": megabytes / max(self.compress_seconds, 1e-9),
            "decompress_megabytes_per_second": megabytes / max(self.decompress_seconds, 1e-9),
            "devices": [run.to_dict(megabytes) for run in self.devices],
            "hdus": self.hdus,
            "notes": list(self.notes),
        }


def run_trial(
    subject: Subject,
    choice: Choice,
    folder: Path,
    *,
    model: str | Path = "default",
    effort: int = 5,
    tokens: bool = True,
    devices: Sequence[tuple[str, ModelSpeed | None]],
) -> Trial:
    """Compress a file into a folder, decompress it there, compare, and remove both.

    Parameters
    ----------
    subject : Subject
        What is looked at; the whole file is compressed.
    choice : Choice
        How to compress.
    folder : Path
        Folder for the files, which are removed.
    model : str or Path
        Model, as for `astro_vq.compress`.
    effort : int
        From 1 to 9.
    tokens : bool
        Keep tokens beside the pixels.
    devices : sequence of tuple (str, ModelSpeed or None)
        Where networks run, and how fast the model is there, where there is one; further devices
        are compared with the first.

    Returns
    -------
    Trial

    Raises
    ------
    AstroVQError
        Whatever the compressor or decompressor refuses.
    """
    first, *others = [device for device, _ in devices]
    tokens = tokens or choice.fidelity == "tokens"
    packed, unpacked = folder / "trial.avq", folder / "trial.fits"
    read = time_read(subject.path)

    def run(device: str) -> _Run:
        start = time.perf_counter()
        result = compress(
            subject.path,
            packed,
            model=model,
            fidelity=choice.fidelity,
            max_error=choice.max_error,
            tokens=tokens,
            effort=effort,
            device=device,
            overwrite=True,
        )
        middle = time.perf_counter()
        decompress(packed, unpacked, model=model, device=device, overwrite=True)
        end = time.perf_counter()
        digests = (_digest(packed), _digest(unpacked)) if others else (b"", b"")
        return _Run(device, result, middle - start, end - middle, time_write(packed), *digests)

    try:
        further = [run(device) for device in others]
        own = run(first)  # its files are those that are looked at
        result = own.result
        output_bytes = packed.stat().st_size
        with open_fits(subject.path) as before, open_fits(unpacked) as after:
            details = {int(hdu["index"]): dict(hdu) for hdu in result.hdus if "index" in hdu}
            compared = compare_files(before, after, details, result.max_error)
            decoded = read_plane(after, subject)
    finally:
        packed.unlink(missing_ok=True)
        unpacked.unlink(missing_ok=True)
    kept = [hdu["keeps_bound"] for hdu in compared.hdus if hdu["keeps_bound"] is not None]
    runs = [
        DeviceRun(
            one.device,
            one.compress_seconds,
            one.decompress_seconds,
            split_time(
                one.compress_seconds,
                read,
                one.write_seconds,
                speed if result.token_bytes else None,
                compared.distortion.pixels,
                result.fidelity,
            ),
            same_bytes=one.packed == own.packed,
            same_pixels=one.unpacked == own.unpacked,
        )
        for one, (_, speed) in zip((own, *further), devices, strict=True)
    ]
    return Trial(
        choice=choice,
        fidelity=result.fidelity,
        bound=details.get(subject.hdu, {}).get("max_error", result.max_error),
        rate=measure_rate(
            subject.path.stat().st_size,
            output_bytes,
            pixels=compared.distortion.pixels,
            image_bytes=compared.image_bytes,
            pixel_bytes=result.pixel_bytes,
            token_bytes=result.token_bytes,
            model_bytes=result.model_bytes,
        ),
        distortion=compared.distortion,
        identical=all(hdu["identical"] for hdu in compared.hdus),
        keeps_bound=all(kept) if kept else None,
        compress_seconds=own.compress_seconds,
        decompress_seconds=own.decompress_seconds,
        sigma=details.get(subject.hdu, {}).get("sigma"),
        decoded=decoded,
        hdus=compared.hdus,
        notes=tuple(result.notes),
        devices=runs,
    )


class _Run(NamedTuple):
    device: str
    result: CompressionResult
    compress_seconds: float
    decompress_seconds: float
    write_seconds: float
    packed: bytes
    unpacked: bytes


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
