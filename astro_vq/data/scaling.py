"""The scaling between an image and network units: sky-subtracted, in sigma, then asinh.

asinh is linear within the noise and logarithmic for bright sources, so that a network sees both
(Lupton, Gunn & Szalay 1999, AJ 118, 1406); unlike a clipped stretch it has an inverse.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from astro_vq.data.noise import SkyStatistics, sky_statistics
from astro_vq.errors import DataError


@dataclass(frozen=True)
class Scaling:
    """The map ``asinh((x - sky) / sigma)`` between pixel values and network units.

    Parameters
    ----------
    sky : float
        Level that becomes 0, in the unit of the image.
    sigma : float
        Noise that becomes the unit; positive and finite.

    Raises
    ------
    ValueError
        When `sky` is not finite, or `sigma` not positive and finite.

    Examples
    --------
    >>> scaling = Scaling(sky=100.0, sigma=5.0)
    >>> scaling.forward([95.0, 100.0, 5100.0], dtype="float64").round(4).tolist()
    [-0.8814, 0.0, 7.6009]
    >>> scaling.inverse(scaling.forward([100.0])).tolist()
    [100.0]
    """

    sky: float
    sigma: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.sky):
            raise ValueError(f"sky must be finite, got {self.sky}")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ValueError(f"sigma must be positive and finite, got {self.sigma}")

    def forward(self, x: ArrayLike, *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return pixel values in network units; computed in float64, NaN stays NaN, inf inf.

        Parameters
        ----------
        x : array_like
            In the unit of the image, any shape.
        dtype : dtype
            Of the result.

        Returns
        -------
        ndarray
            Same shape as `x`.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # signalling NaNs
            offset = np.asarray(x, dtype=np.float64) - self.sky
            scaled = np.arcsinh(offset / self.sigma)
        lost = np.isinf(scaled) & np.isfinite(offset)
        if np.any(lost):  # the quotient overflows, its asinh does not
            far = np.log(np.abs(offset[lost])) + (math.log(2) - math.log(self.sigma))
            scaled = np.array(scaled)
            scaled[lost] = np.copysign(far, offset[lost])
        return np.asarray(scaled, dtype=dtype)

    def inverse(self, y: ArrayLike) -> NDArray[np.float64]:
        """Return pixel values (float64, same shape) of `y` in network units.

        The inverse of `forward` up to the rounding of `y`: of a float32 `y`, ``abs(y) * 6e-8``
        of ``hypot(x - sky, sigma)``.  NaN stays NaN; what overflows becomes inf.
        """
        with np.errstate(over="ignore"):
            return np.asarray(
                self.sky + self.sigma * np.sinh(np.asarray(y, dtype=np.float64)), dtype=np.float64
            )

    def to_dict(self) -> dict[str, float]:
        """Return the parameters as JSON holds them, exactly."""
        return {"sky": self.sky, "sigma": self.sigma}

    @classmethod
    def from_dict(cls, parameters: Mapping[str, float]) -> "Scaling":
        """Return the scaling that `to_dict` described.

        Raises
        ------
        ValueError
            When a key is missing or unknown, or a value impossible.
        """
        if set(parameters) != {"sky", "sigma"}:
            raise ValueError(f"a scaling has the keys sky and sigma, got {sorted(parameters)}")
        return cls(sky=float(parameters["sky"]), sigma=float(parameters["sigma"]))

    @classmethod
    def measure(
        cls,
        image: NDArray[Any],
        *,
        mask: NDArray[np.bool_] | None = None,
        sky: SkyStatistics | None = None,
    ) -> "Scaling":
        """Return the scaling of an image (H, W) by its sky level and noise.

        Always possible: a constant image gets sigma 1 (every pixel becomes 0), and one without
        a finite unmasked pixel sky 0 and sigma 1.

        Parameters
        ----------
        image : ndarray, shape (H, W)
            NaN and inf are ignored.
        mask : ndarray of bool, shape (H, W), optional
            True where a pixel may be used.
        sky : SkyStatistics, optional
            Already measured statistics.
        """
        if sky is None:
            try:
                sky = sky_statistics(image, mask=mask)
            except DataError:
                return cls(0.0, 1.0)
        return cls(sky.level, sky.sigma if sky.sigma > 0 else 1.0)
