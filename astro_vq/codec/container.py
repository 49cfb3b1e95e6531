"""The layout of an `.avq` file: which HDU means what, the table of tiles, side information.

An `.avq` file is a FITS file. Its primary HDU holds no data and names format, fidelity and model;
then comes one HDU for each HDU of the original, in order (`HDUKind`), then what else is needed
(trailing bytes of the original, the model). ``docs/format.rst`` describes every byte.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.errors import FormatError
from astro_vq.types import TileGeometry

FORMAT_VERSION = 1
"""Version of the layout; a number never changes its meaning."""

SUFFIX = ".avq"

IMAGE, PLAIN, SUMMED, WRAPPED, TAIL, MODEL = "I", "P", "S", "W", "T", "M"
"""Kinds of HDUs, the letters of keyword AVQHDUS: an image (or header alone) as a table of tiles;
an HDU as it was; the same with checksum cards added; bytes of an HDU that cannot stand in the
middle of a FITS file; bytes after the last HDU; the model."""

ORIGINAL_KINDS = IMAGE + PLAIN + SUMMED + WRAPPED
"""Kinds that stand for an HDU of the original."""

SIDE_PLANE = -1
"""Number of plane that marks the row of side information."""

LARGEST_TILE = 2**24
"""Pixels of the largest tile that a reader takes."""

CHUNK_BYTES = 2**20
"""Bytes of a chunk of wrapped HDUs, trailing bytes and the model."""

MAX_PIXELS = 2**34
"""Pixels that all images of a file may have together, unless a reader is told otherwise."""

LARGEST_SIDE = 2**27
"""Bytes of the longest side information that a reader takes."""

_GEOMETRY = struct.Struct(">5i")
_RECORD = struct.Struct(">4sI")
_RAW, _DEFLATED = 0, 1


@dataclass(frozen=True)
class TileGrid:
    """How the planes of an image are cut into tiles, plane by plane, row by row.

    Attributes
    ----------
    planes, height, width : int
        Planes (all leading axes together) and the size of each; one-dimensional images are one
        row.
    tile_height, tile_width : int
        Size of all tiles but those at the ends.
    """

    planes: int
    height: int
    width: int
    tile_height: int
    tile_width: int

    @classmethod
    def for_shape(cls, shape: Sequence[int], tile_size: int) -> "TileGrid":
        """Return the grid of an image: tiles of about ``tile_size**2`` pixels.

        Tiles are square unless the image is narrower than they are; then they get longer. Where
        the last row or column of tiles would be less than half a tile, the others share it.

        Parameters
        ----------
        shape : sequence of int
            Axes of the image, slowest first.
        tile_size : int
            Side of a square tile.
        """
        planes, height, width = plane_axes(shape)
        if height < tile_size:
            tall, wide = height, _longer(tile_size, height)
        elif width < tile_size:
            tall, wide = _longer(tile_size, width), width
        else:
            tall, wide = _without_sliver(tile_size, height), _without_sliver(tile_size, width)
        return cls(planes, height, width, max(min(tall, height), 1), max(min(wide, width), 1))

    @property
    def rows(self) -> int:
        """Rows of tiles in a plane."""
        return -(-self.height // self.tile_height)

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def per_plane(self) -> int:
        """Tiles in a plane."""
        return self.rows * self.columns

    @property
    def count(self) -> int:
        """Tiles of all planes."""
        return self.planes * self.per_plane

    @property
    def pixels(self) -> int:
        """Pixels of all planes."""
        return self.planes * self.height * self.width

    def tile(self, index: int) -> TileGeometry:
        """Return where a tile lies."""
        plane, rest = divmod(index, self.per_plane)
        row, column = divmod(rest, self.columns)
        y0, x0 = row * self.tile_height, column * self.tile_width
        ny, nx = min(self.tile_height, self.height - y0), min(self.tile_width, self.width - x0)
        return TileGeometry(plane, y0, x0, ny, nx)

    def strips(self) -> Iterator[range]:
        """Yield the numbers of the tiles of each row of tiles, plane after plane."""
        for first in range(0, self.count, max(self.columns, 1)):
            yield range(first, first + self.columns)

    def overlapping(self, plane: int, ys: slice, xs: slice) -> Iterator[range]:
        """Yield, row by row, the numbers of tiles that touch a rectangle ``[start, stop)``."""
        if ys.stop <= ys.start or xs.stop <= xs.start:
            return
        left, right = xs.start // self.tile_width, -(-xs.stop // self.tile_width)
        for row in range(ys.start // self.tile_height, -(-ys.stop // self.tile_height)):
            first = plane * self.per_plane + row * self.columns
            yield range(first + left, first + right)


def plane_axes(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the number of planes, height and width of an image of any number of axes."""
    if not shape:
        return 0, 0, 0
    height = shape[-2] if len(shape) > 1 else 1
    return math.prod(shape[:-2]), height, shape[-1]


