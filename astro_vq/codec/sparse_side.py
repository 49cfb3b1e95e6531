"""What a file holds about sparse tokens beside their streams: the records SPRS and DETL.

It is: four varints (levels, learnt codes, codes of stars, and the number of stacks), then for each
stack the shape of its stars: width (unsigned byte), two ellipticities (signed bytes), and the place
of the exponent (unsigned byte); see `astro_vq.models.sparse_atoms.StarShape`. DETL is the step of
the detail of each stack, in sigma, as big-endian float32; it is absent where there is no detail.
"""

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from astro_vq.codec.bytestream import ByteReader, encode_varint
from astro_vq.entropy.map_shape import MapShape
from astro_vq.errors import FormatError

STAR_BYTES = 4
_MOST_STACKS = 2**31


class SparseSide(NamedTuple):
    """Record SPRS.

    Attributes
    ----------
    shape : MapShape
        What the maps hold.
    stars : tuple of bytes
        Four bytes for each stack.
    """

    shape: MapShape
    stars: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Return the record."""
        numbers = (self.shape.levels, self.shape.learnt, self.shape.stars, len(self.stars))
        return b"".join(map(encode_varint, numbers)) + b"".join(self.stars)

    @classmethod
    def from_bytes(cls, data: bytes, depth: int, stacks: int) -> "SparseSide":
        """Read a record.

        Raises
        ------
        FormatError
            It is damaged.
        """
        reader = ByteReader(data)
        levels, learnt = reader.varint(16), reader.varint(1 << 16)
        stars, count = reader.varint(1 << 8), reader.varint(_MOST_STACKS)
        if count != stacks or depth % 2 or not levels or not learnt:
            raise FormatError(f"damaged record SPRS: {count} stacks where {stacks} are")
        shapes = tuple(reader.take(STAR_BYTES) for _ in range(count))
        reader.finish()
        return cls(MapShape(levels, learnt, stars, depth // 2), shapes)


def pack_star(values: tuple[int, int, int, int]) -> bytes:
    """Return width, two ellipticities and place of the exponent as four bytes."""
    return struct.pack(">BbbB", *values)


def unpack_star(data: bytes) -> tuple[int, int, int, int]:
    """Return what `pack_star` packed."""
    width, e1, e2, beta = struct.unpack(">BbbB", data)
    return width, e1, e2, beta


def pack_steps(steps: Sequence[float]) -> bytes:
    """Return the record DETL."""
    return struct.pack(f">{len(steps)}f", *steps)


def unpack_steps(data: bytes, stacks: int) -> tuple[float, ...]:
    """Return the step of each stack, 0 for no detail.

    Raises
    ------
    FormatError
        The record is damaged.
    """
    if len(data) != 4 * stacks:
        raise FormatError(f"damaged record DETL: {len(data)} bytes for {stacks} stacks")
    steps = struct.unpack(f">{stacks}f", data)
    if not all(0 <= step < math.inf for step in steps):
        raise FormatError(f"damaged record DETL: steps {steps}")
    return steps
