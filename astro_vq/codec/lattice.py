"""The order in which a tile is coded: coarse to fine, each doubling in three phases.

At level ``l`` the pixels whose row and column are multiples of ``2**(l + 1)`` are known. Three
phases fill the lattice of multiples of ``2**l``::

    known  C2        D  = odd row, odd column: from the known corners
    C1     D         C1 = odd row, even column: from known and D
                     C2 = even row, odd column: from known, D and C1

All pixels of a phase are independent of one another given what is known, so that each phase is
a handful of array operations over all its pixels, and over many tiles at once. Beyond the edges
the tile is mirrored about its edge pixels, which keeps the parity of rows and columns.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

TAPS = 24
REACH = 5
SMALLEST = 8  # no level whose lattice has fewer rows or columns


def _nearest(known: Callable[[int, int], bool]) -> tuple[tuple[int, int], ...]:
    """Return the offsets of the nearest pixels of which `known` is true."""
    span = range(-REACH, REACH + 1)
    places = [(y, x) for y in span for x in span if known(y, x)]
    return tuple(sorted(places, key=lambda o: o[0] ** 2 + o[1] ** 2)[:TAPS])


OFFSETS = (
    _nearest(lambda y, x: bool(y % 2 and x % 2)),
    _nearest(lambda y, x: bool((y + x) % 2)),
    _nearest(lambda y, x: bool(y % 2 or x % 2)),
)
_CELLS = ((1, 1), (1, 0), (0, 1))
PHASES = len(OFFSETS)


class Phase(NamedTuple):
    """One of the steps that fill a lattice."""

    level: int
    number: int

    def pixels(self, work: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the view of the pixels of this phase, (B, h, w) of (B, H, W)."""
        step = 1 << self.level
        row, column = _CELLS[self.number]
        return work[:, row * step :: 2 * step, column * step :: 2 * step]

    def neighbours(self, work: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the known pixels around each pixel of this phase.

        Parameters
        ----------
        work : ndarray, shape (B, H, W)
            Tiles of which everything before this phase is known.

        Returns
        -------
        ndarray, shape (24, B, h, w)
            Nearest first.
        """
        step = 1 << self.level
        lattice = work[:, ::step, ::step]
        rows, columns = (_mirror(n) for n in lattice.shape[1:])
        padded = lattice[:, rows[:, None], columns]
        row, column = _CELLS[self.number]
        _, h, w = self.pixels(work).shape
        out = np.empty((TAPS, work.shape[0], h, w), work.dtype)
        for i, (y, x) in enumerate(OFFSETS[self.number]):
            top, left = REACH + row + y, REACH + column + x
            out[i] = padded[:, top : top + 2 * h - 1 : 2, left : left + 2 * w - 1 : 2]
        return out


def count_levels(shape: tuple[int, int]) -> int:
    """Return how many levels a tile has; 0 if it is too small or too narrow."""
    levels = 0
    while min((n + (1 << levels) - 1) >> levels for n in shape) >= SMALLEST:
        levels += 1
    return levels


def coarsest(work: npt.NDArray[Any], levels: int) -> npt.NDArray[Any]:
    """Return the view of the pixels that are known before the first phase."""
    return work[:, :: 1 << levels, :: 1 << levels]


def phases(levels: int) -> Iterator[Phase]:
    """Yield the phases in coding order."""
    for level in reversed(range(levels)):
        for number in range(PHASES):
            yield Phase(level, number)


def _mirror(n: int) -> npt.NDArray[np.intp]:
    """Return the indices of a lattice of `n` lines and of `REACH` mirrored ones on both sides."""
    place = np.arange(-REACH, n + REACH + 1)
    period = max(2 * (n - 1), 1)
    place = np.abs(place) % period
    return np.minimum(place, period - place)
