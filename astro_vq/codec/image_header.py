"""What the header of an image says about its pixels, and the values that they stand for."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.errors import FormatError
from astro_vq.io.cards import float_value, integer_value, split_cards
from astro_vq.io.fits_pixels import to_physical
from astro_vq.io.fits_structure import DTYPES, first_cards, read_structure, text_of

_UNSIGNED = {
    ("uint8", -128.0): "int8",
    ("int16", 2.0**15): "uint16",
    ("int32", 2.0**31): "uint32",
    ("int64", 2.0**63): "uint64",
}
"""Offsets that stand for the other kind of integer, without any scaling."""


class ImageHeader(NamedTuple):
    """Shape, type and scaling of an image.

    Attributes
    ----------
    shape : tuple of int
        Slowest axis first; empty for a header alone.
    dtype : str
        Stored dtype.
    bscale, bzero : float
        ``physical = bscale * stored + bzero``.
    blank : int or None
        Stored integer of missing pixels.
    unit, name : str
        BUNIT and EXTNAME.
    """

    shape: tuple[int, ...]
    dtype: str
    bscale: float
    bzero: float
    blank: int | None
    unit: str
    name: str

    @classmethod
    def from_header(cls, header: bytes, where: str) -> "ImageHeader":
        """Read the header of an image.

        Parameters
        ----------
        header : bytes
            The original header.
        where : str
            File and HDU, for messages.

        Raises
        ------
        FormatError
            A structural keyword is missing or impossible.
        """
        first = first_cards(split_cards(header))
        structure = read_structure(first, primary=header[:6] == b"SIMPLE", where=where)
        if structure.kind not in ("image", "empty"):
            raise FormatError(f"{where}: damaged header: it is not that of an image")

        def number(name: str, default: float) -> float:
            value = float_value(first[name]) if name in first else None
            return default if value is None or not math.isfinite(value) else value

        blank = integer_value(first["BLANK"]) if "BLANK" in first else None
        return cls(
            structure.shape,
            DTYPES[structure.bitpix],
            number("BSCALE", 1.0) or 1.0,
            number("BZERO", 0.0),
            blank if structure.bitpix > 0 else None,
            text_of(first, "BUNIT"),
            text_of(first, "EXTNAME"),
        )

    @property
    def is_float(self) -> bool:
        """Whether pixels are stored as floating point numbers."""
        return self.dtype.startswith("float")

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers are not the values."""
        return (self.bscale, self.bzero) != (1.0, 0.0)

    @property
    def image_dtype(self) -> str:
        """Dtype of `to_image`: as astropy gives the data of such an HDU."""
        plain = _UNSIGNED.get((self.dtype, self.bzero)) if self.bscale == 1.0 else None
        if self.blank is None and plain is not None:
            return plain
        if self.is_float or (self.blank is None and not self.is_scaled):
            return self.dtype
        return "float64" if self.dtype in ("int32", "int64") else "float32"

    def to_physical(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Return physical values, NaN where pixels are BLANK."""
        values = to_physical(stored, bscale=self.bscale, bzero=self.bzero, blank=self.blank)
        with np.errstate(invalid="ignore"):  # signalling NaNs
            return np.asarray(values, dtype=np.float64)

    def to_image(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the values of pixels in their own type.

        Integers stay integers (unsigned ones by BZERO too) unless they are scaled or have
        BLANK, which becomes NaN; floats keep every bit unless they are scaled.
        """
        target = np.dtype(self.image_dtype)
        if not self.is_scaled and self.blank is None:
            return stored
        if target.kind in "iu":
            flipped = stored.view(f"u{stored.dtype.itemsize}") ^ (1 << (8 * stored.itemsize - 1))
            return flipped.astype(f"u{stored.dtype.itemsize}").view(target)
        if self.is_float and not self.is_scaled:
            return stored
        with np.errstate(invalid="ignore", over="ignore"):
            return self.to_physical(stored).astype(target)

    def missing(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where pixels have no finite value."""
        if self.is_float:
            return np.asarray(~np.isfinite(stored))
        if self.blank is None:
            return np.zeros(stored.shape, dtype=bool)
        return np.asarray(stored == self.blank)

    @property
    def stored_blank(self) -> int | None:
        """BLANK where it is a number that the stored dtype has, else None."""
        if self.blank is None or self.is_float:
            return None
        info = np.iinfo(self.dtype)
        return self.blank if info.min <= self.blank <= info.max else None

    @property
    def present(self) -> int:
        """Stored value of a pixel that is not missing, in the mask of a tokens file."""
        return 1 if self.blank == 0 else 0

    @property
    def fill(self) -> float | int:
        """Stored value of pixels that are lost: NaN, or BLANK, or 0."""
        if self.is_float:
            return float("nan")
        return 0 if self.stored_blank is None else self.stored_blank

    def to_stored(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return finite physical values as stored numbers: integers rounded and clipped."""
        with np.errstate(over="ignore"):
            numbers = (values - self.bzero) / self.bscale if self.is_scaled else values
            dtype = np.dtype(self.dtype)
            if self.is_float:
                limit = float(np.finfo(dtype).max)
                return np.clip(numbers, -limit, limit).astype(dtype)
        info = np.iinfo(dtype)
        rounded = np.rint(numbers)
        stored = np.clip(rounded, info.min, info.max).astype(np.float64)
        # the largest int64 is no float64, so the top is set apart
        top = stored >= float(info.max)
        result = np.where(top, 0, stored).astype(dtype)
        result[top] = info.max
        blank = self.stored_blank
        if blank is not None:  # no finite value may turn into a missing one
            result[result == blank] = blank + 1 if blank < info.max else blank - 1
        return result
