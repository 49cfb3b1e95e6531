"""Fluxes of simulated sources: what a model makes of a frame against what was put into it.

Noise disturbs the flux that is measured on a frame. A model that knows the noise may come closer to
the truth than the frame itself; one that copies the frame has its errors.
"""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from astro_vq.data_recipes.profiles import PointSpread
from astro_vq.data_recipes.sky_model import source_radius, source_stamp
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.data.planes import Plane
from astro_vq.models import Model

FloatArray = NDArray[np.float64]

RADIUS = 3.0
"""Radius of the apertures, pixels."""

BINS = (3.0, 5.0, 10.0, 20.0, 50.0, 200.0, np.inf)
"""Ends of ranges of significance: true flux over the error of an empty aperture."""

FALSE_ALARMS = 0.01
"""Share of apertures without light that pass for a source, by which a threshold is set."""

BORDER = 8
PSF = PointSpread(3.0, "moffat", 3.0)


class TrueFrame(NamedTuple):
    """A simulated frame with the fluxes that it should have.

    Attributes
    ----------
    image : ndarray (H, W)
        The frame less its sky.
    plane : Plane
        The same as models see it.
    places, dark : ndarray of int (N, 2)
        Row and column of sources, and of apertures that hold no light.
    fluxes : ndarray (N,)
        Light in the aperture of each source, without noise.
    """

    image: FloatArray
    plane: Plane
    places: NDArray[np.intp]
    dark: NDArray[np.intp]
    fluxes: FloatArray


def sum_apertures(image: FloatArray) -> FloatArray:
    """Return the sum (H, W) of an image over the aperture around each pixel."""
    y, x = np.mgrid[-4:5, -4:5]
    return np.asarray(ndimage.correlate(image, (np.hypot(y, x) <= RADIUS).astype(float)))


def aperture_error(paths: list[Path]) -> float:
    """Return the error of the flux in an aperture, from frames without any source."""
    sums = []
    for path in paths:
        image = fits.getdata(path).astype(float)
        sums.append(sum_apertures(image - np.median(image))[10:-10:7, 10:-10:7].ravel())
    return _spread(np.concatenate(sums))


def read_frame(path: Path, plane: Plane, error: float) -> TrueFrame:
    """Read a frame and draw the light of its sources once more, without noise."""
    with fits.open(path) as file:
        image, truth = file[0].data.astype(float) - plane.scaling.sky, file["TRUTH"].data
    kinds = {n: "U8" if truth.dtype[n].kind == "S" else "f8" for n in truth.dtype.names}
    truth = np.array(truth).astype([(name.lower(), kind) for name, kind in kinds.items()])
    truth["x"] -= 1  # FITS counts from 1
    truth["y"] -= 1
    height, width = image.shape
    light = np.zeros((height + 800, width + 800))
    for source in truth:
        stamp, row, column = source_stamp(source, PSF, min(source_radius(source, PSF, 0.2), 190))
        light[row + 400 : row + 400 + len(stamp), column + 400 : column + 400 + len(stamp)] += stamp
    sums = sum_apertures(light)[400:-400, 400:-400]
    places = np.rint(np.stack([truth["y"], truth["x"]], 1)).astype(int)
    ends = np.array([height, width]) - BORDER
    places = places[((places >= BORDER) & (places < ends)).all(1)]
    inner = sums[BORDER:-BORDER:5, BORDER:-BORDER:5]
    dark = np.argwhere(inner < 0.3 * error) * 5 + BORDER
    return TrueFrame(image, plane, places, dark, sums[places[:, 0], places[:, 1]])


@torch.no_grad()
def compare_with_truth(
    model: Model | None, frames: list[TrueFrame], error: float
) -> dict[str, Any]:
    """Return bias, scatter and completeness of fluxes by significance, in units of `error`.

    Parameters
    ----------
    model : Model or None
        None compares the frames themselves.
    frames : list of TrueFrame
        What `read_frame` gave.
    error : float
        What `aperture_error` gave.
    """
    differences, dark, snr = [], [], []
    for frame in frames:
        image = frame.image
        if model is not None:
            scaling = frame.plane.scaling
            pixels = torch.from_numpy(scaling.forward(image + scaling.sky))[None, None]
            image = scaling.inverse(model.reconstruct(pixels)[0, 0].numpy()) - scaling.sky
        sums = sum_apertures(image) / error
        snr.append(frame.fluxes / error)
        differences.append(sums[tuple(frame.places.T)] - snr[-1])
        dark.append(sums[tuple(frame.dark.T)])
    change, empty, significance = (np.concatenate(v) for v in (differences, dark, snr))
    threshold = float(np.quantile(empty, 1 - FALSE_ALARMS))
    bins = []
    for low, high in itertools.pairwise(BINS):
        inside = (significance >= low) & (significance < high)
        if inside.any():
            found = (significance + change)[inside] > threshold
            bins.append(
                {
                    "low": low,
                    "number": int(inside.sum()),
                    "bias": float(np.median(change[inside])),
                    "scatter": _spread(change[inside]),
                    "found": float(found.mean()),
                }
            )
    return {"empty_scatter": _spread(empty), "threshold": threshold, "bins": bins}


def _spread(values: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
