"""The checksum of FITS: a 32-bit ones' complement sum, running or at once, and its ASCII form.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), appendix J.
"""

import numpy as np

ALL_ONES = 2**32 - 1
ZERO_CHECKSUM = "0" * 16
_PIECE = 2**22
_PUNCTUATION = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])


class RunningSum:
    """Ones' complement sum of bytes that come piece by piece, in 32-bit big-endian words.

    Parameters
    ----------
    start : int
        Sum of what came before, a multiple of four bytes.
    """

    def __init__(self, start: int = 0) -> None:
        self._sum = start
        self._left = b""

    def add(self, data: bytes | memoryview) -> None:
        """Take in the next bytes, any number of them."""
        if self._left:
            head = min(4 - len(self._left), len(data))
            self._left += bytes(data[:head])
            data = data[head:]
            if len(self._left) < 4:
                return
            self._sum = fold(self._sum + int.from_bytes(self._left, "big"))
            self._left = b""
        whole = len(data) // 4 * 4
        for start in range(0, whole, _PIECE):
            words = np.frombuffer(data[start : min(start + _PIECE, whole)], ">u4")
            self._sum = fold(self._sum + int(words.sum(dtype=np.uint64)))
        self._left = bytes(data[whole:])

    @property
    def value(self) -> int:
        """The sum; a last word that is not complete counts as if filled with zeros."""
        return fold(self._sum + int.from_bytes(self._left.ljust(4, b"\0"), "big"))


def fold(total: int) -> int:
    """Return a sum with its carries added back in, 32 bits."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def sum_bytes(data: bytes | memoryview, start: int = 0) -> int:
    """Return the sum of some bytes and of what came before them."""
    running = RunningSum(start)
    running.add(data)
    return running.value


def encode_checksum(total: int) -> str:
    """Return the 16 characters of CHECKSUM for an HDU whose sum, with zeros there, is `total`.

    Parameters
    ----------
    total : int
        Sum of the whole HDU with CHECKSUM set to sixteen zeros.
    """
    columns = []
    for shift in (24, 16, 8, 0):
        byte = ((ALL_ONES - total) >> shift) & 0xFF
        quotient, remainder = divmod(byte, 4)
        letters = [quotient + 0x30] * 4
        letters[0] += remainder
        while any(letter in _PUNCTUATION for letter in letters):
            for first in (0, 2):
                if letters[first] in _PUNCTUATION or letters[first + 1] in _PUNCTUATION:
                    letters[first] += 1
                    letters[first + 1] -= 1
        columns.append(letters)
    text = "".join(chr(columns[i % 4][i // 4]) for i in range(16))
    return text[-1] + text[:-1]
