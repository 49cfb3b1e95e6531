"""How fast a model is on a device; needs torch."""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_vq.checkpoint import load_model
from astro_vq.codec.windows import WindowedModel, token_size
from astro_vq.data.scaling import Scaling
from astro_vq.report.stages import ModelSpeed
from astro_vq.report.subject import Subject

MODEL_SIDE = 2048
"""Pixels on a side of the part that the speed of a model is measured on."""


def measure_model(
    subject: Subject, model: str | Path, device: str, *, decode: bool = True
) -> ModelSpeed:
    """Measure a model on a device, on a part of an image.

    Parameters
    ----------
    subject : Subject
        The image; a model of several bands sees it in each.
    model : str or Path
        Model, as for `astro_vq.compress`.
    device : str
        Where it runs.
    decode : bool
        Measure the way back too; 0 otherwise.

    Raises
    ------
    AstroVQError
        The model is missing or has no tokens.
    ValueError
        The device is not there.
    """
    windowed = WindowedModel(load_model(model, device=device))
    channels = windowed.layer.channels
    part = subject.pixels[:MODEL_SIDE, :MODEL_SIDE]
    pixels = np.broadcast_to(part, (channels, *part.shape))
    scalings = [Scaling.measure(part) if subject.has_pixels else Scaling(0.0, 1.0)] * channels
    _run_model(windowed, pixels[:, :64, :64], scalings, decode=decode)  # the first is slow
    seconds = _run_model(windowed, pixels, scalings, decode=decode)
    return ModelSpeed(*(value / part.size for value in seconds))


def _run_model(
    windowed: WindowedModel,
    pixels: NDArray[np.float64],
    scalings: list[Scaling],
    *,
    decode: bool,
) -> tuple[float, float]:
    """Return the seconds of encoding and decoding."""
    size = (pixels.shape[1], pixels.shape[2])
    layer = windowed.layer
    indices = np.zeros((layer.depth, *token_size(size, layer.stride)), np.int64)
    start = time.perf_counter()
    for ys, xs, found in windowed.encode(lambda ys, xs: pixels[:, ys, xs], size, scalings):
        indices[:, ys, xs] = found
    middle = time.perf_counter()
    if decode:
        windowed.decode(
            lambda ys, xs: indices[:, ys, xs],
            size,
            scalings,
            slice(0, size[0]),
            slice(0, size[1]),
        )
    return middle - start, time.perf_counter() - middle if decode else 0.0
