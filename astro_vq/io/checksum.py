"""The checksum of FITS: a 32-bit ones' complement sum over bytes that come in pieces.

DATASUM holds the sum of the data unit as a decimal number; CHECKSUM holds sixteen letters that
make the sum of the whole HDU all ones.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 4.4.2.7 and appendix J.
"""

import numpy as np

ALL_ONES = 2**32 - 1
"""Sum of an HDU whose CHECKSUM is right."""

ZERO_CHECKSUM = "0" * 16
"""Value of CHECKSUM while the sum is taken."""

_PIECE = 2**22
_LETTERS = 16
_PUNCTUATION = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])


class RunningSum:
    """Ones' complement sum, in big-endian words of 32 bits, of bytes that come piece by piece.

    Parameters
    ----------
    start : int
        Sum of what came before, a whole number of words.

    Examples
    --------
    >>> running = RunningSum()
    >>> running.add(bytes([0, 0, 1]))
    >>> running.add(bytes([0, 0, 0, 0, 5]))
    >>> running.value
    261
    """

    def __init__(self, start: int = 0) -> None:
        self._sum = start
        self._left = b""

    def add(self, data: bytes | memoryview) -> None:
        """Take in the next bytes, any number of them."""
        view = memoryview(data).cast("B")
        if self._left:
            head = min(4 - len(self._left), len(view))
            self._left += bytes(view[:head])
            view = view[head:]
            if len(self._left) < 4:
                return
            self._sum = fold(self._sum + int.from_bytes(self._left, "big"))
            self._left = b""
        whole = len(view) // 4 * 4
        for start in range(0, whole, _PIECE):
            words = np.frombuffer(view[start : min(start + _PIECE, whole)], ">u4")
            self._sum = fold(self._sum + int(words.sum(dtype=np.uint64)))
        self._left = bytes(view[whole:])

    @property
    def value(self) -> int:
        """The sum so far; a word that is not complete counts as if filled with zeros."""
        return fold(self._sum + int.from_bytes(self._left.ljust(4, b"\0"), "big"))


def fold(total: int) -> int:
    """Return a sum of not negative words with its carries added back in: 32 bits."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def sum_bytes(data: bytes | memoryview, start: int = 0) -> int:
    """Return the sum of some bytes and of what came before them."""
    running = RunningSum(start)
    running.add(data)
    return running.value


def encode_checksum(total: int) -> str:
    """Return the CHECKSUM of an HDU: letters and digits only.

    Parameters
    ----------
    total : int
        Sum of the whole HDU while its CHECKSUM is `ZERO_CHECKSUM`.
    """
    columns = []
    for shift in (24, 16, 8, 0):
        quotient, remainder = divmod(((ALL_ONES - total) >> shift) & 0xFF, 4)
        letters = [quotient + ord("0")] * 4
        letters[0] += remainder
        while not _PUNCTUATION.isdisjoint(letters):
            for first in (0, 2):  # pairs, so that their sum stays
                if not _PUNCTUATION.isdisjoint(letters[first : first + 2]):
                    letters[first] += 1
                    letters[first + 1] -= 1
        columns.append(letters)
    text = "".join(chr(columns[i % 4][i // 4]) for i in range(_LETTERS))
    return text[-1] + text[:-1]


def decode_checksum(text: str) -> int:
    """Return the sum that a CHECKSUM stands for: the inverse of `encode_checksum`.

    Zero comes back as all ones, which is the same number in ones' complement.

    Raises
    ------
    ValueError
        It is not sixteen ASCII characters from ``0`` on.
    """
    if len(text) != _LETTERS or not text.isascii() or min(text) < "0":
        raise ValueError(f"CHECKSUM must be {_LETTERS} letters or digits, got {text!r}")
    letters = bytes(ord(letter) - ord("0") for letter in text[1:] + text[0])
    return ALL_ONES - sum_bytes(letters)
