"""A lattice as sixteen planes, one for each row and column modulo four.

All neighbours of the pixels of a phase at one offset then lie side by side, and are views into a
plane: gathering 24 of them copies next to nothing. Each plane is framed by the pixels that stand
for those beyond the edges, exactly as in `Phase.neighbours`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from astro_vq.codec.lattice import (
    CELLS,
    OFFSETS,
    PERIOD,
    Mirrors,
    Phase,
    continue_lines,
    find_mirrors,
    wide_means,
)

_FRAME = 3
_NARROW = (
    1 << 19
)  # values up to this are kept in 32 bits: `predict` and `local_logs` are exact then

Integers = npt.NDArray[np.integer]


class Residues:
    """The lattice of one level of a stack of tiles.

    Parameters
    ----------
    work : ndarray of int64, shape (B, H, W)
        Tiles of which everything before this level is known.
    level : int
        Which lattice.
    """

    def __init__(self, work: npt.NDArray[np.int64], level: int) -> None:
        self._lattice = work[:, :: 1 << level, :: 1 << level]
        self._planes: dict[tuple[tuple[int, int], Mirrors], Integers] = {}
        self._dtype: type[np.int32] | type[np.int64] = np.int32
        self._watch(self._lattice[:, ::2, ::2])
        self._means = wide_means(work, level)

    def neighbours(self, phase: Phase) -> Sequence[Integers]:
        """Return the 24 neighbours (B, h, w) of the pixels of a phase, nearest first."""
        row, column = CELLS[phase.number]
        height, width = self._lattice.shape[1:]
        h, w = self._lattice[:, row::PERIOD, column::PERIOD].shape[1:]
        views = []
        for y, x in OFFSETS[phase.number]:
            mirrors = find_mirrors(phase.number, row + y, column + x, height, width)
            down, residue_row = divmod(row + y, PERIOD)
            right, residue_column = divmod(column + x, PERIOD)
            key = (residue_row, residue_column), mirrors
            if key not in self._planes:
                self._planes[key] = self._frame(*key)
            top, left = _FRAME + down, _FRAME + right
            views.append(self._planes[key][:, top : top + h, left : left + w])
        return views

    def means(self, phase: Phase) -> npt.NDArray[np.int64]:
        """Return the wide means (B, h, w) around the pixels of a phase, in sixteenths."""
        row, column = CELLS[phase.number]
        h, w = self._lattice[:, row::PERIOD, column::PERIOD].shape[1:]
        return self._means[:, :h, :w]

    def close(self, phase: Phase) -> None:
        """Take note that the pixels of a phase are in place."""
        row, column = CELLS[phase.number]
        self._watch(self._lattice[:, row::PERIOD, column::PERIOD])

    def _watch(self, pixels: npt.NDArray[np.int64]) -> None:
        """Turn to 64 bits once a value is too large for 32."""
        if self._dtype is np.int32 and pixels.size and max(pixels.max(), -pixels.min()) > _NARROW:
            self._dtype = np.int64
            self._planes = {}

    def _frame(self, cell: tuple[int, int], mirrors: Mirrors) -> Integers:
        """Return a plane of pixels that are known, with its frame."""
        lines = []
        for n, residue, ends in zip(
            self._lattice.shape[1:], cell, (mirrors[:2], mirrors[2:]), strict=True
        ):
            count = (n - residue + PERIOD - 1) // PERIOD
            place = PERIOD * np.arange(-_FRAME, count + _FRAME) + residue
            lines.append(np.clip(continue_lines(place, n, *ends), 0, n - 1))
        rows, columns = lines
        return np.asarray(self._lattice[:, rows[:, None], columns].astype(self._dtype))
