"""Stacks of cutouts in HDF5 files: named ``FILE::DATASET``, read one cutout at a time."""

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astro_vq.errors import DataError, FormatError

SEPARATOR = "::"
"""Stands between the name of a file and that of a data set or group within it."""

LARGEST_CUTOUT = 2**28
"""Pixels of a cutout that are read at once; a small file can claim to hold more."""

_UNITS = ("units", "unit", "BUNIT", "bunit")
_NUMBERS = "iuf"


@dataclass(frozen=True)
class Hdf5Stack:
    """A data set of cutouts; nothing is open until a cutout is read.

    Safe to pickle and to use after a fork: each process opens the file for itself.

    Attributes
    ----------
    path : str
        The file.
    dataset : str
        Full name within the file, without the leading slash.
    shape : (int, int, int, int)
        Cutouts, channels, rows, columns; a stack of three axes has one channel.
    dtype : dtype
        Native-endian.
    unit : str
        Of the pixels; '' when nothing states it.
    attributes : dict
        All attributes of the data set; arrays as lists, bytes as text.
    """

    path: str
    dataset: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    unit: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, i: int) -> NDArray[Any]:
        """Return a cutout (C, H, W) of `dtype`, native-endian, as it is stored.

        NaN and infinities stay.  No attribute is applied as a scale.

        Parameters
        ----------
        i : int
            Number of the cutout; from 0.

        Raises
        ------
        IndexError
            There is no such cutout.
        FormatError
            The file is damaged there.
        """
        if not 0 <= i < self.shape[0]:
            raise IndexError(
                f"{self.path}{SEPARATOR}{self.dataset}: cutout {i} asked, it has {self.shape[0]}"
            )
        try:
            values = np.asarray(self._opened()[i], dtype=self.dtype)
        except (OSError, RuntimeError, KeyError) as err:
            raise FormatError(
                f"{self.path}{SEPARATOR}{self.dataset}: cutout {i} cannot be read ({err}); "
                "the file is damaged or cut off, fetch it again"
            ) from err
        return values.reshape(self.shape[1:])

    def close(self) -> None:
        """Close the file; reading opens it again."""
        handle = self.__dict__.pop("_handle", None)
        if handle is not None and handle[0] == os.getpid():
            handle[1].file.close()

    def _opened(self) -> h5py.Dataset:
        if self._handle[0] != os.getpid():  # a handle of the parent process is of no use
            del self.__dict__["_handle"]
        return self._handle[1]

    @cached_property
    def _handle(self) -> tuple[int, h5py.Dataset]:
        return os.getpid(), h5py.File(self.path, "r")[self.dataset]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handle"}


def open_hdf5(spec: str | os.PathLike[str]) -> list[Hdf5Stack]:
    """Return the stacks of cutouts that a file, a group or a data set holds.

    Parameters
    ----------
    spec : str or path-like
        ``FILE`` or ``FILE::NAME``.  NAME is a data set of shape (N, H, W) or (N, C, H, W), or a
        group: all numeric data sets of such shapes below it count, in the order of their names,
        and others (ids, tables) are passed over.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FormatError
        It is no HDF5 file.
    DataError
        There is nothing of that name, or nothing that can be cutouts; the message says what
        there is.
    """
    path, _, name = os.fspath(spec).partition(SEPARATOR)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as err:
        if not h5py.is_hdf5(path):
            raise FormatError(f"{path} is not an HDF5 file, or is cut off ({err})") from err
        raise FormatError(f"{path}: damaged HDF5 file ({err}); fetch it again") from err
    try:
        with file:
            return _stacks(file, path, name.strip("/"))
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as err:
        raise FormatError(f"{path}: damaged HDF5 file ({err}); fetch it again") from err


def _stacks(file: h5py.File, path: str, name: str) -> list[Hdf5Stack]:
    if name and name not in file:
        raise DataError(f"{path} has no data set or group {name!r}; it has {_contents(file)}")
    node = file[name] if name else file
    if isinstance(node, h5py.Dataset):
        if not _holds_cutouts(node):
            raise DataError(
                f"{path}{SEPARATOR}{name} is of shape {node.shape} and type {node.dtype}; cutouts "
                "are numbers of shape (N, H, W) or (N, C, H, W)"
            )
        return [_stack(path, node)]
    found: list[h5py.Dataset] = []

    def visit(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and _holds_cutouts(item):
            found.append(item)

    node.visititems(visit)
    if not found:
        raise DataError(
            f"{path}{SEPARATOR + name if name else ''} holds no cutouts, which are data sets of "
            f"numbers of shape (N, H, W) or (N, C, H, W); it has {_contents(node)}"
        )
    return [_stack(path, item) for item in sorted(found, key=lambda item: str(item.name))]


def _holds_cutouts(item: h5py.Dataset) -> bool:
    shape = item.shape or ()
    return len(shape) in (3, 4) and item.dtype.kind in _NUMBERS and all(shape)


def _stack(path: str, item: h5py.Dataset) -> Hdf5Stack:
    n, *channels, height, width = item.shape
    if math.prod((*channels, height, width)) > LARGEST_CUTOUT:
        raise DataError(
            f"{path}{SEPARATOR}{str(item.name).strip('/')} is of shape {item.shape}: a cutout has "
            f"up to {LARGEST_CUTOUT} pixels"
        )
    attributes = {name: _plain(value) for name, value in item.attrs.items()}
    unit = next((str(attributes[name]) for name in _UNITS if name in attributes), "")
    return Hdf5Stack(
        path=path,
        dataset=str(item.name).strip("/"),
        shape=(n, channels[0] if channels else 1, height, width),
        dtype=item.dtype.newbyteorder("="),
        unit=unit.strip(),
        attributes=attributes,
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever an attribute holds
    """Return an attribute as Python's own types where there are such."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value


def _contents(group: h5py.Group) -> str:
    found: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(f"{name} {item.shape} {item.dtype}")

    group.visititems(visit)
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return ", ".join(found[:10]) + more if found else "no data sets"
