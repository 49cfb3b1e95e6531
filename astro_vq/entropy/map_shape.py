"""What sparse token maps hold."""

from typing import NamedTuple


class MapShape(NamedTuple):
    """What sparse maps hold.

    Attributes
    ----------
    levels : int
        Scales; tokens of level l stand at multiples of 2**l.
    learnt, stars : int
        Codes of each kind; at most 2**16 and 256.
    tokens : int
        Most tokens of a position.
    """

    levels: int
    learnt: int
    stars: int
    tokens: int

    @property
    def code_bits(self) -> int:
        """Bits of a learnt code at fixed width."""
        return max((self.learnt - 1).bit_length(), 1)
