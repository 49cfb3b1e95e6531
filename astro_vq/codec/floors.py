"""Images that must not become negative: where their zero is stored, and whether they qualify."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.image_header import ImageHeader
from astro_vq.errors import DataError


def stored_floor(info: ImageHeader) -> int | None:
    """Return the least stored value that is not negative, or None if there is no such thing.

    Floats have one, 0, unless an offset moves it; integers unless their scale is negative.
    """
    if info.bscale < 0 or (info.is_float and info.bzero):
        return None
    if info.is_float:
        return 0
    limits = np.iinfo(info.dtype)
    least = math.ceil(-Fraction(info.bzero) / Fraction(info.bscale))
    return min(max(least, int(limits.min)), int(limits.max))


def refuse_negative(tiles: list[NDArray[Any]], info: ImageHeader, where: str) -> None:
    """Do nothing where no value of stored tiles is negative.

    Raises
    ------
    DataError
        A value is.
    """
    for tile in tiles:
        values = info.to_physical(tile)
        least = np.nanmin(values, initial=0.0)
        if least < 0:
            raise DataError(
                f"{where}: --non-negative (non_negative), but it has negative pixels, such as "
                f"{least:.6g}; leave the option out, or name the HDUs that it is meant for "
                "(--non-negative-hdu), keep the file lossless (--lossless), or set these pixels "
                "to 0 or NaN first"
            )
