"""A range coder whose lanes step together: every symbol with its own distribution, in numpy.

Each stream is an asymmetric numeral system [1]_ in several interleaved lanes [2]_. Lanes of many
streams step at once, so that a step is a few array operations whatever the number of tiles.
Lane states are 64-bit in ``[2**32, 2**64)`` and exchange 32-bit words with the stream;
frequencies add up to ``2**24``. All arithmetic is on unsigned integers and cannot round.

Symbols come in *rounds*: arrays of shape (B, n), n symbols for each of B streams. Symbol j goes
to lane ``j % lanes`` in step ``j // lanes``. A frequency of 0 means "no symbol here".

References
----------
.. [1] Duda 2013, arXiv:1311.2540.
.. [2] Giesen 2014, arXiv:1402.3392.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.errors import FormatError

PRECISION = 24
TOTAL = 1 << PRECISION
_WORD = np.uint64(32)
_LOWEST = np.uint64(1 << 32)
_SPARE = np.uint64(64 - PRECISION)
_LOW_BITS = np.uint64(TOTAL - 1)
_STATE_BYTES = 8

Unsigned = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]


class Interval(NamedTuple):
    """Where symbols lie among ``2**24`` counts: first count and number of counts, (B, n) each."""

    start: Integers
    frequency: Integers


def encode_rounds(rounds: Sequence[Interval], streams: int, lanes: int) -> list[bytes]:
    """Return a stream of bytes for each of `streams` rows of the rounds.

    Parameters
    ----------
    rounds : sequence of Interval, shape (B, n) each
        In the order in which the decoder will ask for them; n may differ from round to round.
        Frequencies lie in ``[0, 2**24)``; 0 marks places without a symbol.
    streams : int
        B.
    lanes : int
        Lanes per stream; each costs eight bytes.

    Returns
    -------
    list of bytes
        Lane states, then 32-bit words in the order of decoding; little-endian.
    """
    width = streams * lanes
    none = np.zeros((0, width), np.int64)
    starts, counts = (
        np.concatenate([none, *(_steps(r[k], streams, lanes) for r in rounds)]).astype(np.uint64)
        for k in (0, 1)
    )
    state = np.full(width, _LOWEST, np.uint64)
    words = np.empty(counts.shape, np.uint32)
    flags = np.empty(counts.shape, bool)
    limits = counts << _SPARE
    used = counts > 0
    divisors = np.where(used, counts, np.uint64(1))
    for t in range(len(counts) - 1, -1, -1):
        flag = used[t] & (state >= limits[t])
        words[t] = state.astype(np.uint32)
        flags[t] = flag
        state = np.where(flag, state >> _WORD, state)
        quotient = state // divisors[t]
        grown = (quotient << np.uint64(PRECISION)) + starts[t] + (state - quotient * divisors[t])
        state = np.where(used[t], grown, state)
    out = []
    for b in range(streams):
        mine = slice(b * lanes, (b + 1) * lanes)
        tail = words[:, mine][flags[:, mine]]
        out.append(state[mine].astype("<u8").tobytes() + tail.astype("<u4").tobytes())
    return out


class LaneDecoder:
    """Takes symbols out of the streams of `encode_rounds`, round by round.

    Parameters
    ----------
    streams : sequence of bytes
        One per row.
    lanes : int
        As when encoding.

    Raises
    ------
    FormatError
        If a stream is too short or its length impossible.
    """

    def __init__(self, streams: Sequence[bytes], lanes: int) -> None:
        self._lanes = lanes
        head = lanes * _STATE_BYTES
        for stream in streams:
            if len(stream) < head or (len(stream) - head) % 4:
                raise FormatError("damaged pixel stream: its length does not fit its lanes")
        states = [np.frombuffer(s[:head], "<u8") for s in streams]
        self._state = np.array(states, np.uint64).reshape(len(streams), lanes)
        sizes = [(len(s) - head) // 4 for s in streams]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._at = self._ends - np.array(sizes, np.int64)
        joined = b"".join(s[head:] for s in streams)
        self._words = np.append(np.frombuffer(joined, "<u4"), np.uint32(0)).astype(np.uint64)

    def take(
        self,
        places: npt.NDArray[np.bool_],
        find: Callable[[Integers, tuple[Integers, Integers]], tuple[Integers, Integers, Integers]],
    ) -> Integers:
        """Return the symbols of a round.

        Parameters
        ----------
        places : ndarray of bool, shape (B, n)
            Where there is a symbol.
        find : callable
            From counts (k,) below ``2**24`` and the rows and columns of their places to symbols,
            starts and frequencies (k,) each.

        Returns
        -------
        ndarray of int64, shape (B, n)
            0 where there is no symbol.

        Raises
        ------
        FormatError
            If a stream ends too early.
        """
        rows, n = places.shape
        out = np.zeros((rows, n), np.int64)
        for first in range(0, n, self._lanes):
            block = places[:, first : first + self._lanes]
            row, lane = np.nonzero(block)
            if not row.size:
                continue
            state = self._state[row, lane]
            slot = state & _LOW_BITS
            column = lane + first
            symbol, start, frequency = find(slot.astype(np.int64), (row, column))
            out[row, column] = symbol
            offset = slot - start.astype(np.uint64)
            state = frequency.astype(np.uint64) * (state >> np.uint64(PRECISION)) + offset
            self._state[row, lane] = self._refill(state, row)
        return out

    def finish(self) -> None:
        """Check that every stream was read to its end and is whole.

        Raises
        ------
        FormatError
            If it was not: the stream is damaged.
        """
        if (self._at != self._ends).any() or (self._state != _LOWEST).any():
            raise FormatError("damaged pixel stream: its end does not fit")

    def _refill(self, state: Unsigned, row: npt.NDArray[np.intp]) -> Unsigned:
        """Let lanes that ran low take a word each from the stream of their row."""
        low = np.flatnonzero(state < _LOWEST)
        if not low.size:
            return state
        needy = row[low]
        taken = np.bincount(needy, minlength=len(self._at))
        if (self._at + taken > self._ends).any():
            raise FormatError("damaged pixel stream: it ends too early")
        before = np.cumsum(taken) - taken
        place = self._at[needy] + np.arange(low.size) - before[needy]
        state[low] = state[low] << _WORD | self._words[place]
        self._at += taken
        return state


def _steps(values: Integers, streams: int, lanes: int) -> Integers:
    """Deal (B, n) symbols to lanes: (steps, B * lanes), filled up with 0."""
    n = values.shape[1]
    steps = -(-n // lanes)
    padded = np.zeros((streams, steps * lanes), np.int64)
    padded[:, :n] = values
    return padded.reshape(streams, steps, lanes).transpose(1, 0, 2).reshape(steps, -1)
