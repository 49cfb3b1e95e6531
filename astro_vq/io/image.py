"""Planes of images in files and files in folders: what gathering data needs of FITS."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits
from numpy.typing import NDArray

from astro_vq.errors import DataError
from astro_vq.io.fits import FitsHDU, open_fits
from astro_vq.io.names import is_fits_name

__all__ = ["ImagePlane", "find_images", "is_fits_name", "iter_planes"]


@dataclass(frozen=True)
class ImagePlane:
    """One plane of an image HDU; its file stays open as long as the plane is there.

    Attributes
    ----------
    path : Path
        The file.
    hdu : int
        Number of the HDU.
    plane : int
        Number of the plane, over all leading axes.
    shape : (int, int)
        Rows and columns.
    unit : str
        BUNIT, else ''.
    """

    path: Path
    hdu: int
    plane: int
    shape: tuple[int, int]
    unit: str
    _source: FitsHDU

    @property
    def header(self) -> fits.Header:
        """Header of the HDU; not to be changed."""
        return self._source.header

    def read(self, ys: slice | None = None, xs: slice | None = None) -> NDArray[Any]:
        """Return a rectangle of the plane in physical values.

        Parameters
        ----------
        ys, xs : slice, optional
            Rows and columns; all by default.

        Returns
        -------
        ndarray (ny, nx) of float32 or float64
            NaN where pixels are missing (NaN or BLANK); infinities stay.
        """
        whole = slice(None)
        return self._source.to_physical(
            self._source.read_stored(self.plane, ys or whole, xs or whole)
        )


def iter_planes(path: str | os.PathLike[str]) -> Iterator[ImagePlane]:
    """Yield all planes of all images of a FITS file, in order.

    Raises
    ------
    FormatError
        Not FITS, or damaged.
    DataError
        There is no image in it.
    """
    file = open_fits(path)
    images = [hdu for hdu in file.hdus if hdu.n_planes]
    if not images:
        kinds = ", ".join(hdu.kind for hdu in file.hdus)
        raise DataError(f"{file.path}: no image; its HDUs are: {kinds}")
    for hdu in images:
        for plane in range(hdu.n_planes):
            yield ImagePlane(Path(path), hdu.index, plane, hdu.plane_shape, hdu.unit, hdu)


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return all files with names of FITS in a folder and below it, sorted; hidden ones left out.

    Raises
    ------
    NotADirectoryError
        There is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder")
    return sorted(
        path
        for path in root.rglob("*")
        if is_fits_name(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
