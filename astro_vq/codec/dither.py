"""The dither of quantised floats: 10,000 random numbers, and where tiles are in them.

A compressed tile takes its numbers from a place that its number tells; where they end, they go on
from the place that the next tile would start at. All these runs one after the other are one long
sequence, in which the pixels of any tile lie side by side.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 10.2.1 and appendix I.
"""

import functools

import numpy as np
import numpy.typing as npt

COUNT = 10_000
_MULTIPLIER, _MODULUS = 16807, 2**31 - 1
_STARTS = 500  # tiles start at one of so many places

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@functools.cache
def random_numbers() -> Floats:
    """Return the numbers of the standard: float32 values from 0 to 1, as float64."""
    seed, out = 1, np.empty(COUNT, np.float32)
    for i in range(COUNT):
        seed = _MULTIPLIER * seed % _MODULUS
        out[i] = seed / _MODULUS
    return out.astype(np.float64)


@functools.cache
def _runs() -> tuple[Integers, Integers]:
    """Return where in the numbers each run starts, and how many numbers come before it."""
    starts = (random_numbers() * _STARTS).astype(np.int64)
    return starts, np.concatenate([[0], np.cumsum(COUNT - starts)])


def tile_starts(tiles: Integers, seed: int) -> Integers:
    """Return where in the long sequence tiles begin.

    Parameters
    ----------
    tiles : ndarray of int64
        Numbers of tiles, from 0.
    seed : int
        ZDITHER0, from 1.
    """
    return np.asarray(_runs()[1][(tiles + seed - 1) % COUNT])


def run_starts() -> Integers:
    """Return where in the random numbers each run starts; there are as many runs as numbers."""
    return _runs()[0]


def dither_at(place: int, count: int) -> Floats:
    """Return `count` numbers of the long sequence from a place on; it begins again at its end."""
    numbers = random_numbers()
    starts, before = _runs()
    place %= int(before[-1])
    pieces = []
    while count > 0:
        run = int(np.searchsorted(before, place, side="right")) - 1
        first = int(starts[run] + place - before[run])
        piece = numbers[first : first + count]
        pieces.append(piece)
        count -= piece.size
        place = int(before[run + 1]) % int(before[-1])
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([np.empty(0), *pieces])
