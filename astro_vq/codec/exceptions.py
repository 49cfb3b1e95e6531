"""Pixels that do not go through the quantiser: NaN, infinities, BLANK, and values that fail.

Most images have few of them, or whole borders of one and the same bit pattern, so a map says
where which of a few frequent patterns stands, and patterns met rarely are written out.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import (
    ByteReader,
    deflate,
    encode_varint,
    inflate,
    little_endian,
    sized,
)
from astro_vq.errors import FormatError

_PALETTE_LIMIT = 14
_SPARSE, _DENSE = 0, 1


class Exceptions(NamedTuple):
    """Where the exceptional pixels of a tile stand and what their bit patterns are.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        True at exceptional pixels.
    bits : ndarray of unsigned integers, shape (N,)
        Bit patterns of these pixels in C order, as wide as the stored dtype.
    """

    mask: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.unsignedinteger[Any]]


def encode_exceptions(exceptions: Exceptions) -> bytes:
    """Return the exceptions of a tile as bytes; one byte if there are none."""
    mask, bits = exceptions
    n = int(bits.size)
    if n == 0:
        return encode_varint(0)
    patterns, inverse, counts = np.unique(bits, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_PALETTE_LIMIT]
    order = order[(counts[order] > 1) | (np.arange(order.size) == 0)]
    palette = patterns[order]
    rank = np.full(patterns.size, order.size, np.int64)
    rank[order] = np.arange(order.size)
    classes = rank[inverse.ravel()] + 1  # 1..P palette, P + 1 written out
    out = encode_varint(n) + encode_varint(palette.size) + little_endian(palette)
    out += min(_dense(mask, classes), _sparse(mask, classes), key=len)
    literals = bits[classes == palette.size + 1]
    raw = little_endian(literals)
    planes = raw and deflate(little_endian(_byte_planes(literals)))
    packed = len(planes) < len(raw)
    return out + bytes([packed]) + (sized(planes) if packed else raw)


def decode_exceptions(reader: ByteReader, shape: tuple[int, int], itemsize: int) -> Exceptions:
    """Read what `encode_exceptions` wrote.

    Parameters
    ----------
    reader : ByteReader
        Stands at the exceptions and is moved past them.
    shape : (int, int)
        Height and width of the tile.
    itemsize : int
        Bytes of a pixel.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    size = shape[0] * shape[1]
    dtype = np.dtype(f"u{itemsize}")
    n = reader.varint(size)
    if n == 0:
        return Exceptions(np.zeros(shape, bool), np.zeros(0, dtype))
    palette = reader.array(dtype, reader.varint(_PALETTE_LIMIT))
    method = reader.byte()
    if method not in (_SPARSE, _DENSE):
        raise FormatError(f"damaged pixel stream: mask of unknown kind {method}")
    read = _read_sparse if method == _SPARSE else _read_dense
    classes = read(reader, shape, n)
    if int(np.count_nonzero(classes)) != n or int(classes.max()) > palette.size + 1:
        raise FormatError("damaged pixel stream: mask and its count disagree")
    mask = classes > 0
    classes = classes[mask]
    written = classes == palette.size + 1
    m = int(np.count_nonzero(written))
    packed = reader.byte()
    if packed:
        raw = inflate(reader.sized(), m * itemsize)
        planes = np.frombuffer(raw, np.uint8)
        if planes.size != m * itemsize:
            raise FormatError("damaged pixel stream: exceptions are cut off")
        octets = np.ascontiguousarray(planes.reshape(itemsize, m).T)
        literals = octets.view(dtype.newbyteorder("<")).ravel().astype(dtype)
    else:
        literals = reader.array(dtype, m)
    bits = np.zeros(n, dtype)
    bits[written] = literals
    bits[~written] = palette[classes[~written].astype(np.int64) - 1]
    return Exceptions(mask, bits)


def _byte_planes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    wire = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(wire.view(np.uint8).reshape(values.size, -1).T)


def _dense(mask: npt.NDArray[np.bool_], classes: npt.NDArray[np.int64]) -> bytes:
    """Classes of all pixels, each row against the one above."""
    grid = np.zeros(mask.shape, np.uint8)
    grid[mask] = classes
    grid[1:] ^= grid[:-1].copy()
    one = int(classes.max()) == 1
    flat = np.packbits(grid.ravel()) if one else grid.ravel()
    return bytes([_DENSE, one]) + sized(deflate(flat.tobytes()))


def _read_dense(reader: ByteReader, shape: tuple[int, int], n: int) -> npt.NDArray[np.uint8]:
    size = shape[0] * shape[1]
    one = reader.byte()
    wanted = -(-size // 8) if one else size
    flat = np.frombuffer(inflate(reader.sized(), wanted), np.uint8)
    if flat.size != wanted:
        raise FormatError("damaged pixel stream: mask is cut off")
    grid = np.unpackbits(flat, count=size) if one else flat
    return np.bitwise_xor.accumulate(grid.reshape(shape), axis=0)


def _sparse(mask: npt.NDArray[np.bool_], classes: npt.NDArray[np.int64]) -> bytes:
    """Gaps between exceptional pixels, in planes of bytes."""
    gaps = np.diff(np.flatnonzero(mask), prepend=-1) - 1
    width = 1 if gaps.max() < 2**8 else 2 if gaps.max() < 2**16 else 4
    block = _byte_planes(gaps.astype(f"u{width}")).tobytes()
    if classes.max() > 1:
        block += classes.astype(np.uint8).tobytes()
    packed = deflate(block)
    small = len(packed) < len(block)
    head = bytes([_SPARSE, width | (classes.max() > 1) << 4 | small << 5])
    return head + (sized(packed) if small else block)


def _read_sparse(reader: ByteReader, shape: tuple[int, int], n: int) -> npt.NDArray[np.uint8]:
    head = reader.byte()
    width, many, small = head & 15, head >> 4 & 1, head >> 5
    if width not in (1, 2, 4) or small > 1:
        raise FormatError("damaged pixel stream: mask of unknown kind")
    wanted = n * (width + many)
    block = inflate(reader.sized(), wanted) if small else reader.take(wanted)
    if len(block) != wanted:
        raise FormatError("damaged pixel stream: mask is cut off")
    octets = np.ascontiguousarray(np.frombuffer(block, np.uint8)[: n * width].reshape(width, n).T)
    gaps = octets.view(f"<u{width}").ravel().astype(np.int64)
    places = np.cumsum(gaps + 1) - 1
    size = shape[0] * shape[1]
    if places[-1] >= size:
        raise FormatError("damaged pixel stream: mask reaches past the tile")
    grid = np.zeros(size, np.uint8)
    grid[places] = np.frombuffer(block, np.uint8)[n * width :] if many else 1
    return grid.reshape(shape)
