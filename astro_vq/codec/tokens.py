"""The token stream of a tile: indices packed at fixed width or by the table of their HDU.

The first byte names the coder; an id never changes its meaning. Id 0: each index in
``ceil(log2(codes))`` bits, most significant first, the last byte filled with zeros. Id 1: range
coded with the static table of the HDU (`TokenTable`), one depth after the other. Id 3: a varint,
that many bytes of sparse maps (`astro_vq.entropy.sparse_maps`), then the detail
(`astro_vq.codec.detail`); no bytes at all where a tile has neither. Id 2, which is only read:
sparse maps.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, encode_varint
from astro_vq.entropy.coder import decode_static, encode_static, quantize_counts
from astro_vq.errors import FormatError

FIXED_WIDTH, STATIC_TABLE, SPARSE_MAPS, SPARSE_DETAIL = 0, 1, 2, 3

TABLE_BITS = 16
LARGEST_CODES = 2**TABLE_BITS

Indices = npt.NDArray[np.integer]


class TokenLayer(NamedTuple):
    """What the primary header says about tokens.

    Attributes
    ----------
    stride : int
        Pixels per token along each axis.
    halo : int
        Tokens of context that decoding needs on each side.
    channels : int
        Planes that share their tokens.
    codes : int
        Number of codes.
    depth : int
        Indices per position.
    """

    stride: int
    halo: int
    channels: int
    codes: int
    depth: int


class TokenTable:
    """Frequencies of the codes of one HDU, one row for each depth.

    Parameters
    ----------
    frequencies : ndarray of int64, shape (K, codes)
        Each row adds up to ``2**16``, or to 0 when there is no table.
    """

    def __init__(self, frequencies: npt.NDArray[np.int64]) -> None:
        self.frequencies = frequencies

    @property
    def depth(self) -> int:
        """Indices per position."""
        return int(self.frequencies.shape[0])

    @property
    def codes(self) -> int:
        """Number of codes."""
        return int(self.frequencies.shape[1])

    @classmethod
    def fit(cls, counts: npt.NDArray[np.int64]) -> "TokenTable":
        """Return the table for codes that occur ``counts`` times, shape (K, codes)."""
        rows = [quantize_counts(row, TABLE_BITS) for row in counts]
        return cls(np.array(rows, dtype=np.int64).reshape(counts.shape))

    def to_bytes(self) -> bytes:
        """Return the table: varints; a zero is followed by how many zeros come after it."""
        out = bytearray()
        for row in self.frequencies:
            position = 0
            while position < row.size:
                value = int(row[position])
                out += encode_varint(value)
                position += 1
                if value == 0:
                    after = row[position:]
                    nonzero = np.flatnonzero(after)
                    run = int(nonzero[0]) if nonzero.size else after.size
                    out += encode_varint(run)
                    position += run
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes, depth: int, codes: int) -> "TokenTable":
        """Return the table that `to_bytes` wrote.

        Raises
        ------
        FormatError
            It is damaged.
        """
        reader = ByteReader(data)
        rows = np.zeros((depth, codes), dtype=np.int64)
        for row in rows:
            position = 0
            while position < codes:
                row[position] = reader.varint(1 << TABLE_BITS)
                position += 1
                if row[position - 1] == 0:
                    position += reader.varint(codes - position)
            if int(row.sum()) not in (0, 1 << TABLE_BITS):
                raise FormatError("damaged table of tokens: its sum is wrong")
        reader.finish()
        return cls(rows)


def encode_tokens(indices: Indices, table: TokenTable) -> bytes:
    """Return the smaller of the two streams of a tile's indices.

    Parameters
    ----------
    indices : ndarray of int, shape (K, h, w)
        Each in ``[0, codes)``.
    table : TokenTable
        Table of the HDU, with a frequency for every index that occurs.

    Returns
    -------
    bytes
        The stream; its first byte is the coder's id.
    """
    fixed = bytes([FIXED_WIDTH]) + _pack_fixed(indices, table.codes)
    if not table.frequencies.any():
        return fixed
    parts = [
        encode_static(plane, row) for plane, row in zip(indices, table.frequencies, strict=True)
    ]
    coded = b"".join(encode_varint(len(part)) + part for part in parts)
    return min(fixed, bytes([STATIC_TABLE]) + coded, key=len)


def decode_tokens(
    stream: bytes, shape: tuple[int, int, int], table: TokenTable
) -> npt.NDArray[np.int64]:
    """Return the indices (K, h, w) of a stream.

    Parameters
    ----------
    stream : bytes
        What `encode_tokens` gave.
    shape : (int, int, int)
        Depth, height and width in tokens.
    table : TokenTable
        Table of the HDU.

    Raises
    ------
    FormatError
        The stream is damaged or of an unknown coder.
    """
    depth, height, width = shape
    reader = ByteReader(stream)
    coder = reader.byte()
    if coder == FIXED_WIDTH:
        flat = _unpack_fixed(reader.rest(), depth * height * width, table.codes)
    elif coder == STATIC_TABLE:
        count = height * width
        planes = [decode_static(reader.sized(), row, count) for row in table.frequencies]
        reader.finish()
        flat = np.concatenate(planes) if planes else np.zeros(0, np.int64)
    else:
        raise FormatError(
            f"token stream of unknown coder {coder} (known: 0, 1); the file is damaged or was "
            "written by a newer version"
        )
    if flat.size != depth * height * width:
        raise FormatError(f"damaged token stream: {flat.size} tokens where {shape} are needed")
    return flat.reshape(shape)


class SparseStream(NamedTuple):
    """The stream of a tile of sparse tokens.

    Attributes
    ----------
    maps, detail : bytes
        Empty where there are none.
    version : int
        Of the probabilities that they start from.
    """

    maps: bytes
    detail: bytes
    version: int = 2

    def to_bytes(self) -> bytes:
        """Return the stream; empty where there is nothing in it."""
        if not self.maps and not self.detail:
            return b""
        return bytes([SPARSE_DETAIL]) + encode_varint(len(self.maps)) + self.maps + self.detail

    @classmethod
    def from_bytes(cls, stream: bytes) -> "SparseStream":
        """Read a stream.

        Raises
        ------
        FormatError
            It is damaged or of an unknown coder.
        """
        if not stream:
            return cls(b"", b"")
        if stream[0] == SPARSE_MAPS:
            return cls(stream[1:], b"", 1)
        if stream[0] != SPARSE_DETAIL:
            raise FormatError(f"token stream of unknown coder {stream[0]} among sparse tokens")
        reader = ByteReader(stream[1:])
        return cls(reader.sized(), reader.rest())


def _width(codes: int) -> int:
    return max((codes - 1).bit_length(), 1)


def _pack_fixed(indices: Indices, codes: int) -> bytes:
    width = _width(codes)
    flat = np.ascontiguousarray(indices).ravel().astype(np.uint32)
    if flat.size and int(flat.max()) >= codes:
        raise ValueError(f"an index is {int(flat.max())}, but there are {codes} codes")
    places = np.arange(width - 1, -1, -1, dtype=np.uint32)
    bits = (flat[:, None] >> places) & np.uint32(1)
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def _unpack_fixed(data: bytes, count: int, codes: int) -> npt.NDArray[np.int64]:
    width = _width(codes)
    if len(data) != -(-count * width // 8):
        raise FormatError(
            f"damaged token stream: {len(data)} bytes where {count} tokens of {width} bits are due"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width)
    places = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
    flat = bits.astype(np.int64) @ places
    if flat.size and int(flat.max()) >= codes:
        raise FormatError(f"damaged token stream: index {int(flat.max())} of {codes} codes")
    return np.asarray(flat, dtype=np.int64)
