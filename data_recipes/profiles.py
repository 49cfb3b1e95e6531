"""Light of one source on the pixel grid: point-spread functions and Sersic galaxies.

A stamp is an odd square of pixels with the source near its middle; its values are integrals over
pixels and add up to one, so that a source of flux F adds F to the image exactly, if its stamp lies
within the frame.

References
----------
Moffat 1969, A&A 3, 455; Sersic 1963, BAAA 6, 41; Ciotti & Bertin 1999, A&A 352, 447 (b_n).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

FloatArray = NDArray[np.float64]

FWHM_TO_SIGMA = 1 / math.sqrt(8 * math.log(2))
MAX_RADIUS = 250  # pixels; stamps are never larger, which bounds memory and time
_CORE = 2  # pixels around the middle of a galaxy that are sampled more finely
_CORE_SAMPLES = 11
_NODES = (  # Gauss-Legendre, exact to fifth order over a pixel
    np.array([-math.sqrt(0.15), 0.0, math.sqrt(0.15)]),
    np.array([5.0, 8.0, 5.0]) / 18,
)


@dataclass(frozen=True)
class PointSpread:
    """A round point-spread function.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.
    kind : {'gaussian', 'moffat'}
        Shape of the profile.
    beta : float
        Moffat's exponent, larger than 1; small ones have broad wings.
    """

    fwhm: float
    kind: Literal["gaussian", "moffat"] = "moffat"
    beta: float = 3.0
    _spectra: dict[tuple[int, int], NDArray[np.complex128]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if not self.fwhm > 0:
            raise ValueError(f"psf_fwhm must be positive, got {self.fwhm}")
        if self.kind not in ("gaussian", "moffat"):
            raise ValueError(f"psf must be 'gaussian' or 'moffat', got {self.kind!r}")
        if not self.beta > 1:
            raise ValueError(f"moffat_beta must be larger than 1, got {self.beta}")

    @property
    def peak(self) -> float:
        """Surface brightness in the middle, per pixel, of a source of unit flux."""
        if self.kind == "gaussian":
            return 1 / (2 * math.pi * (self.fwhm * FWHM_TO_SIGMA) ** 2)
        return (self.beta - 1) / (math.pi * self._alpha**2)

    @property
    def _alpha(self) -> float:
        return self.fwhm / (2 * math.sqrt(2 ** (1 / self.beta) - 1))

    def radius(self, fraction: float) -> int:
        """Return the radius in pixels at which the profile falls to `fraction` of its peak."""
        depth = max(1 / fraction, math.e)
        if self.kind == "gaussian":
            reach = self.fwhm * FWHM_TO_SIGMA * math.sqrt(2 * math.log(depth))
        else:
            reach = self._alpha * math.sqrt(depth ** (1 / self.beta) - 1)
        return int(min(max(math.ceil(reach), math.ceil(2 * self.fwhm)), MAX_RADIUS))

    def stamp(self, dx: float, dy: float, radius: int) -> FloatArray:
        """Return the unit-flux stamp (2 r + 1, 2 r + 1) of a star `dx`, `dy` off its middle."""
        if self.kind == "gaussian":
            columns = _gaussian_pixels(radius, dx, self.fwhm * FWHM_TO_SIGMA)
            rows = _gaussian_pixels(radius, dy, self.fwhm * FWHM_TO_SIGMA)
            stamp = rows[:, None] * columns[None, :]
        else:
            nodes, weights = _NODES if self.fwhm <= 12 else (np.zeros(1), np.ones(1))
            axis = (np.arange(-radius, radius + 1)[:, None] + nodes).ravel() / self._alpha
            x, y = axis - dx / self._alpha, axis - dy / self._alpha
            light = (1 + x[None, :] ** 2 + y[:, None] ** 2) ** -self.beta
            pixels = light.reshape(2 * radius + 1, len(nodes), 2 * radius + 1, len(nodes))
            stamp = np.einsum("iajb,a,b->ij", pixels, weights, weights, optimize=True)
        return np.asarray(stamp / stamp.sum(), dtype=np.float64)

    def spectrum(self, size: int, samples: int) -> NDArray[np.complex128]:
        """Return the real FFT (size, size) of this function with `samples` samples a pixel."""
        key = (size, samples)
        if key not in self._spectra:
            sampled = PointSpread(self.fwhm * samples, self.kind, self.beta)
            radius = min(sampled.radius(1e-4), (size - 1) // 2)
            kernel = np.zeros((size, size))
            kernel[: 2 * radius + 1, : 2 * radius + 1] = sampled.stamp(0, 0, radius)
            self._spectra[key] = fft.rfft2(np.roll(kernel, (-radius, -radius), axis=(0, 1)))
        return self._spectra[key]


@dataclass(frozen=True)
class Sersic:
    """A Sersic profile with elliptical isophotes.

    Parameters
    ----------
    half_light_radius : float
        Of the major axis, pixels.
    index : float
        Sersic n: 1 is an exponential disc, 4 a de Vaucouleurs profile.
    axis_ratio : float
        Minor over major axis, in (0, 1].
    position_angle : float
        Of the major axis, radians from +x to +y.
    """

    half_light_radius: float
    index: float
    axis_ratio: float
    position_angle: float

    def stamp(self, dx: float, dy: float, radius: int, psf: PointSpread) -> FloatArray:
        """Return the unit-flux stamp (2 r + 1, 2 r + 1) as seen through `psf`."""
        samples = 3 if radius <= 40 else 1
        y, x = _grid(radius, samples)
        light = self._brightness(x[None, :] - dx, y[:, None] - dy)
        first = (radius - _CORE) * samples
        core = slice(first, first + (2 * _CORE + 1) * samples)
        fine = _CORE_SAMPLES * (3 // samples)
        y, x = _grid(_CORE, samples * fine)
        light[core, core] = _bin_down(self._brightness(x[None, :] - dx, y[:, None] - dy), fine) / (
            fine * fine
        )
        size = fft.next_fast_len(light.shape[0] + 2 * psf.radius(1e-3) * samples, real=True)
        spectrum = fft.rfft2(light, s=(size, size)) * psf.spectrum(size, samples)
        seen = fft.irfft2(spectrum, s=(size, size))
        n = light.shape[0]
        stamp = np.maximum(_bin_down(seen[:n, :n], samples), 0.0)
        return np.asarray(stamp / stamp.sum(), dtype=np.float64)

    def _brightness(self, x: FloatArray, y: FloatArray) -> FloatArray:
        c, s = math.cos(self.position_angle), math.sin(self.position_angle)
        major, minor = c * x + s * y, (c * y - s * x) / self.axis_ratio
        n = self.index
        b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
        squared = (major**2 + minor**2) / self.half_light_radius**2
        return np.asarray(np.exp(-b * squared ** (0.5 / n)), dtype=np.float64)


def _grid(radius: int, samples: int) -> tuple[FloatArray, FloatArray]:
    """Return y and x of samples, in pixels from the middle of the stamp."""
    count = (2 * radius + 1) * samples
    axis = (np.arange(count) + 0.5) / samples - radius - 0.5
    return axis, axis


def _bin_down(values: FloatArray, samples: int) -> FloatArray:
    """Return sums over squares of `samples` x `samples`."""
    if samples == 1:
        return values
    n = values.shape[0] // samples
    return np.asarray(values.reshape(n, samples, n, samples).sum(axis=(1, 3)))


def _gaussian_pixels(radius: int, offset: float, sigma: float) -> FloatArray:
    edges = np.arange(-radius, radius + 2) - 0.5 - offset
    return np.asarray(np.diff(special.ndtr(edges / sigma)), dtype=np.float64)
