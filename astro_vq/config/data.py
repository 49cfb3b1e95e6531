"""Options of the data that a model is trained on."""

from dataclasses import dataclass
from typing import Literal

from astro_vq.config.section import Section


@dataclass(frozen=True)
class DataConfig(Section):
    """Where cutouts come from and how they are cut.

    Parameters
    ----------
    fits_dir, hdf5 : tuple of str
        Folders of FITS files, and ``FILE`` or ``FILE::DATASET`` of HDF5.
    bands : tuple of str
        Names of the bands that are stacked as channels; empty for single-band images.
    cutout_size : int
        Side of a cutout in pixels.
    validation_fraction : float
        Share of files or objects, in (0, 1), that are kept out of training.
    augment : bool
        Flip and turn cutouts at random.
    saturation : float or None
        Pixels at or above this value (in the image's unit) are masked.
    workers : int
        Processes that read cutouts; 0 reads in the training process.
    noise_covariance : str or None
        FITS file of an autocovariance for the multivariate normal; measured when unset.
    weights : str or None
        Weight maps: an extension of each file, such as ``WHT``; with ``*``, which stands for the
        name of the image, a file beside it, such as ``*.weight.fits``; of HDF5 stacks another
        data set.
    weight_kind : {'inverse-variance', 'relative', 'variance', 'sigma'}
        What weight maps hold, in the unit of the image; 'relative' is an inverse variance up to a
        factor.
    """

    fits_dir: tuple[str, ...] = ()
    hdf5: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    cutout_size: int = 64
    validation_fraction: float = 0.1
    augment: bool = True
    saturation: float | None = None
    workers: int = 0
    noise_covariance: str | None = None
    weights: str | None = None
    weight_kind: Literal["inverse-variance", "relative", "variance", "sigma"] = "inverse-variance"

    def _check(self) -> None:
        self._need_positive("cutout_size")
        self._need(0 < self.validation_fraction < 1, "validation_fraction", "between 0 and 1")
        self._need(self.workers >= 0, "workers", "zero or more")
        self._need(self.weights is None or bool(self.weights.strip()), "weights", "a name")
