"""The covariance between all pixels of a cutout, given as a matrix in a FITS file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.errors import DataError
from astro_vq.io.fits import open_fits

FloatArray = NDArray[np.float64]

MATRICES = ("covariance", "cholesky", "precision")
"""What a matrix may be, by EXTNAME; the covariance when it is named otherwise."""

USUAL_SIGMA = (0.01, 100.0)
"""Standard deviations of noise, in network units, that a file may claim; the sky's is about one."""

_SAME = 1e-6  # of the largest number: matrices that differ by less are the same


class NoiseMatrix(NamedTuple):
    """A matrix between all pixels of a cutout, flattened as (C, H, W).

    Attributes
    ----------
    values : ndarray of float64, shape (N, N)
        Network units squared (of a precision their inverse, of a Cholesky factor network units).
    kind : {'covariance', 'cholesky', 'precision'}
        What it is.
    source : str
        Where it is from, for people.
    """

    values: FloatArray
    kind: str
    source: str


def read_noise_matrix(path: str, channels: int, size: int, *, is_turned: bool) -> NoiseMatrix:
    """Read a matrix from the first image of a FITS file.

    Parameters
    ----------
    path : str
        FITS file; EXTNAME says which of `MATRICES` its image is.
    channels, size : int
        Bands of the cutouts and their side in pixels.
    is_turned : bool
        Training turns and flips its cutouts: the matrix must be the same then.

    Raises
    ------
    DataError
        The file holds no such matrix, or not for cutouts of this size, or it does not survive
        turning.
    """
    with open_fits(path) as file:
        images = [hdu for hdu in file.hdus if hdu.kind in ("image", "compressed-image")]
        if not images:
            raise DataError(f"{path}: no HDU holds an image; a matrix is expected")
        number = channels * size**2
        if images[0].shape != (number, number):
            raise DataError(
                f"{path}: the noise of {channels} x {size} x {size} pixels is a matrix of "
                f"{number} x {number}, got {images[0].shape}; give another --cutout-size or matrix"
            )
        whole = slice(0, number)
        values = images[0].to_physical(images[0].read_stored(0, whole, whole)).astype(np.float64)
        name = images[0].name.strip().lower()
    if not np.isfinite(values).all():
        raise DataError(f"{path}: some numbers of the matrix are not finite")
    kind = name if name in MATRICES else "covariance"
    full = values @ values.T if kind == "cholesky" else values
    usual = float(np.sqrt(np.median(np.abs(full.diagonal()))))
    usual = 1 / max(usual, 1e-300) if kind == "precision" else usual
    if not USUAL_SIGMA[0] <= usual <= USUAL_SIGMA[1]:
        raise DataError(
            f"{path}: its noise of {usual:.3g} is not in network units, asinh((value - sky) / "
            "sigma), in which the sky's is about one; divide the covariance by sigma squared"
        )
    if is_turned and not _is_same_when_turned(full, channels, size):
        raise DataError(
            f"{path}: the noise is not the same when cutouts are turned and flipped; use "
            "--no-augment, or the mean over all orientations"
        )
    return NoiseMatrix(values, kind, f"{kind} from {Path(path).name}")


def _is_same_when_turned(matrix: FloatArray, channels: int, size: int) -> bool:
    places = np.arange(len(matrix)).reshape(channels, size, size)
    limit = _SAME * np.abs(matrix).max()
    for turned in (np.rot90(places, axes=(1, 2)).ravel(), places[:, :, ::-1].ravel()):
        if np.abs(matrix[np.ix_(turned, turned)] - matrix).max() > limit:
            return False
    return True
