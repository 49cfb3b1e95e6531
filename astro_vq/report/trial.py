"""One way to compress a file: compress, decompress, and compare every pixel with the original."""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.compress import compress
from astro_vq.codec.decompress import decompress
from astro_vq.io.fits import FitsFile, FitsHDU, open_fits
from astro_vq.metrics.distortion import Distortion, DistortionSum
from astro_vq.metrics.rate import Rate, measure_rate
from astro_vq.report.subject import Subject

STRIP_PIXELS = 4_000_000
"""Pixels of both images that are compared at a time."""

_IMAGE_KINDS = ("image", "compressed-image")


class Choice(NamedTuple):
    """A way to compress.

    Attributes
    ----------
    label : str
        What tables call it.
    fidelity : {'tokens', 'max-error', 'lossless'} or None
        None takes the default of each image.
    max_error : str or None
        Bound, as `astro_vq.compress` takes it.
    factor : float or None
        The bound in units of the pixel noise, when it is given so.
    """

    label: str
    fidelity: str | None = None
    max_error: str | None = None
    factor: float | None = None


def parse_choice(fidelity: str | None, max_error: str | None = None) -> Choice:
    """Return a choice with its label.

    Parameters
    ----------
    fidelity : {'tokens', 'max-error', 'lossless'} or None
        What to keep; None for the default.
    max_error : str, optional
        Bound such as ``0.5`` or ``0.125sigma``.
    """
    if fidelity == "max-error" and max_error is not None:
        text = max_error.strip().lower()
        factor = float(text.removesuffix("sigma")) if text.endswith("sigma") else None
        label = f"max error {text.removesuffix('sigma')}" + (" sigma" if factor else "")
        return Choice(label, fidelity, max_error, factor)
    return Choice(fidelity or "default", fidelity)


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
    devices : list of dict
        For each further device: times, and whether it wrote the same bytes.
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
    devices: list[dict[str, Any]]

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
            "devices": self.devices,
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
    devices: Sequence[str] = ("auto",),
) -> Trial:
    """Compress a file into a folder, decompress it there, compare, and remove both.

    Parameters
    ----------
    subject : Subject
        What is looked at; the whole file is compressed.
    choice : Choice
        How to compress.
    folder : Path
        Folder for two files, which are removed.
    model : str or Path
        Model, as for `astro_vq.compress`.
    effort : int
        From 1 to 9.
    tokens : bool
        Keep tokens beside the pixels.
    devices : sequence of {'auto', 'cpu', 'cuda', 'mps'}
        Where networks run; further ones are compared with the first.

    Returns
    -------
    Trial

    Raises
    ------
    AstroVQError
        Whatever the compressor or decompressor refuses.
    """
    packed, unpacked = folder / "trial.avq", folder / "trial.fits"
    shrink = partial(
        compress,
        subject.path,
        packed,
        model=model,
        fidelity=choice.fidelity,
        max_error=choice.max_error,
        tokens=tokens or choice.fidelity == "tokens",
        effort=effort,
        overwrite=True,
    )
    others = []
    try:
        for device in devices[1:]:
            start = time.perf_counter()
            shrink(device=device)
            seconds = time.perf_counter() - start
            others.append((device, seconds, _digest(packed)))
        start = time.perf_counter()
        result = shrink(device=devices[0])
        middle = time.perf_counter()
        decompress(packed, unpacked, model=model, device=devices[0], overwrite=True)
        end = time.perf_counter()
        digest = _digest(packed) if others else b""
        output_bytes = packed.stat().st_size
        with open_fits(subject.path) as before, open_fits(unpacked) as after:
            details = {int(hdu["index"]): dict(hdu) for hdu in result.hdus if "index" in hdu}
            compared = _compare_files(before, after, details, result.max_error)
            decoded = _read_plane(after, subject)
    finally:
        packed.unlink(missing_ok=True)
        unpacked.unlink(missing_ok=True)
    kept = [hdu["keeps_bound"] for hdu in compared.hdus if hdu["keeps_bound"] is not None]
    bound = details.get(subject.hdu, {}).get("max_error", result.max_error)
    return Trial(
        choice=choice,
        fidelity=result.fidelity,
        bound=bound,
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
        compress_seconds=middle - start,
        decompress_seconds=end - middle,
        sigma=details.get(subject.hdu, {}).get("sigma"),
        decoded=decoded,
        hdus=compared.hdus,
        notes=tuple(result.notes),
        devices=[
            {"device": device, "compress_seconds": seconds, "same_bytes": other == digest}
            for device, seconds, other in others
        ],
    )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


