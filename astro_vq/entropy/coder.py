"""Range coding with static integer tables: the only place that imports `constriction`.

Frequencies are integers that add up to a power of two, so that encoder and decoder have the same
model on every machine: nothing about it is rounded.

References
----------
Bamler 2022, arXiv:2201.01741 (constriction).
"""

import constriction
import numpy as np
import numpy.typing as npt

from astro_vq.errors import FormatError

PRECISION = 24
"""Bits of the frequencies inside `constriction`: it works with cumulative counts of 24 bits."""

Integers = npt.NDArray[np.integer]


def quantize_counts(counts: npt.ArrayLike, bits: int = 16) -> npt.NDArray[np.int64]:
    """Return integer frequencies in proportion to counts, exactly the same on every machine.

    Parameters
    ----------
    counts : array_like of int, shape (S,)
        How often each symbol occurs; not negative.
    bits : int
        The frequencies add up to ``2**bits``.

    Returns
    -------
    ndarray of int64, shape (S,)
        At least 1 for every symbol that occurs, 0 for the others; all 0 when none occurs.

    Raises
    ------
    ValueError
        More symbols occur than ``2**bits``, or a count is negative.
    """
    table = np.asarray(counts, dtype=np.int64)
    used = np.flatnonzero(table)
    if table.ndim != 1 or (used.size and table.min() < 0):
        raise ValueError("counts must be a one-dimensional array of integers that are not negative")
    if used.size > 1 << bits:
        raise ValueError(f"{used.size} symbols do not fit into {bits} bits")
    frequencies = np.zeros_like(table)
    if not used.size:
        return frequencies
    free = (1 << bits) - used.size
    total = int(table.sum())
    shares = [int(count) * free for count in table[used]]
    frequencies[used] = [1 + share // total for share in shares]
    rest = (1 << bits) - int(frequencies.sum())
    remainders = np.array([share % total for share in shares])
    largest = np.argsort(-remainders, kind="stable")[:rest]
    frequencies[used[largest]] += 1
    return frequencies


def encode_static(symbols: npt.ArrayLike, frequencies: npt.ArrayLike) -> bytes:
    """Return symbols coded with one static table.

    Parameters
    ----------
    symbols : array_like of int
        Each in ``[0, S)`` and with a frequency above 0; any shape, taken in C order.
    frequencies : array_like of int, shape (S,)
        Not negative; they add up to a power of two of at most ``2**24``.

    Returns
    -------
    bytes
        Empty when the table has one symbol only; else 32-bit words, little-endian.

    Raises
    ------
    ValueError
        The table is impossible, or a symbol is not in it.
    """
    used, model = _model(frequencies)
    flat = np.asarray(symbols).ravel().astype(np.int64)
    positions = np.searchsorted(used, flat)
    if flat.size and (positions.max() >= used.size or np.any(used[positions] != flat)):
        raise ValueError("a symbol has no frequency in the table")
    if model is None or flat.size == 0:
        return b""
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(positions.astype(np.int32), model)
    return bytes(encoder.get_compressed().astype("<u4").tobytes())


def decode_static(data: bytes, frequencies: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Return the symbols that `encode_static` coded.

    Parameters
    ----------
    data : bytes
        The code.
    frequencies : array_like of int, shape (S,)
        The table that they were coded with.
    count : int
        Number of symbols.

    Returns
    -------
    ndarray of int64, shape (count,)

    Raises
    ------
    FormatError
        The code is damaged (not every damage shows; keep a checksum beside it).
    ValueError
        The table is impossible.
    """
    used, model = _model(frequencies)
    if count and not used.size:
        raise FormatError("damaged token stream: its table is empty")
    if model is None or count == 0:
        if data:
            raise FormatError(f"damaged token stream: {len(data)} bytes where none are needed")
        return np.repeat(used[:1], count)
    if len(data) % 4:
        raise FormatError("damaged token stream: its length is no multiple of 4")
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    try:
        positions = decoder.decode(model, count)
        complete = decoder.maybe_exhausted()
    except (AssertionError, ValueError) as err:
        raise FormatError(f"damaged token stream: {err}") from err
    if not complete:
        raise FormatError("damaged token stream: something is left over")
    return np.asarray(used[positions], dtype=np.int64)


def _model(frequencies: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], object | None]:
    """Return the symbols that occur and the model over their positions; None for one symbol.

    With `perfect=False` constriction gives symbol i the cumulative count
    ``i + floor(free * cumulative / total)``, where ``free`` is 2**24 less the number of symbols.
    Probabilities of ``frequency - 1`` (of 2**24) add up to ``free``, so nothing is rounded.
    """
    table = np.asarray(frequencies, dtype=np.int64)
    total = int(table.sum())
    if table.ndim != 1 or (table.size and table.min() < 0):
        raise ValueError("frequencies must be a one-dimensional array, none negative")
    if total and (total & (total - 1) or total > 1 << PRECISION):
        raise ValueError(f"frequencies must add up to a power of two up to 2**24, got {total}")
    used = np.flatnonzero(table).astype(np.int64)
    if used.size < 2:
        return used, None
    scaled = table[used] * ((1 << PRECISION) // total)
    return used, constriction.stream.model.Categorical(
        (scaled - 1).astype(np.float64), perfect=False
    )


class StaticModel:
    """A static table ready for `SymbolEncoder` and `SymbolDecoder`.

    Parameters
    ----------
    frequencies : array_like of int, shape (S,)
        All above 0; they add up to a power of two of at most ``2**24``; S is at least 2.
    """

    def __init__(self, frequencies: npt.ArrayLike) -> None:
        used, model = _model(frequencies)
        if model is None or used.size != np.asarray(frequencies).size:
            raise ValueError("a static model needs two symbols or more, none of frequency 0")
        self.model = model


class SymbolEncoder:
    """One range-coded stream that takes groups of symbols, a static table for each group."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: npt.NDArray[np.int32], model: StaticModel) -> None:
        """Append a group of symbols."""
        self._encoder.encode(symbols, model.model)

    def to_bytes(self) -> bytes:
        """Return the stream so far."""
        return bytes(self._encoder.get_compressed().astype("<u4").tobytes())


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote, group by group in the same order.

    Raises
    ------
    FormatError
        If the stream is damaged (not every damage shows).
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise FormatError("damaged pixel stream: its length is no multiple of 4")
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, count: int, model: StaticModel) -> npt.NDArray[np.int32]:
        """Return the next group of `count` symbols."""
        try:
            return np.asarray(self._decoder.decode(model.model, count), np.int32)
        except (AssertionError, ValueError) as err:
            raise FormatError(f"damaged pixel stream: {err}") from err

    def finish(self) -> None:
        """Check that the stream may end here."""
        if not self._decoder.maybe_exhausted():
            raise FormatError("damaged pixel stream: something is left over")
