"""Sky level, noise and noise correlation of images, robust against what the sky holds.

Everything here takes arrays as they come from a file: missing pixels are NaN (infinities are
ignored too), and a ``mask`` says which pixels may be used (True = use).
"""

from astro_vq.data.noise_covariance import (
    autocovariance,
    covariance,
    neighbour_correlation,
    read_autocovariance,
)
from astro_vq.data.sky_level import (
    SkyStatistics,
    mad_sigma,
    pixel_noise,
    sky_statistics,
    source_mask,
)

__all__ = [
    "SkyStatistics",
    "autocovariance",
    "covariance",
    "mad_sigma",
    "neighbour_correlation",
    "pixel_noise",
    "read_autocovariance",
    "sky_statistics",
    "source_mask",
]
