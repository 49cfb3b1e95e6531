"""The order in which a tile is coded: coarse to fine, each doubling in twelve phases.

At level ``l`` the pixels whose row and column are multiples of ``2**(l + 1)`` are known. Three
kinds of pixels fill the lattice of multiples of ``2**l``::

    known  C2        D  = odd row, odd column: from the known corners
    C1     D         C1 = odd row, even column: from known and D
                     C2 = even row, odd column: from known, D and C1

Each kind is filled in four phases, a checkerboard of checkerboards, so that later ones also see
pixels of their own kind: with three phases only, neighbouring pixels of a kind would be coded
as if they were independent, which costs up to a third of a bit where noise is correlated (see
the figures in the documentation). All pixels of a phase are independent of one another given
what is known: each phase is a handful of array operations over many tiles at once.

Beyond its edges a tile is mirrored about its edge pixels where the mirrored pixel is known, and
else continued by pixels four lattice lines inward, which are always known.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

TAPS = 24
REACH = 5
_WIDE = 3  # cells to each side of a wide mean
SMALLEST = 8  # no level whose lattice has fewer rows or columns
KINDS = 3
PHASES = 4 * KINDS
PERIOD = 4
CELLS = tuple(
    (row + 2 * down, column + 2 * right)
    for row, column in ((1, 1), (1, 0), (0, 1))
    for down, right in ((0, 0), (1, 1), (0, 1), (1, 0))
)


def _nearest(number: int) -> tuple[tuple[int, int], ...]:
    """Return the offsets of the nearest pixels that are known in a phase."""
    row, column = CELLS[number]
    known = {*CELLS[:number], (0, 0), (0, 2), (2, 0), (2, 2)}
    span = range(-REACH, REACH + 1)
    places = [
        (y, x) for y in span for x in span if ((row + y) % PERIOD, (column + x) % PERIOD) in known
    ]
    return tuple(sorted(places, key=lambda o: o[0] ** 2 + o[1] ** 2)[:TAPS])


OFFSETS = tuple(_nearest(number) for number in range(PHASES))


class Phase(NamedTuple):
    """One of the steps that fill a lattice."""

    level: int
    number: int

    @property
    def kind(self) -> int:
        """0, 1 or 2: what kind of pixel this phase fills."""
        return self.number // 4

    def pixels(self, work: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the view of the pixels of this phase, (B, h, w) of (B, H, W)."""
        step = 1 << self.level
        row, column = CELLS[self.number]
        return work[:, row * step :: PERIOD * step, column * step :: PERIOD * step]

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
        height, width = lattice.shape[1:]
        row, column = CELLS[self.number]
        _, h, w = self.pixels(work).shape
        out = np.empty((TAPS, work.shape[0], h, w), work.dtype)
        padded: dict[Mirrors, npt.NDArray[Any]] = {}
        for i, (y, x) in enumerate(OFFSETS[self.number]):
            mirrors = find_mirrors(self.number, row + y, column + x, height, width)
            if mirrors not in padded:
                rows, columns = (
                    continue_lines(np.arange(-REACH, n + REACH), n, *ends)
                    for n, ends in ((height, mirrors[:2]), (width, mirrors[2:]))
                )
                padded[mirrors] = lattice[:, rows[:, None], columns]
            top, left = REACH + row + y, REACH + column + x
            bottom, right = top + PERIOD * h - 3, left + PERIOD * w - 3
            out[i] = padded[mirrors][:, top:bottom:PERIOD, left:right:PERIOD]
        return out


def wide_means(work: npt.NDArray[Any], level: int) -> npt.NDArray[np.int64]:
    """Return the mean of the known pixels around each cell of four by four lattice pixels.

    Where noise is white the best prediction is a mean over many more pixels than a predictor has
    weights: here up to 196, all of them known before the level begins.

    Parameters
    ----------
    work : ndarray, shape (B, H, W)
        Tiles of which everything before this level is known.
    level : int
        Which lattice.

    Returns
    -------
    ndarray of int64, shape (B, ceil(h / 4), ceil(w / 4))
        In sixteenths; h and w are those of the lattice.
    """
    step = 2 << level
    known = work[:, ::step, ::step].astype(np.int64)
    pads = [(0, 0), *((0, n % 2) for n in known.shape[1:])]
    known = np.pad(known, pads, mode="edge")
    cells = known[:, ::2, ::2] + known[:, 1::2, ::2] + known[:, ::2, 1::2] + known[:, 1::2, 1::2]
    for axis in (1, 2):
        pads = [(0, 0)] * 3
        pads[axis] = (_WIDE + 1, _WIDE)
        total = np.cumsum(np.pad(cells, pads, mode="edge"), axis=axis)
        n = cells.shape[axis]
        high = np.take(total, np.arange(n) + 2 * _WIDE + 1, axis=axis)
        cells = high - np.take(total, np.arange(n), axis=axis)
    count = 4 * (2 * _WIDE + 1) ** 2
    return np.asarray((16 * cells + count // 2) // count)


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


Mirrors = tuple[bool, bool, bool, bool]


@functools.cache
def find_mirrors(number: int, row: int, column: int, height: int, width: int) -> Mirrors:
    """Return at which edges (top, bottom, left, right) a tap is mirrored: where that is known.

    Beyond two edges at once, both mirrors must lead to known pixels.
    """
    known = {*CELLS[:number], (0, 0), (0, 2), (2, 0), (2, 2)}
    rows = {"in": row, "top": -row, "bottom": 2 * (height - 1) - row}
    columns = {"in": column, "left": -column, "right": 2 * (width - 1) - column}

    def is_known(a: str, b: str) -> bool:
        return (rows[a] % PERIOD, columns[b] % PERIOD) in known

    top, bottom = is_known("top", "in"), is_known("bottom", "in")
    left = is_known("in", "left") and all(
        is_known(edge, "left") for edge, used in (("top", top), ("bottom", bottom)) if used
    )
    right = is_known("in", "right") and all(
        is_known(edge, "right") for edge, used in (("top", top), ("bottom", bottom)) if used
    )
    return top, bottom, left, right


def continue_lines(
    place: npt.NDArray[np.intp], n: int, mirror_low: bool, mirror_high: bool
) -> npt.NDArray[np.intp]:
    """Return which of `n` lattice lines stand for places, some of them beyond either end."""
    low = -place if mirror_low else place % PERIOD
    beyond = place - (n - 1)
    high = n - 1 - beyond if mirror_high else place + -beyond // PERIOD * PERIOD
    return np.asarray(np.where(place < 0, low, np.where(beyond > 0, high, place)))
