"""Moving values between tiles and the rectangles that are asked for."""

from typing import Any

from numpy.typing import NDArray

from astro_vq.types import TileGeometry


def paste(
    out: NDArray[Any], values: NDArray[Any], place: TileGeometry, ys: slice, xs: slice
) -> None:
    """Copy what a tile and a rectangle share.

    Parameters
    ----------
    out : ndarray (..., ny, nx)
        The rectangle ``[ys, xs]``; written to.
    values : ndarray (..., place.ny, place.nx)
        The tile.
    place : TileGeometry
        Where the tile lies.
    ys, xs : slice
        Where the rectangle lies.
    """
    y0, y1 = max(place.y0, ys.start), min(place.y0 + place.ny, ys.stop)
    x0, x1 = max(place.x0, xs.start), min(place.x0 + place.nx, xs.stop)
    out[..., y0 - ys.start : y1 - ys.start, x0 - xs.start : x1 - xs.start] = values[
        ..., y0 - place.y0 : y1 - place.y0, x0 - place.x0 : x1 - place.x0
    ]


def shifted(inside: slice, reach: int, window: slice) -> slice:
    """Return a range grown by `reach`, counted from the start of a window and cut at its ends."""
    start = max(inside.start - reach, window.start) - window.start
    return slice(start, max(min(inside.stop + reach, window.stop) - window.start, start))


def spanned(first: TileGeometry, last: TileGeometry) -> TileGeometry:
    """Return the rectangle from one tile to another of the same row."""
    return first._replace(nx=last.x0 + last.nx - first.x0)
