"""Find the grid that plain floats lie on because they were fpacked once.

From some rows whose places in the standard's random numbers are searched for follow the tiles: rows
of their own, or some rows together as for HCOMPRESS, as wide as the image was, of which this
one may be a part. Then each tile needs its step alone, and every value is checked.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.dither import COUNT, random_numbers, run_starts
from astro_vq.codec.find_steps import (
    Found,
    line_noise,
    refine_step,
    search_place,
    search_step,
    sky_of,
    snap_null_zero,
    snap_step,
)
from astro_vq.codec.hidden_grid import DITHER_1, DITHER_2, HiddenGrid

_WIDEST = 9000  # of the image that was quantised: its rows span one or two runs of numbers
_WALK = 44  # rows to look for two borders of tiles in; fpack makes tiles of up to 30
_SAME = 1e-5  # steps of rows of one tile agree so well
_MULTIPLE = 2e-3  # of a step: how near to a multiple of it a zero is
_MISSES = 0.05
_TRIED_TILES = 8
_FAR = 2.0**30  # steps: zeros so far away are those of fpack with integers for missing pixels
_STARTS = (0.5, 0.33, 0.6, 0.2, 0.75)  # rows to begin a search at
_FEWEST_ROWS = 8
_FEWEST_PIXELS = 10_000

ReadRows = Callable[[int, int], npt.NDArray[Any]]


class _Row(NamedTuple):
    """A row whose place in the random numbers is known."""

    number: int
    place: int
    step: float


def find_grid(read: ReadRows, height: int, width: int) -> HiddenGrid | None:
    """Return the grid that the values of a plane lie on, None if they were not fpacked.

    Parameters
    ----------
    read : callable
        Gives rows from the first to the second number (excluded) as stored floats.
    height, width : int
        Of the plane.
    """
    if height < _FEWEST_ROWS or height * width < _FEWEST_PIXELS or width > _WIDEST:
        return None
    start = _search(read, next((y for y in _first_rows(read, height)), height // 2), None)
    if start is None:
        return None
    for part in _STARTS:
        grid = _find_tiles(read, height, width, int(part * height), start.step)
        if grid is not None:
            line = read(start.number, start.number + 1)[0].astype(np.float64)
            return _fill(read, grid, height, width, line_noise(line) / start.step)
    return None


def _first_rows(read: ReadRows, height: int) -> Iterator[int]:
    """Yield rows with enough sky for a search."""
    for part in _STARTS:
        y = int(part * height)
        if sky_of(read(y, y + 1)[0].astype(np.float64)) is not None:
            yield y


def _find_tiles(
    read: ReadRows, height: int, width: int, begin: int, near: float
) -> HiddenGrid | None:
    """Return the grid (without steps) that rows from `begin` on tell."""
    rows: list[_Row] = []
    for y in range(begin, min(begin + 3, height)):
        rows += [row] if (row := _search(read, y, near)) else []
    if len(rows) < 3:
        return None
    apart = {b.place - a.place for a, b in itertools.pairwise(rows)}
    if len(apart) == 1 and max(r.step for r in rows) < min(r.step for r in rows) * (1 + _SAME):
        return _several_rows(read, height, width, rows, apart.pop())
    return _single_rows(height, width, rows)


def _search(read: ReadRows, y: int, near: float | None) -> _Row | None:
    """Return a row with its place and exact step."""
    line = read(y, y + 1)[0].astype(np.float64)
    found = search_place(line, near)
    if found is None:
        return None
    numbers = random_numbers()[found.place : found.place + line.size]
    exact = refine_step(line[: numbers.size], numbers, found.step)
    return None if exact is None else _Row(y, found.place, exact.step)


def _single_rows(height: int, width: int, rows: list[_Row]) -> HiddenGrid | None:
    """Return the grid (without steps) of tiles of one row each."""
    starts = run_starts()
    fits = starts <= rows[0].place
    for a, b in itertools.pairwise(rows):
        offset = a.number - rows[0].number
        here, there = np.roll(starts, -offset), np.roll(starts, -offset - b.number + a.number)
        fits &= there - here == b.place - a.place
    found = np.flatnonzero(fits)
    if found.size != 1:
        return None
    run = int(found[0])
    column = rows[0].place - int(starts[run])
    seed = (run - rows[0].number) % COUNT + 1
    empty = np.zeros(height)
    return HiddenGrid(
        height, column + width, (1, column + width), (0, column), DITHER_1, seed, empty, empty
    )


def _several_rows(
    read: ReadRows, height: int, width: int, rows: list[_Row], full_width: int
) -> HiddenGrid | None:
    """Return the grid (without steps) of tiles of several rows of an image so wide."""
    if not width <= full_width <= _WIDEST:
        return None
    borders: list[_Row] = []
    last = rows[-1]
    for y in range(last.number + 1, min(last.number + _WALK, height)):
        row = _search(read, y, last.step)
        if row is None:
            continue
        if abs(row.step / last.step - 1) > _SAME:
            borders.append(row)
            if len(borders) == 2:
                break
        last = row
    if len(borders) < 2:
        return None
    tall = borders[1].number - borders[0].number
    starts = run_starts()
    above = -borders[0].number % tall
    tile = (borders[0].number + above) // tall
    jump = borders[1].place - borders[0].place
    for run in np.flatnonzero(np.roll(starts, -1) - starts == jump).tolist():
        column = borders[0].place - int(starts[run])
        if not 0 <= column <= full_width - width:
            continue
        count = -(-(height + above) // tall)
        empty = np.zeros(count)
        grid = HiddenGrid(
            height + above,
            full_width,
            (tall, full_width),
            (above, column),
            DITHER_1,
            (run - tile) % COUNT + 1,
            empty,
            empty,
        )
        numbers = random_numbers()[rows[0].place : rows[0].place + width]
        expected = grid.steps(rows[0].number, 0, (1, width)).shift[0]
        if np.array_equal(expected[: numbers.size], numbers):
            return grid
    return None


def _fill(
    read: ReadRows, grid: HiddenGrid, height: int, width: int, per_noise: float
) -> HiddenGrid | None:
    """Return a grid with the steps of all tiles, None if too many values do not lie on it."""
    tall, above = grid.tile[0], grid.origin[0]
    scale, zero = np.zeros(grid.scale.size), np.zeros(grid.scale.size)
    middles, misses, total, zeros = [], 0, 0, 0
    for tile in range(scale.size):
        start, stop = max(tile * tall - above, 0), min((tile + 1) * tall - above, height)
        values = read(start, stop)
        shift = grid.steps(start, 0, (stop - start, width)).shift.ravel()
        line = values.ravel()
        there = np.isfinite(line) & (line != 0)
        zeros += int(np.count_nonzero(line == 0))
        real = line.astype(np.float64)
        found = search_step(real, shift, per_noise)
        total += int(np.count_nonzero(there))
        if found is None:
            misses += int(np.count_nonzero(there))
        else:
            scale[tile], zero[tile], hits = _settle(line, shift, there, found)
            misses += int(np.count_nonzero(there)) - hits
            per_noise = line_noise(real) / scale[tile]
            middles.append(float(np.median(line[there])))
        if tile >= _TRIED_TILES and misses > 2 * _MISSES * total:
            return None
    if misses > _MISSES * total or not middles:
        return None
    centre = float(np.median(middles)) if tall == 1 else None
    if centre is not None:  # a zero may be any multiple of the step: one that costs nothing
        whole = (scale > 0) & (np.abs(zero) < _FAR * scale)
        whole[whole] = zero[whole] % scale[whole] == 0
        zero[whole] = np.rint(centre / scale[whole]) * scale[whole]
    method = DITHER_2 if zeros else DITHER_1
    return dataclasses.replace(grid, method=method, scale=scale, zero=zero, centre=centre)


def _settle(
    line: npt.NDArray[Any],
    shift: npt.NDArray[np.float64],
    there: npt.NDArray[np.bool_],
    found: Found,
) -> tuple[float, float, int]:
    """Return step and zero of a tile, the lowest index being 0, and how many values they give."""
    step, zero = found.step, 0.0
    if min(found.phase, 1 - found.phase) < _MULTIPLE:
        step = snap_step(line, shift, step)
    else:
        step, zero = snap_null_zero(line, shift, step, found.phase * step)
    values, moves = line[there].astype(np.float64), shift[there]
    index = np.rint((values - zero) / step - 0.5 + moves)
    lowest = float(index.min()) if abs(zero) < _FAR * step else 0.0
    zero += lowest * step
    restored = (((index - lowest) - moves) + 0.5) * step + zero
    return step, zero, int(np.count_nonzero(restored.astype(line.dtype) == line[there]))