def _without_sliver(tile_size: int, side: int) -> int:
    """Return the length of tiles along a side: a multiple of eight where there are several."""
    whole, rest = divmod(side, tile_size)
    if not 0 < 2 * rest < tile_size:
        return tile_size
    return side if whole == 1 else -(-side // (8 * whole)) * 8


def _longer(tile_size: int, side: int) -> int:
    return max(tile_size * tile_size // max(side, 1) // tile_size, 1) * tile_size


class Layout(NamedTuple):
    """Columns of a table of tiles."""

    tokens: bool
    wide: bool

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and TFORM of the columns, in order."""
        array = "1QB" if self.wide else "1PB"
        streams = tuple((name, array) for name in self.streams)
        return (("TILE", "5J"), *streams, ("CRC", f"{len(streams)}J"))

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the columns of streams; CRC has a number for each, in the same order."""
        return ("TOKENS", "PIXELS") if self.tokens else ("PIXELS",)

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Big-endian record of a row; arrays are (length, offset) pairs."""
        place = ">i8" if self.wide else ">i4"
        streams = [(name, place, (2,)) for name in self.streams]
        return np.dtype([("TILE", ">i4", (5,)), *streams, ("CRC", ">i4", (len(streams),))])


CHUNK_COLUMNS = (("BYTES", "1QB"), ("CRC", "1J"))
"""Columns of a table of chunks."""

CHUNK_DTYPE = np.dtype([("BYTES", ">i8", (2,)), ("CRC", ">i4")])


def tile_crc(tile: TileGeometry, stream: bytes) -> int:
    """Return the CRC-32 of a tile's place and stream as a signed integer, as a column holds it.

    The place is five big-endian 32-bit integers: plane, y0, x0, ny, nx.
    """
    return signed(zlib.crc32(stream, zlib.crc32(_GEOMETRY.pack(*tile))))


def chunk_crc(number: int, chunk: bytes) -> int:
    """Return the CRC-32 of a chunk's number (32 bits, big-endian) and bytes, signed."""
    return signed(zlib.crc32(chunk, zlib.crc32(number.to_bytes(4, "big"))))


def signed(value: int) -> int:
    """Return a 32-bit number as two's complement."""
    return value - 2**32 if value >= 2**31 else value


SIDE_TILE = TileGeometry(SIDE_PLANE, 0, 0, 0, 0)
"""Place of the row of side information."""


def pack_bytes(data: bytes) -> bytes:
    """Return bytes deflated when that is shorter; the first byte says which."""
    small = zlib.compress(data, 9)
    return bytes([_DEFLATED]) + small if len(small) < len(data) else bytes([_RAW]) + data


def unpack_bytes(data: bytes, limit: int) -> bytes:
    """Undo `pack_bytes`, giving at most `limit` bytes.

    Raises
    ------
    FormatError
        The bytes are damaged, or more come out than allowed.
    """
    if data[:1] == bytes([_RAW]) and len(data) <= limit + 1:
        return data[1:]
    if data[:1] != bytes([_DEFLATED]):
        raise FormatError("damaged bytes: unknown packing")
    unpacker = zlib.decompressobj()
    try:
        out = unpacker.decompress(data[1:], limit + 1)
    except zlib.error as err:
        raise FormatError(f"damaged bytes: {err}") from err
    if len(out) > limit or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"damaged bytes: cut off, or more than {limit} after unpacking")
    return out


def pack_side(records: Mapping[str, bytes]) -> bytes:
    """Return side information: named records, one after the other, then deflated.

    Parameters
    ----------
    records : mapping of str to bytes
        Names of four letters; empty records are left out.

    Returns
    -------
    bytes
        Empty when all records are.
    """
    parts = [
        _RECORD.pack(name.encode("ascii"), len(record)) + record
        for name, record in records.items()
        if record
    ]
    return pack_bytes(b"".join(parts)) if parts else b""


def unpack_side(data: bytes) -> dict[str, bytes]:
    """Return the records of `pack_side`.

    Raises
    ------
    FormatError
        The bytes are damaged.
    """
    if not data:
        return {}
    body = unpack_bytes(data, LARGEST_SIDE)
    records: dict[str, bytes] = {}
    position = 0
    while position < len(body):
        if position + _RECORD.size > len(body):
            raise FormatError("damaged side information: it is cut off")
        name, length = _RECORD.unpack_from(body, position)
        position += _RECORD.size
        if position + length > len(body):
            raise FormatError("damaged side information: it is cut off")
        records[name.decode("latin-1")] = body[position : position + length]
        position += length
    return records


def pack_scalings(values: NDArray[np.float64]) -> bytes:
    """Return sky and sigma of each token map (N, 2) as big-endian float64."""
    return values.astype(">f8").tobytes()


def unpack_scalings(data: bytes) -> NDArray[np.float64]:
    """Return what `pack_scalings` packed, (N, 2) float64.

    Raises
    ------
    FormatError
        The length is wrong, or a value impossible.
    """
    if len(data) % 16:
        raise FormatError("damaged side information: scalings are cut off")
    values = np.frombuffer(data, ">f8").astype(np.float64).reshape(-1, 2)
    if not (np.isfinite(values).all() and (values[:, 1] > 0).all()):
        raise FormatError("damaged side information: impossible scaling")
    return values
