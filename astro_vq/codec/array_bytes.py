"""One array as bytes without any file around it: what a chunk of a Zarr array is.

The pixel layer alone, in tiles, behind a head that says shape, type and bound; a CRC at the end.
``docs/format.rst`` describes every byte.
"""

import math
import re
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.bytestream import ByteReader, encode_varint, sized
from astro_vq.codec.container import LARGEST_TILE, TileGrid, plane_axes
from astro_vq.codec.pixels import DTYPES, PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.errors import FormatError
from astro_vq.types import TileGeometry

MAGIC = b"AVQA"
_VERSION = 1
_FORTRAN = 1
_LARGEST_NDIM = 32
_LARGEST_AXIS = 2**40
_LARGEST_ARRAY = 2**31  # pixels that are taken
_SAMPLE_PIXELS = 2**20
_BOUND = struct.Struct(">d")
_CRC = struct.Struct(">I")
_DTYPE = re.compile(rb"[<>|=][iuf][1248]")


def encode_array(
    array: NDArray[Any], *, max_error: float = 0.0, effort: int = 5, tile_size: int = 256
) -> bytes:
    """Return an array as bytes.

    NaN (with payload) and infinities come back exactly in place at any bound.

    Parameters
    ----------
    array : ndarray
        Integers of 8 to 64 bits, float32 or float64, of either byte order; leading axes are planes.
    max_error : float
        Largest ``abs(decoded - original)`` of a finite pixel; 0 is lossless, bit by bit.
    effort : int
        1 (fast) to 9 (small).
    tile_size : int
        Side of a tile in pixels: a multiple of 8.

    Raises
    ------
    TypeError
        The array is of another type.
    ValueError
        An option is impossible.

    Examples
    --------
    >>> image = np.arange(12, dtype="int16").reshape(3, 4)
    >>> bool((decode_array(encode_array(image)) == image).all())
    True
    """
    check_dtype(array.dtype)
    check_options(max_error, effort, tile_size)
    spec = PixelSpec(dtype=array.dtype.newbyteorder("=").name, bound=float(max_error))
    fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    native = (array.T if fortran else array).astype(spec.dtype, order="C", copy=False)
    grid = TileGrid.for_shape(_shape(native.shape), tile_size)
    planes = native.reshape(grid.planes, grid.height, grid.width)
    tiles = [_cut(planes, grid.tile(number)) for number in range(grid.count)]
    shared = fit_shared(_sample(tiles), spec, effort=effort) if native.size else b""
    streams = encode_tiles(tiles, spec, shared=shared, effort=effort) if native.size else []
    text = array.dtype.str.encode("ascii")
    head = [MAGIC, bytes([_VERSION, fortran * _FORTRAN]), sized(text), _BOUND.pack(spec.bound)]
    axes = [native.ndim, *native.shape, grid.tile_height, grid.tile_width]
    body = b"".join([*head, *map(encode_varint, axes), sized(shared), *map(sized, streams)])
    return body + _CRC.pack(zlib.crc32(body))


