"""What can be compressed: files, arrays, and the HDUs of astropy."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

import numpy as np
from astropy.io import fits

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "%'&")


class Input(NamedTuple):
    """A FITS file to read.

    Attributes
    ----------
    source : path or binary file object
        What to open.
    path : Path or None
        Where it lies; None when it was made here.
    label : str
        What to call it in results.
    size : int
        Bytes as given (packed, when it is packed).
    """

    source: Path | BinaryIO
    path: Path | None
    label: str
    size: int

    @property
    def stored_name(self) -> str:
        """File name as it goes into a header: printable ASCII, the rest as %XX."""
        return quote(self.path.name, safe=_PRINTABLE) if self.path else ""


def make_input(source: object) -> Input:
    """Return the FITS file of whatever the caller gave.

    Parameters
    ----------
    source : path-like, binary file object, ndarray, or astropy HDU or HDUList
        Arrays and HDUs are written to a FITS file in memory.

    Raises
    ------
    TypeError
        It is none of these, or an array that FITS cannot hold as it is.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return Input(path, path, str(path), path.stat().st_size)
    if isinstance(source, np.ndarray):
        hdus = fits.HDUList([fits.PrimaryHDU(_checked(source))])
        return _written(hdus, "<array>")
    if isinstance(source, fits.HDUList):
        return _written(source, "<HDUList>")
    if isinstance(source, fits.PrimaryHDU):
        return _written(fits.HDUList([source]), "<HDU>")
    if hasattr(source, "header") and hasattr(source, "data"):
        return _written(fits.HDUList([fits.PrimaryHDU(), source]), "<HDU>")
    if hasattr(source, "read") and hasattr(source, "seek"):
        file: Any = source
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        name = getattr(file, "name", None)
        return Input(file, None, name if isinstance(name, str) else "<file object>", size)
    raise TypeError(
        "can compress a path, a binary file, an array, or an astropy HDU or HDUList, got "
        f"{type(source).__name__}"
    )


def _checked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: fill it first, floats with NaN")
    kinds = {"f": (4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}
    if array.dtype.itemsize not in kinds.get(array.dtype.kind, ()):
        raise TypeError(
            f"images hold integers of 8 to 64 bits, float32 or float64, got {array.dtype}; "
            "convert the array first"
        )
    if array.ndim == 0:
        raise TypeError("an image needs at least one axis, got a single number")
    return array


def _written(hdus: fits.HDUList, label: str) -> Input:
    file = io.BytesIO()
    hdus.writeto(file, output_verify="exception")
    size = file.tell()
    file.seek(0)
    return Input(file, None, label, size)
