"""Time by stage on a device: reading the file, the model, coding, and writing.

Reading, the model and writing are run on their own, after a warm-up; coding is what is left of
the time that compressing took.
"""

import time
from pathlib import Path
from typing import NamedTuple

from astro_vq.io.atomic import atomic_writer
from astro_vq.io.fits import open_fits
from astro_vq.report.comparison import IMAGE_KINDS, strips


class StageTimes(NamedTuple):
    """Seconds of each stage of compressing a file.

    Attributes
    ----------
    read : float
        Opening the file and reading every pixel; the system may have it in memory.
    model : float or None
        From pixels to tokens (and back, for fidelity 'tokens'); None without tokens.
    coding : float
        The rest: noise, plan, fits, entropy coding.
    write : float
        Writing the output.
    """

    read: float
    model: float | None
    coding: float
    write: float


class ModelSpeed(NamedTuple):
    """Seconds for each pixel of an image, from pixels to tokens and back."""

    encode: float
    decode: float

    def seconds(self, pixels: int, fidelity: str) -> float:
        """Return the time that the model takes while an image is compressed."""
        return pixels * (self.encode + (self.decode if fidelity == "tokens" else 0.0))


def time_read(path: Path) -> float:
    """Return the seconds that opening a file and reading every pixel takes."""
    start = time.perf_counter()
    with open_fits(path) as file:
        for item in file.hdus:
            if item.kind in IMAGE_KINDS:
                for plane, ys, xs in strips(item):
                    item.read_stored(plane, ys, xs)
    return time.perf_counter() - start


def time_write(path: Path) -> float:
    """Return the seconds that writing the bytes of a file beside it takes."""
    data = path.read_bytes()
    copy = path.with_name(f"{path.name}.copy")
    start = time.perf_counter()
    with atomic_writer(copy, overwrite=True) as file:
        file.write(data)
    seconds = time.perf_counter() - start
    copy.unlink()
    return seconds


def split_time(
    whole: float, read: float, write: float, model: ModelSpeed | None, pixels: int, fidelity: str
) -> StageTimes:
    """Return the stages of a run that took `whole` seconds for so many pixels."""
    network = None if model is None else model.seconds(pixels, fidelity)
    coding = whole - read - write - (network or 0.0)
    return StageTimes(read, network, max(coding, 0.0), write)