class _Compared(NamedTuple):
    distortion: Distortion
    hdus: list[dict[str, Any]]
    image_bytes: int


def _compare_files(
    before: FitsFile,
    after: FitsFile,
    details: dict[int, dict[str, Any]],
    file_bound: float | None,
) -> _Compared:
    """Compare all images of two files, strip by strip."""
    hdus, total, image_bytes = [], [], 0
    for one, other in zip(before.hdus, after.hdus, strict=False):
        if one.kind not in _IMAGE_KINDS or math.prod(one.shape) == 0:
            continue
        distortion, identical = _compare_hdus(one, other)
        bound = details.get(one.index, {}).get("max_error", file_bound)
        hdus.append(
            {
                "index": one.index,
                "name": one.name,
                "shape": list(one.shape),
                "dtype": str(one.dtype),
                "fidelity": details.get(one.index, {}).get("fidelity"),
                "max_error_allowed": bound,
                "identical": identical,
                "keeps_bound": None if bound is None else distortion.keeps(bound),
                **distortion._asdict(),
            }
        )
        total.append(distortion)
        image_bytes += distortion.pixels * np.dtype(one.dtype).itemsize
    return _Compared(_add(total), hdus, image_bytes)


def _compare_hdus(one: FitsHDU, other: FitsHDU) -> tuple[Distortion, bool]:
    """Compare two HDUs of the same shape; tell whether their stored bits agree too."""
    errors = DistortionSum(float(one.bscale) if np.dtype(one.dtype).kind in "iu" else 1.0)
    identical = tuple(one.shape) == tuple(other.shape) and one.dtype == other.dtype
    height, width = one.plane_shape
    rows = max(STRIP_PIXELS // max(width, 1), 1)
    for plane in range(one.n_planes):
        for top in range(0, height, rows):
            ys, xs = slice(top, min(top + rows, height)), slice(0, width)
            first = np.ascontiguousarray(one.read_stored(plane, ys, xs))
            second = np.ascontiguousarray(other.read_stored(plane, ys, xs))
            if first.dtype.kind == "f" and one.bscale != 1.0:
                errors.add(one.to_physical(first), other.to_physical(second))
            else:
                errors.add(first, second, blank=one.blank)
            identical = identical and first.tobytes() == second.tobytes()
    return errors.result(), identical


def _add(parts: list[Distortion]) -> Distortion:
    """Return the errors over several images."""
    finite = [part.pixels - part.missing for part in parts]
    count = max(sum(finite), 1)
    squares = sum(n * part.rms_error**2 for n, part in zip(finite, parts, strict=True))
    return Distortion(
        pixels=sum(part.pixels for part in parts),
        missing=sum(part.missing for part in parts),
        misplaced=sum(part.misplaced for part in parts),
        changed=sum(part.changed for part in parts),
        max_error=max((part.max_error for part in parts), default=0.0),
        mean_error=sum(n * p.mean_error for n, p in zip(finite, parts, strict=True)) / count,
        rms_error=math.sqrt(squares / count),
    )


def _read_plane(file: FitsFile, subject: Subject) -> NDArray[np.float64]:
    item = file.hdus[subject.hdu]
    stored = np.asarray(item.read_stored(subject.plane, *subject.window))
    pixels = np.asarray(item.to_physical(stored), dtype=np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels
