"""Fluxes of simulated sources: what a model makes of a frame against what was put into it.

Noise disturbs the flux that is measured on a frame. A model that knows the noise may come closer to
the truth than the frame itself; one that copies the frame has its errors. A flux is the sum of a
frame times weights around a source: those of an aperture, or those of the best linear estimate of a
star's flux in correlated noise.
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

FILTER_RADIUS = 8
"""The best estimate looks at pixels up to this far along each axis."""

FILTER_FLOOR = 0.01
"""White noise that it takes for granted, as a part of the variance."""

ANNULUS = (8.0, 12.0)
"""Radii of the ring whose mean is taken away from an aperture, pixels."""

BINS = (3.0, 5.0, 10.0, 20.0, 50.0, 200.0, np.inf)
"""Ends of ranges of significance: true flux over the error of an empty aperture."""

FALSE_ALARMS = 0.01
"""Share of places without light that pass for a source, by which a threshold is set."""

BORDER = 8


class TrueFrame(NamedTuple):
    """A simulated frame with the fluxes that it should have.

    Attributes
    ----------
    image : ndarray (H, W)
        The frame less its sky.
    plane : Plane
        The same as models see it.
    light : ndarray (H, W)
        What was put into it, without noise.
    places : ndarray of int (N, 2)
        Row and column of sources.
    """

    image: FloatArray
    plane: Plane
    light: FloatArray
    places: NDArray[np.intp]


class Weights(NamedTuple):
    """How fluxes are measured.

    Attributes
    ----------
    values : ndarray (2 R + 1, 2 R + 1)
        Weights of the pixels around a source.
    error : float
        What the noise does to such a flux.
    """

    values: FloatArray
    error: float


class Noise(NamedTuple):
    """Covariance of the noise: two Gaussian parts, each a power at lag zero and a width.

    Attributes
    ----------
    fwhm, background_fwhm : float
        Of the Gaussians that white noise was smoothed with, pixels; 0 leaves it white.
    background : float
        Standard deviation of the second part in units of the first.
    """

    fwhm: float
    background: float
    background_fwhm: float

    def covariance(self, squares: FloatArray) -> FloatArray:
        """Return the covariance at squared distances, the first part's variance being one."""
        parts = ((1.0, self.fwhm), (self.background**2, self.background_fwhm))
        return sum(
            power * (np.exp(-2 * np.log(2) * squares / width**2) if width else squares == 0)
            for power, width in parts
        ) + FILTER_FLOOR * (squares == 0)


def weigh_aperture(empty: list[Path], *, is_local: bool) -> Weights:
    """Return the weights of an aperture, less those of a ring around it if `is_local`.

    The error is that in frames without any source.
    """
    y, x = np.mgrid[-12:13, -12:13]
    distance = np.hypot(y, x)
    inside = (distance <= RADIUS).astype(float)
    ring = ((distance >= ANNULUS[0]) & (distance <= ANNULUS[1])).astype(float)
    values = inside - ring * inside.sum() / ring.sum() if is_local else inside
    return _with_error(values, empty)


def weigh_star(empty: list[Path], psf: PointSpread, noise: Noise) -> Weights:
    """Return the weights of the best linear estimate of a star's flux, a level taken away.

    Parameters
    ----------
    empty : list of Path
        Frames without any source, to measure the error on.
    psf : PointSpread
        Of the frames.
    noise : Noise
        Of the frames.
    """
    y, x = np.mgrid[: 2 * FILTER_RADIUS + 1, : 2 * FILTER_RADIUS + 1].reshape(2, -1)
    squares = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    covariance = noise.covariance(squares.astype(float))
    star = psf.stamp(0.0, 0.0, FILTER_RADIUS).ravel()
    shapes = np.stack([star, np.ones_like(star)])
    solved = np.linalg.solve(covariance, shapes.T)
    weights = np.linalg.solve(shapes @ solved, solved.T)[0]
    return _with_error(weights.reshape(2 * FILTER_RADIUS + 1, -1), empty)


def _with_error(values: FloatArray, empty: list[Path]) -> Weights:
    sums = []
    for path in empty:
        image = fits.getdata(path).astype(float)
        measured = ndimage.correlate(image - np.median(image), values)
        sums.append(measured[10:-10:7, 10:-10:7].ravel())
    return Weights(values, _spread(np.concatenate(sums)))


def read_frame(path: Path, plane: Plane, psf: PointSpread) -> TrueFrame:
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
        stamp, row, column = source_stamp(source, psf, min(source_radius(source, psf, 0.2), 190))
        light[row + 400 : row + 400 + len(stamp), column + 400 : column + 400 + len(stamp)] += stamp
    places = np.rint(np.stack([truth["y"], truth["x"]], 1)).astype(int)
    ends = np.array([height, width]) - BORDER
    places = places[((places >= BORDER) & (places < ends)).all(1)]
    return TrueFrame(image, plane, light[400:-400, 400:-400], places)


@torch.no_grad()
def compare_with_truth(
    model: Model | None, frames: list[TrueFrame], weights: Weights
) -> dict[str, Any]:
    """Return bias, scatter and completeness of fluxes by significance, in units of their error.

    Parameters
    ----------
    model : Model or None
        None compares the frames themselves.
    frames : list of TrueFrame
        What `read_frame` gave.
    weights : Weights
        How fluxes are measured.
    """
    differences, dark, snr = [], [], []
    for frame in frames:
        image = frame.image
        if model is not None:
            scaling = frame.plane.scaling
            pixels = torch.from_numpy(scaling.forward(image + scaling.sky))[None, None]
            image = scaling.inverse(model.reconstruct(pixels)[0, 0].numpy()) - scaling.sky
        found = ndimage.correlate(image, weights.values) / weights.error
        true = ndimage.correlate(frame.light, weights.values) / weights.error
        lit = ndimage.correlate(frame.light, np.abs(weights.values)) / weights.error
        places = tuple(frame.places.T)
        snr.append(true[places])
        differences.append(found[places] - true[places])
        inner = (slice(BORDER, -BORDER, 5),) * 2
        dark.append(found[inner][lit[inner] < 0.3])
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
                    "from_truth": 1.4826 * float(np.median(np.abs(change[inside]))),
                    "found": float(found.mean()),
                }
            )
    return {"empty_scatter": _spread(empty), "threshold": threshold, "bins": bins}


def _spread(values: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
