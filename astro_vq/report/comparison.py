"""Two files compared image by image: every pixel, strip by strip."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.io.fits import FitsFile, FitsHDU
from astro_vq.metrics.distortion import Distortion, DistortionSum
from astro_vq.report.subject import Subject

STRIP_PIXELS = 4_000_000
"""Pixels of both images that are compared at a time."""

IMAGE_KINDS = ("image", "compressed-image")
"""Kinds of HDUs that hold pixels."""


class Comparison(NamedTuple):
    """How the images of two files differ.

    Attributes
    ----------
    distortion : Distortion
        Errors over all images that have pixels.
    hdus : list of dict
        For each image HDU: index, bound, errors.
    image_bytes : int
        What the images take uncompressed.
    """

    distortion: Distortion
    hdus: list[dict[str, Any]]
    image_bytes: int


def compare_files(
    before: FitsFile,
    after: FitsFile,
    details: dict[int, dict[str, Any]],
    file_bound: float | None,
) -> Comparison:
    """Compare all images of two files, strip by strip.

    Parameters
    ----------
    before, after : FitsFile
        The files; images stand in the same HDUs.
    details : dict of int to dict
        For each HDU what the compressor said of it.
    file_bound : float or None
        Bound where it did not say one.
    """
    hdus, total, image_bytes = [], [], 0
    for one, other in zip(before.hdus, after.hdus, strict=False):
        if one.kind not in IMAGE_KINDS or math.prod(one.shape) == 0:
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
    return Comparison(_add(total), hdus, image_bytes)


def _compare_hdus(one: FitsHDU, other: FitsHDU) -> tuple[Distortion, bool]:
    """Compare two HDUs of the same shape; tell whether their stored bits agree too."""
    errors = DistortionSum(float(one.bscale) if np.dtype(one.dtype).kind in "iu" else 1.0)
    identical = tuple(one.shape) == tuple(other.shape) and one.dtype == other.dtype
    for plane, ys, xs in strips(one):
        first = np.ascontiguousarray(one.read_stored(plane, ys, xs))
        second = np.ascontiguousarray(other.read_stored(plane, ys, xs))
        if first.dtype.kind == "f" and one.bscale != 1.0:
            errors.add(one.to_physical(first), other.to_physical(second))
        else:
            errors.add(first, second, blank=one.blank)
        identical = identical and first.tobytes() == second.tobytes()
    return errors.result(), identical


def strips(item: FitsHDU) -> Iterator[tuple[int, slice, slice]]:
    """Yield plane, rows and columns of pieces that together are an image."""
    height, width = item.plane_shape
    rows = max(STRIP_PIXELS // max(width, 1), 1)
    for plane in range(item.n_planes):
        for top in range(0, height, rows):
            yield plane, slice(top, min(top + rows, height)), slice(0, width)


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


def read_plane(file: FitsFile, subject: Subject) -> NDArray[np.float64]:
    """Return the plane that a report looks at from another file, NaN where missing."""
    item = file.hdus[subject.hdu]
    stored = np.asarray(item.read_stored(subject.plane, *subject.window))
    pixels = np.asarray(item.to_physical(stored), dtype=np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels
