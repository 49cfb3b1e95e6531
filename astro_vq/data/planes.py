"""Planes of images in files: where one lies, what was measured of it, and reading parts of it.

A plane is one image of two axes: that of a FITS image HDU, one of a cube, or one channel of one
cutout of an HDF5 stack.  `PlaneReader` keeps files open and small planes decoded, within a
bounded amount of memory, so that a worker opens no file for each item.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.data.scaling import Scaling
from astro_vq.io.fits import FitsFile, open_fits
from astro_vq.io.hdf5 import Hdf5Stack, open_hdf5

CACHE_BYTES = 256 * 2**20
"""Default bound of decoded planes that a reader keeps."""

OPEN_FILES = 32
"""Files that a reader keeps open."""


@dataclass(frozen=True)
class PlaneAddress:
    """Where a plane lies.

    Attributes
    ----------
    path : Path
        The file.
    part : int or str
        HDU number of a FITS file, or name of the data set of an HDF5 file.
    plane : int
        Number of the plane within a FITS image, or of the cutout within a stack.
    channel : int
        Channel of the stack; 0 for FITS.
    """

    path: Path
    part: int | str
    plane: int = 0
    channel: int = 0

    @property
    def is_hdf5(self) -> bool:
        """Whether the plane lies in an HDF5 file."""
        return isinstance(self.part, str)

    def __str__(self) -> str:
        if self.is_hdf5:
            return f"{self.path}::{self.part}[{self.plane}, {self.channel}]"
        return f"{self.path}[{self.part}] plane {self.plane}"


@dataclass(frozen=True)
class WeightMap:
    """The plane that tells the noise of each pixel of another one; see `astro_vq.data.weights`.

    Attributes
    ----------
    address : PlaneAddress
        Where it lies.
    kind : str
        What its numbers are: 'inverse-variance', 'relative', 'variance' or 'sigma'.
    factor : float
        Of the standard deviations that follow from it; 1 unless it is relative.
    """

    address: PlaneAddress
    kind: str
    factor: float = 1.0


@dataclass(frozen=True)
class Plane:
    """A plane that can be used, and what was measured of it.

    Attributes
    ----------
    address : PlaneAddress
        Where it lies.
    shape : (int, int)
        Rows and columns.
    scaling : Scaling
        Sky and noise of the whole plane; saturated pixels left out.
    saturation : float or None
        Pixels at or above this value do not count.
    filling : float or None
        Pixels of this magnitude or a larger one stand for missing ones (such as -3.4e38).
    weights : WeightMap or None
        Tells the noise of each pixel.
    """

    address: PlaneAddress
    shape: tuple[int, int]
    scaling: Scaling
    saturation: float | None = None
    filling: float | None = None
    weights: WeightMap | None = None

    def mask(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where pixels of this plane count: finite, below saturation, and no filling."""
        valid: NDArray[np.bool_] = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            if self.saturation is not None:
                valid &= values < self.saturation
            if self.filling is not None:
                valid &= np.abs(values) < self.filling
        return valid


class PlaneReader:
    """Reads rectangles of planes; keeps files open and planes decoded, least recently used last.

    Safe to pickle and to fork: a copy in another process begins with nothing open.

    Parameters
    ----------
    cache_bytes : int
        Bound of the decoded planes kept.  Planes larger than a quarter of it are never kept, but
        read piece by piece.
    open_files : int
        Bound of the files kept open.
    """

    def __init__(self, *, cache_bytes: int = CACHE_BYTES, open_files: int = OPEN_FILES) -> None:
        self.cache_bytes = cache_bytes
        self.open_files = open_files
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._planes: OrderedDict[PlaneAddress, NDArray[Any]] = OrderedDict()
        self._held = 0
        self._files: OrderedDict[tuple[Path, str], FitsFile | Hdf5Stack] = OrderedDict()

    def __getstate__(self) -> dict[str, int]:
        return {"cache_bytes": self.cache_bytes, "open_files": self.open_files}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def held_bytes(self) -> int:
        """Bytes of decoded planes that are kept now."""
        return self._held

    def read(
        self, address: PlaneAddress, shape: tuple[int, int], ys: slice, xs: slice
    ) -> NDArray[Any]:
        """Return a rectangle of a plane in the unit of the image, NaN where it is missing.

        Parameters
        ----------
        address : PlaneAddress
            The plane.
        shape : (int, int)
            Its rows and columns.
        ys, xs : slice
            Rows and columns within the plane, with start and stop.

        Returns
        -------
        ndarray of float32 or float64
            Not to be changed: it may be part of a kept plane.
        """
        if os.getpid() != self._process:
            self._reset()
        if address in self._planes:
            self._planes.move_to_end(address)
            return self._planes[address][ys, xs]
        if 8 * shape[0] * shape[1] > self.cache_bytes // 4:
            return self._decode(address, ys, xs)
        values = self._decode(address, slice(0, shape[0]), slice(0, shape[1]))
        self._planes[address] = values
        self._held += values.nbytes
        while self._held > self.cache_bytes:
            self._held -= self._planes.popitem(last=False)[1].nbytes
        return values[ys, xs]

    def close(self) -> None:
        """Close all files and forget all planes; reading again opens them again."""
        for file in self._files.values():
            if isinstance(file, FitsFile):
                file.close()
        self._reset()

    def _decode(self, address: PlaneAddress, ys: slice, xs: slice) -> NDArray[Any]:
        file = self._file(address)
        if isinstance(file, Hdf5Stack):
            values = np.asarray(file.read(address.plane))[address.channel, ys, xs]
        else:
            hdu = file.hdus[int(address.part)]
            values = hdu.to_physical(hdu.read_stored(address.plane, ys, xs))
        is_short = values.dtype == np.float32 or values.dtype.itemsize <= 2
        return np.array(values, dtype=np.float32 if is_short else np.float64)

    def _file(self, address: PlaneAddress) -> FitsFile | Hdf5Stack:
        key = (address.path, str(address.part) if address.is_hdf5 else "")
        if key in self._files:
            self._files.move_to_end(key)
            return self._files[key]
        file: FitsFile | Hdf5Stack
        if address.is_hdf5:
            (file,) = open_hdf5(f"{address.path}::{address.part}")
        else:
            file = open_fits(address.path)
        self._files[key] = file
        while len(self._files) > self.open_files:
            oldest = self._files.popitem(last=False)[1]
            if isinstance(oldest, FitsFile):
                oldest.close()
        return file
