"""What a mapping from integers to stored values is told by, and its bytes.

The arithmetic of each kind is in a module of its family, see `astro_vq.codec.mappings`.
"""

import dataclasses
import struct

import numpy as np

from astro_vq.codec.brief import is_short, pack_step, read_step
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.grained import LARGEST_GRAIN, MOST_BITS
from astro_vq.codec.hidden_grid import HiddenGrid, read_grid
from astro_vq.codec.position_dither import LARGEST_SEED
from astro_vq.errors import FormatError

IDENTITY, STEP, SCALE, RATIO, ORDERED, SPLIT, PALETTE, LOOP, HIDDEN, PLACED = range(10)
FLOORED, COUNTED, DITHERED, GRAINED, SHORT_SCALE, SHORT_LOOP = range(10, 16)
OF_INTEGERS = (IDENTITY, STEP, COUNTED)
"""Mappings to stored integers; the others are to floats, `PALETTE` to either."""

IN_TWO_PARTS = (SPLIT, GRAINED)
"""Mappings of which a part is stored beside the indices."""

_ON_A_GRID = (HIDDEN, DITHERED)  # what indices mean depends on the place of the pixel
_MAY_BE_FLOORED = (SCALE, RATIO, LOOP, HIDDEN, SHORT_SCALE, SHORT_LOOP)
_PARTS = 32  # of a step, in which short forms have their offset
_LARGEST_LOOP = 255
_LARGEST_PLACE = 2**53
_INT64_MAX = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Mapping:
    """How an integer index becomes a stored value.

    Parameters
    ----------
    kind : int
        `IDENTITY` the integer itself; `STEP` integer times an integer step; `SCALE`
        ``index * step + offset`` in float64, rounded to the dtype; `RATIO`
        ``(index * stride) / step``; `ORDERED` bit patterns of floats in the order of
        their values; `SPLIT` the nearest multiple of `step`, with the place of the float
        among all that are nearest to it; `PALETTE` the rank in a table of values; `LOOP`
        ``index * step``, where coders may move indices by up to half of `stride` (odd);
        `HIDDEN` ``index * stride`` on the grid that the image was quantised on once, at `place`;
        `PLACED` stands in a stream for the mapping of the image, `HIDDEN` or `DITHERED`, at a
        place; `FLOORED` comes before another mapping of floats, whose values below 0 are 0;
        `COUNTED` the floor, or the middle of a cell of `step` integers above it; `DITHERED`
        ``(index + dither) * step``; `GRAINED` the number of a float among those that a grain
        leaves, without its lowest bits; `SHORT_SCALE` and `SHORT_LOOP` are shorter ways to
        write `SCALE` and `LOOP`.
    step : float
        See `kind`.
    offset : float
        See `kind`.
    stride : int
        Indices are multiplied by this first; for `LOOP` see `kind`.
    palette : bytes
        The table of values, see `astro_vq.codec.mappings.palette`, or the grid, see `HiddenGrid`.
    place : (int, int) or None
        Row and column where a tile begins on the grid; None for the image as a whole.
    floor : int or None
        No value is below, and only pixels that are at the floor decode to it; 0 for floats.
    seed : int
        Of the dither.
    grain, bits : int
        Exponent of the grain, and how many of the lowest bits are stored beside the index.
    """

    kind: int
    step: float = 1.0
    offset: float = 0.0
    stride: int = 1
    palette: bytes = b""
    place: tuple[int, int] | None = None
    floor: int | None = None
    seed: int = 0
    grain: int = 0
    bits: int = 0

    @classmethod
    def hidden(cls, grid: HiddenGrid, stride: int = 1) -> "Mapping":
        """Return the mapping to every index of a grid, or to each one in `stride` (odd)."""
        return cls(HIDDEN, stride=stride, palette=grid.to_bytes())

    def at(self, place: tuple[int, int] | None) -> "Mapping":
        """Return the mapping of a tile that begins at a place."""
        if self.kind not in _ON_A_GRID:
            return self
        return dataclasses.replace(self, place=place or (0, 0))

    def above(self, floor: int | None) -> "Mapping":
        """Return the mapping with values below a floor moved to it, where it may lead there."""
        if floor is None or self.kind not in _MAY_BE_FLOORED:
            return self
        return dataclasses.replace(self, floor=floor)

    def resolved(self, image: "Mapping | None") -> "Mapping":
        """Return the mapping of a tile, given that of its image.

        Raises
        ------
        FormatError
            It needs a grid that the image does not have.
        """
        if self.kind != PLACED:
            return self
        if image is None or image.kind not in _ON_A_GRID:
            raise FormatError("damaged pixel stream: the grid of its values is missing")
        return image.at(self.place)

    def in_stream(self, image: "Mapping | None") -> bytes:
        """Return the mapping of a tile as bytes, given that of its image."""
        if self == image:
            return b"\0"
        if image is not None and self == image.at(self.place):
            return b"\1" + self._place_alone()
        return b"\1" + self.to_bytes()

    def _place_alone(self) -> bytes:
        row, column = self.place or (0, 0)
        return bytes([PLACED]) + encode_varint(row) + encode_varint(column)

    def to_bytes(self) -> bytes:
        """Return the mapping as bytes; a grid at a place is taken to be that of the image."""
        if self.kind == HIDDEN and self.place is not None:
            return self._place_alone()
        floored = bytes([FLOORED]) if self.floor is not None and self.kind != COUNTED else b""
        short = self._short_form()
        if short:
            return floored + short
        out = floored + bytes([self.kind])
        if self.kind == COUNTED:
            return out + encode_varint(zigzag(self.floor or 0)) + encode_varint(int(self.step))
        if self.kind == GRAINED:
            return out + encode_varint(zigzag(self.grain)) + encode_varint(self.bits)
        if self.kind == DITHERED:
            numbers = (self.seed, *(self.place or (0, 0)))
            place = b"".join(encode_varint(number) for number in numbers)
            return out + struct.pack("<d", self.step) + place
        if self.kind == HIDDEN:
            return out + encode_varint(self.stride) + sized(self.palette)
        if self.kind == STEP:
            return out + encode_varint(int(self.step))
        if self.kind in (SCALE, RATIO, LOOP):
            return out + struct.pack("<dd", self.step, self.offset) + encode_varint(self.stride)
        if self.kind == SPLIT:
            return out + struct.pack("<d", self.step)
        if self.kind == PALETTE:
            return out + sized(self.palette)
        return out

    def _short_form(self) -> bytes:
        """Return the mapping in few bytes, b'' if it has no such form."""
        if self.kind not in (SCALE, LOOP) or not is_short(self.step):
            return b""
        parts = np.rint(self.offset / self.step * _PARTS)
        if self.kind == LOOP:
            head = bytes([SHORT_LOOP]) + pack_step(self.step) + encode_varint(self.stride)
            return head if self.offset == 0 else b""
        if self.stride != 1 or abs(parts) > 127 or parts * self.step / _PARTS != self.offset:
            return b""
        return bytes([SHORT_SCALE]) + pack_step(self.step) + struct.pack("<b", int(parts))

    @classmethod
    def read(cls, reader: ByteReader) -> "Mapping":
        """Read what `to_bytes` wrote.

        Raises
        ------
        FormatError
            If the bytes are damaged.
        """
        kind = reader.byte()
        if kind == FLOORED:
            kind = reader.byte()
            if kind not in _MAY_BE_FLOORED:
                raise FormatError(f"damaged pixel stream: mapping {kind} with a floor")
            return cls._read(kind, reader).above(0)
        return cls._read(kind, reader)

    @classmethod
    def _read(cls, kind: int, reader: ByteReader) -> "Mapping":
        if kind in (IDENTITY, ORDERED):
            return cls(kind)
        if kind == STEP:
            return cls(kind, max(1, reader.varint(_INT64_MAX)))
        if kind in (SCALE, RATIO, LOOP):
            step, offset = struct.unpack("<dd", reader.take(16))
            if not (np.isfinite(step) and step > 0 and np.isfinite(offset)):
                raise FormatError("damaged pixel stream: a step that is not positive")
            stride = max(1, reader.varint(_LARGEST_LOOP if kind == LOOP else 2**31))
            return cls(kind, step, offset, stride)
        if kind == SPLIT:
            (step,) = struct.unpack("<d", reader.take(8))
            if not (np.isfinite(step) and step > 0):
                raise FormatError("damaged pixel stream: a step that is not positive")
            return cls(kind, step)
        if kind == PALETTE:
            return cls(kind, palette=reader.sized())
        if kind == HIDDEN:
            stride = max(1, reader.varint(2**31))
            palette = reader.sized()
            read_grid(palette)
            return cls(kind, stride=stride, palette=palette)
        if kind == PLACED:
            return cls(kind, place=(reader.varint(_LARGEST_PLACE), reader.varint(_LARGEST_PLACE)))
        if kind == COUNTED:
            floor = unzigzag(reader.varint())
            step = reader.varint(_INT64_MAX)
            if step < 3 or step % 2 == 0:
                raise FormatError("damaged pixel stream: cells of an impossible width")
            return cls(kind, step, floor=floor)
        if kind == SHORT_SCALE:
            step = read_step(reader)
            (parts,) = struct.unpack("<b", reader.take(1))
            return cls(SCALE, step, parts * step / _PARTS)
        if kind == SHORT_LOOP:
            step = read_step(reader)
            return cls(LOOP, step, stride=max(1, reader.varint(_LARGEST_LOOP)))
        if kind == GRAINED:
            grain = unzigzag(reader.varint(2 * LARGEST_GRAIN))
            return cls(kind, grain=grain, bits=reader.varint(MOST_BITS))
        if kind == DITHERED:
            (step,) = struct.unpack("<d", reader.take(8))
            if not (np.isfinite(step) and step > 0):
                raise FormatError("damaged pixel stream: a step that is not positive")
            seed = reader.varint(LARGEST_SEED)
            place = reader.varint(_LARGEST_PLACE), reader.varint(_LARGEST_PLACE)
            return cls(kind, step, seed=seed, place=place if any(place) else None)
        raise FormatError(f"damaged pixel stream: unknown mapping {kind}")