def decode_array(
    data: bytes, *, expected: tuple[tuple[int, ...], Any] | None = None
) -> NDArray[Any]:
    """Return the array that `encode_array` encoded, in the byte order and layout that it had.

    Parameters
    ----------
    data : bytes
        What `encode_array` returned.
    expected : (tuple of int, dtype), optional
        Shape and type that it should have, checked before anything is decoded.

    Raises
    ------
    FormatError
        The bytes are damaged, of a newer version, or not those of such an array.
    """
    if len(data) < len(MAGIC) + _CRC.size or data[: len(MAGIC)] != MAGIC:
        raise FormatError("not an array of astro-vq: the bytes do not begin with AVQA")
    body = data[: -_CRC.size]
    if zlib.crc32(body) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise FormatError("the array is damaged: its CRC is wrong")
    reader = ByteReader(body[len(MAGIC) :])
    version = reader.byte()
    if version != _VERSION:
        raise FormatError(f"an array of version {version}; this version reads {_VERSION}")
    fortran = reader.byte() & _FORTRAN
    dtype = _dtype(reader.sized())
    (bound,) = _BOUND.unpack(reader.take(_BOUND.size))
    ndim = reader.varint(_LARGEST_NDIM)
    shape = tuple(reader.varint(_LARGEST_AXIS) for _ in range(ndim))
    given = shape[::-1] if fortran else shape
    if expected is not None and (given, dtype.newbyteorder("=")) != (
        tuple(expected[0]),
        np.dtype(expected[1]).newbyteorder("="),
    ):
        raise FormatError(
            f"an array of shape {given} and type {dtype}, where {expected[0]} and {expected[1]} "
            "are due"
        )
    tall, wide = (reader.varint(LARGEST_TILE) for _ in range(2))
    try:
        spec = PixelSpec(dtype=dtype.newbyteorder("=").name, bound=bound)
    except ValueError as err:
        raise FormatError(f"the head of the array is damaged: {err}") from err
    out = _decode(reader, shape, (tall, wide), spec).astype(dtype, copy=False)
    return out.T if fortran else out


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a type that cannot be encoded.

    Raises
    ------
    TypeError
        It is no integer of 8 to 64 bits, float32 or float64.
    """
    if dtype.newbyteorder("=").name not in DTYPES:
        raise TypeError(
            f"arrays of integers of 8 to 64 bits, float32 or float64 can be encoded, got {dtype}; "
            "convert it first"
        )


def check_options(max_error: float, effort: int, tile_size: int) -> None:
    """Refuse options that are impossible.

    Raises
    ------
    ValueError
        One is.
    """
    if not 0 <= max_error < math.inf:
        raise ValueError(f"max_error must be finite and not negative, got {max_error}")
    if effort not in range(1, 10):
        raise ValueError(f"effort must be 1 to 9, got {effort}")
    if not 16 <= tile_size <= 2048 or tile_size % 8:
        raise ValueError(f"tile_size must be a multiple of 8 from 16 to 2048, got {tile_size}")


def _dtype(text: bytes) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(text):  # numpy would evaluate whatever stands there
        raise FormatError(f"the head of the array is damaged: type {text!r}")
    try:
        dtype = np.dtype(text.decode("ascii"))
        check_dtype(dtype)
    except TypeError as err:  # such as f2
        raise FormatError(f"the head of the array is damaged: type {text!r}") from err
    return dtype


def _decode(
    reader: ByteReader, shape: tuple[int, ...], tile: tuple[int, int], spec: PixelSpec
) -> NDArray[Any]:
    tall, wide = tile
    if tall * wide > LARGEST_TILE or min(tile) < 1:
        raise FormatError(f"the head of the array is damaged: tiles of {tall} x {wide}")
    grid = TileGrid(*plane_axes(_shape(shape)), tall, wide)
    count = grid.count if 0 not in shape else 0
    if grid.pixels > _LARGEST_ARRAY:
        raise FormatError(f"an array of shape {shape} is too large: more than 2**31 pixels")
    if 2 * count > reader.left:  # each takes a length and at least a byte
        raise FormatError(f"the array is damaged: {count} tiles in {reader.left} bytes")
    shared = reader.sized()
    streams = [reader.sized() for _ in range(count)]
    reader.finish()
    out = np.empty(shape, spec.dtype)
    if count:
        places = [grid.tile(number) for number in range(count)]
        planes = out.reshape(grid.planes, grid.height, grid.width)
        shapes = [(place.ny, place.nx) for place in places]
        for place, values in zip(
            places, decode_tiles(streams, shapes, spec, shared=shared), strict=True
        ):
            _cut(planes, place)[...] = values
    return out


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with at least one axis."""
    return shape or (1,)


def _cut(planes: NDArray[Any], tile: TileGeometry) -> NDArray[Any]:
    rows, columns = tile.slices
    cut: NDArray[Any] = planes[tile.plane, rows, columns]
    return cut


def _sample(tiles: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return some tiles from all over the array."""
    wanted = max(_SAMPLE_PIXELS // max(tiles[0].size, 1), 1)
    return tiles[:: -(-len(tiles) // wanted)]
