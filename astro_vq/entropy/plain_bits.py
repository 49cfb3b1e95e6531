"""Bits that no model can shorten, packed densely: fields of any width in one string of bits."""

import numpy as np
import numpy.typing as npt

from astro_vq.errors import FormatError

Integers = npt.NDArray[np.int64]


def pack_fields(values: Integers, widths: Integers) -> bytes:
    """Return the lowest `widths` bits of each value, least significant first, in bytes."""
    total = int(widths.sum())
    if not total:
        return b""
    owner = np.repeat(np.arange(widths.size), widths)
    place = np.arange(total) - np.repeat(np.cumsum(widths) - widths, widths)
    return np.packbits((values[owner] >> place & 1).astype(np.uint8)).tobytes()


class FieldReader:
    """Reads fields that `pack_fields` wrote, some at a time.

    Parameters
    ----------
    data : bytes
        The string of bits.
    """

    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8)).astype(np.int64)
        self._at = 0

    def read(self, widths: Integers) -> Integers:
        """Return the next fields.

        Raises
        ------
        FormatError
            If fewer bits are left.
        """
        total = int(widths.sum())
        if total > self._bits.size - self._at:
            raise FormatError("damaged pixel stream: plain bits are cut off")
        out = np.zeros(widths.size, np.int64)
        if total:
            bits = self._bits[self._at : self._at + total]
            self._at += total
            starts = np.cumsum(widths) - widths
            place = np.arange(total) - np.repeat(starts, widths)
            some = widths > 0
            out[some] = np.add.reduceat(bits << place, starts[some])
        return out
