"""The pixels of a simulated frame, strip by strip: light, noise, cosmic rays, rounding."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .profiles import FWHM_TO_SIGMA, PointSpread
from .sky_model import draw_cosmic_rays, source_radius, source_stamp

FloatArray = NDArray[np.float64]

DTYPES = ("float32", "float64", "uint16", "int16", "int32")
_STRIP = 256  # rows drawn at once; part of what a seed means
_FAINT = 0.02  # stamps end where a source falls below this fraction of the sky's sigma
_SOURCES, _COSMIC_RAYS, _NOISE = range(3)  # independent random streams of one seed


@dataclass(frozen=True)
class FrameSettings:
    """All settings of a simulated frame; `simulated.simulate` says what they mean."""

    shape: tuple[int, int]
    seed: int
    psf: PointSpread
    n_stars: int
    n_galaxies: int
    read_noise: float
    gain: float
    sky: float
    noise_correlation_fwhm: float
    cosmic_rays: int
    saturation: float
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"shape must be two positive integers, got {self.shape}")
        for name in ("n_stars", "n_galaxies", "read_noise", "sky", "noise_correlation_fwhm",
                     "cosmic_rays"):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must not be negative, got {value}")
        for name in ("gain", "saturation"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.dtype.name not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype.name}")

    @property
    def sky_sigma(self) -> float:
        """Noise of the empty sky in ADU, the rounding to integers not counted."""
        return math.sqrt(self.sky * self.gain + self.read_noise**2) / self.gain

    @property
    def catalogue_rng(self) -> np.random.Generator:
        """Random numbers for the catalogue of sources."""
        return self._rng(_SOURCES)

    def strips(self, truth: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the rows of the frame in pieces (n, W) of its dtype, in native byte order."""
        rays = draw_cosmic_rays(self.shape, self.cosmic_rays, self._rng(_COSMIC_RAYS))
        row = 0
        for expected, noise in self._light_and_noise(truth):
            electrons = expected + noise
            first, last = np.searchsorted(rays[0], [row, row + len(electrons)])
            hit = slice(first, last)
            np.add.at(electrons, (rays[0][hit] - row, rays[1][hit]), rays[2][hit])
            electrons /= self.gain
            yield self._digitise(electrons)
            row += len(electrons)

    def _light_and_noise(self, truth: NDArray[Any]) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield expected electrons and noise, the noise smoothed when it is correlated.

        The noise is drawn on a frame larger by the reach of the smoothing, so that it is
        stationary up to the borders.
        """
        kernel = self._noise_kernel()
        margin = len(kernel) // 2
        width = self.shape[1]
        light = np.empty((0, width + 2 * margin))
        noise = np.empty_like(light)
        for index, expected in enumerate(self._light(truth, margin)):
            rng = self._rng(_NOISE, index)
            drawn = rng.poisson(expected) - expected
            if self.read_noise > 0:
                drawn += self.read_noise * rng.standard_normal(expected.shape)
            light = np.concatenate([light, expected])
            noise = np.concatenate([noise, drawn])
            if len(light) <= 2 * margin:
                continue
            inner = slice(margin, len(light) - margin)
            smooth = noise
            if margin:
                smooth = ndimage.correlate1d(smooth, kernel, axis=0)[inner]
                smooth = ndimage.correlate1d(smooth, kernel, axis=1)[:, margin:-margin]
            yield light[inner, margin : margin + width], smooth
            light, noise = light[len(light) - 2 * margin :], noise[len(noise) - 2 * margin :]

    def _light(self, truth: NDArray[Any], margin: int) -> Iterator[FloatArray]:
        """Yield expected electrons of a frame that is `margin` larger on each side."""
        height, width = (n + 2 * margin for n in self.shape)
        faint = _FAINT * self.sky_sigma
        radii = np.array([source_radius(s, self.psf, faint) for s in truth], dtype=np.intp)
        tops = np.floor(truth["y"] + 0.5).astype(np.intp) - radii + margin
        order = np.argsort(np.maximum(tops, 0) // _STRIP, kind="stable")
        starts = (np.maximum(tops, 0) // _STRIP)[order]
        overhang = 2 * int(radii.max(initial=0)) + 1
        buffer = np.zeros((_STRIP + overhang, width))
        for index, top in enumerate(range(0, height, _STRIP)):
            first, last = np.searchsorted(starts, [index, index + 1])
            for number in order[first:last]:
                stamp, row, column = source_stamp(truth[number], self.psf, int(radii[number]))
                _add(buffer, stamp, row + margin - top, column + margin)
            rows = min(_STRIP, height - top)
            yield np.maximum(buffer[:rows] + self.sky, 0.0) * self.gain
            buffer[:overhang] = buffer[_STRIP:].copy()
            buffer[overhang:] = 0.0

    def _noise_kernel(self) -> FloatArray:
        """Return one axis of the smoothing, with unit sum of squares; one sample when none."""
        if self.noise_correlation_fwhm == 0:
            return np.ones(1)
        sigma = self.noise_correlation_fwhm * FWHM_TO_SIGMA
        margin = max(math.ceil(4 * sigma), 1)
        kernel = np.exp(-0.5 * (np.arange(-margin, margin + 1) / sigma) ** 2)
        return np.asarray(kernel / math.sqrt(float(np.sum(kernel**2))), dtype=np.float64)

    def _digitise(self, values: FloatArray) -> NDArray[Any]:
        np.minimum(values, self.saturation, out=values)
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return values.astype(self.dtype)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=purpose))


def _add(buffer: FloatArray, stamp: FloatArray, row: int, column: int) -> None:
    """Add the part of a stamp that lies within the buffer."""
    y0, y1 = max(row, 0), min(row + stamp.shape[0], buffer.shape[0])
    x0, x1 = max(column, 0), min(column + stamp.shape[1], buffer.shape[1])
    if y0 < y1 and x0 < x1:
        buffer[y0:y1, x0:x1] += stamp[y0 - row : y1 - row, x0 - column : x1 - column]
