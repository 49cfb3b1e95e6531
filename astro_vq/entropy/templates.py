"""Distributions of integers made from a few templates by shift and scale, in exact arithmetic.

A template is the cumulative distribution of a variable ``t`` on a fixed grid, in counts. The
integer y around the centre c at scale s has the probability that the template gives to
``(y - 1/2 - c) / s <= t < (y + 1/2 - c) / s``, plus one count, so that no integer of the window
is impossible; one count is kept for the escape: integers outside the window. All is integer
multiplication, shift and linear interpolation: encoder and decoder agree on every machine.

Units: centres in 1/256; scales as ``round(16 * log2(scale))``. Where the scale is large, the
lowest ``drop`` bits of the integer are as good as uniform: they are coded apart.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.lanes import PRECISION, TOTAL

GRID = 16
"""Grid points per unit of t."""
CELLS = 1024
"""Grid cells: t runs from -32 to 32."""
CENTRE_BITS = 8
SCALE_STEPS = 16
SMALLEST_SCALE, LARGEST_SCALE = -4 * SCALE_STEPS, 40 * SCALE_STEPS
_REACH = CELLS // GRID // 2
_FINE = 8  # bits of position inside a grid cell
_INVERSE_BITS = 20
_KEPT_BITS = 6  # scales above 2**6 drop bits
_LOOKUP_BITS = 12
_INVERSES = np.array(
    # round(2**20 * GRID * 2**(-f / 16)), f = 0 to 15: written out, so that no machine computes them
    [16777216, 16065917, 15384775, 14732511, 14107901, 13509772, 12937002, 12388516,
     11863283, 11360319, 10878679, 10417458, 9975792, 9552851, 9147842, 8760003],
    np.int64,
)  # fmt: skip

Integers = npt.NDArray[np.int64]


class Located(NamedTuple):
    """Distributions of n integers: template, centre and scale, and the window that follows.

    All arrays have shape (n,); `low` is the first integer (without its dropped bits) of the
    window and `reach` half of its width.
    """

    template: Integers
    centre: Integers
    exponent: Integers
    fraction: Integers
    drop: Integers
    reach: Integers
    low: Integers

    def at(self, places: npt.NDArray[np.intp]) -> "Located":
        """Return the distributions at some places."""
        return Located(*(part[places] for part in self))


class TemplateFamily:
    """Templates and what is needed to look them up forwards and backwards.

    Parameters
    ----------
    table : ndarray of integers, shape (M, CELLS + 1)
        Cumulative counts, from 0 to ``2**24``, never falling.

    Raises
    ------
    ValueError
        If the table is not of that form.
    """

    def __init__(self, table: npt.NDArray[np.integer]) -> None:
        self._table = np.ascontiguousarray(table, dtype=np.int64)
        fits = self._table.ndim == 2 and self._table.shape[1] == CELLS + 1
        if not fits or (self._table[:, 0] != 0).any() or (self._table[:, -1] != TOTAL).any():
            raise ValueError(f"templates are (M, {CELLS + 1}) counts from 0 to 2**{PRECISION}")
        self._slope = np.diff(self._table, append=TOTAL)
        if (self._slope < 0).any():
            raise ValueError("cumulative counts of templates must not fall")
        steps = np.arange((1 << _LOOKUP_BITS) + 1) << PRECISION - _LOOKUP_BITS
        below = [np.searchsorted(row, steps, side="left") - 1 for row in self._table]
        above = [np.searchsorted(row, steps, side="right") for row in self._table]
        self._below, self._above = np.array(below, np.int64), np.array(above, np.int64)

    def locate(self, template: Integers, centre: Integers, scale: Integers) -> Located:
        """Return distributions for centres (1/256) and scales (16 per octave); clips the scales."""
        scale = np.clip(scale, SMALLEST_SCALE, LARGEST_SCALE)
        exponent = scale >> 4
        drop = np.maximum(exponent - _KEPT_BITS, 0)
        reach = (np.int64(_REACH) << np.maximum(exponent + 1, 0)) >> drop
        low = (centre >> CENTRE_BITS >> drop) - reach
        return Located(template, centre, exponent, scale & 15, drop, reach, low)

    def intervals(self, values: Integers, where: Located) -> tuple[Integers, Integers]:
        """Return first counts and numbers of counts of integers (without their dropped bits).

        An integer outside its window gets the escape's interval, (0, 1).
        """
        inside = (values >= where.low) & (values <= where.low + 2 * where.reach)
        value = np.where(inside, values, where.low)
        start = self._cumulative(value, where)
        frequency = self._cumulative(value + 1, where) - start
        return np.where(inside, start, 0), np.where(inside, frequency, 1)

    def find(self, slots: Integers, where: Located) -> tuple[Integers, Integers, Integers]:
        """Return the integers whose intervals hold the slots, with the intervals.

        The escape comes back as ``low - 1`` with the interval (0, 1).
        """
        cell = slots >> PRECISION - _LOOKUP_BITS
        slack = (2 * where.reach >> PRECISION - _LOOKUP_BITS) + 1  # what one count each may shift
        first = self._below[where.template, np.maximum(cell - slack, 0)]
        last = self._above[where.template, np.minimum(cell + slack + 1, 1 << _LOOKUP_BITS)]
        top = where.low + 2 * where.reach
        # beyond the grid, counts grow by the one of each integer only
        low = np.where(first > 0, self._value_at(first, where) - 1, where.low)
        low = np.clip(low, where.low, top)
        high = np.where(last < CELLS, self._value_at(last, where) + 2, top + 1)
        high = np.clip(high, low + 1, top + 1)
        # cumulative(low) <= slot < cumulative(high) holds throughout
        start = self._cumulative(low, where)
        end = self._cumulative(high, where)
        wide = np.flatnonzero(high - low > 1)
        while wide.size:
            some = where.at(wide)
            middle = (low[wide] + high[wide]) >> 1
            count = self._cumulative(middle, some)
            below = count <= slots[wide]
            up, down = wide[below], wide[~below]
            low[up], start[up] = middle[below], count[below]
            high[down], end[down] = middle[~below], count[~below]
            wide = wide[high[wide] - low[wide] > 1]
        escape = slots < 1
        value = np.where(escape, where.low - 1, low)
        return value, np.where(escape, 0, start), np.where(escape, 1, end - start)

    def _cumulative(self, values: Integers, where: Located) -> Integers:
        """Return counts below integers of the window: 1 at `low`, 2**24 above the last one."""
        edge = (values << where.drop << CENTRE_BITS) - (1 << CENTRE_BITS - 1) - where.centre
        spare = np.maximum(where.exponent - CENTRE_BITS, 0)  # keeps the product below 2**63
        shift = _INVERSE_BITS + where.exponent - spare
        position = ((edge >> spare) * _INVERSES[where.fraction] >> shift) + (CELLS << _FINE - 1)
        position = np.clip(position, 0, (CELLS << _FINE) - 1)
        cell, fine = position >> _FINE, position & (1 << _FINE) - 1
        counts = self._table[where.template, cell]
        counts = counts + (self._slope[where.template, cell] * fine >> _FINE)
        rank = values - where.low
        width = 2 * where.reach + 1
        inner = 1 + rank + (counts * (TOTAL - width - 1) >> PRECISION)
        return np.where(rank <= 0, 1, np.where(rank >= width, TOTAL, inner))

    def _value_at(self, cell: Integers, where: Located) -> Integers:
        """Integer (without its dropped bits) near a grid point."""
        offset = cell - (CELLS >> 1)
        edge = (offset << _INVERSE_BITS + CENTRE_BITS) // _INVERSES[where.fraction]
        edge = np.where(where.exponent >= 0, edge << np.maximum(where.exponent, 0), edge)
        edge = edge >> np.maximum(-where.exponent, 0)
        return (where.centre + edge + (1 << CENTRE_BITS - 1)) >> CENTRE_BITS >> where.drop
