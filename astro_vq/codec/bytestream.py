"""Reading and writing of small self-describing byte streams that may arrive damaged.

Every read is checked against what is left, so that a damaged stream ends in `FormatError` and
never in a crash or in memory asked for on the word of a damaged length.
"""

import zlib

import numpy as np
import numpy.typing as npt

from astro_vq.errors import FormatError

_VARINT_BYTES = 10  # enough for 64 bits


def encode_varint(value: int) -> bytes:
    """Return a non-negative integer in 7-bit groups, least significant first.

    Raises
    ------
    ValueError
        If `value` is negative or needs more than 64 bits.
    """
    if not 0 <= value < 2**64:
        raise ValueError(f"a varint holds 0 to 2**64 - 1, got {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Map a signed integer to a non-negative one: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return 2 * value if value >= 0 else -2 * value - 1


def unzigzag(value: int) -> int:
    """Undo `zigzag`."""
    return -(value + 1) // 2 if value & 1 else value // 2


class ByteReader:
    """A cursor over bytes whose every read is checked.

    Parameters
    ----------
    data : bytes
        The stream.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes.

        Raises
        ------
        FormatError
            If fewer are left.
        """
        if not 0 <= n <= self.left:
            raise FormatError(f"pixel stream ends too early: {n} bytes wanted, {self.left} left")
        out = bytes(self._data[self._at : self._at + n])
        self._at += n
        return out

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(self.left)

    def byte(self) -> int:
        """Return the next byte as an integer."""
        return self.take(1)[0]

    def varint(self, limit: int = 2**64 - 1) -> int:
        """Return the next varint.

        Parameters
        ----------
        limit : int
            Largest value that makes sense here.

        Raises
        ------
        FormatError
            If the integer runs past the end, past 64 bits, or past `limit`.
        """
        value = 0
        for i in range(_VARINT_BYTES):
            b = self.byte()
            value |= (b & 0x7F) << 7 * i
            if b < 0x80:
                if value > limit:
                    raise FormatError(f"damaged pixel stream: {value} where at most {limit} fits")
                return value
        raise FormatError("damaged pixel stream: an integer of more than 64 bits")

    def array(self, dtype: npt.DTypeLike, n: int) -> npt.NDArray[np.generic]:
        """Return the next `n` items of a little-endian `dtype` as a native array."""
        wire = np.dtype(dtype).newbyteorder("<")
        return np.frombuffer(self.take(n * wire.itemsize), wire).astype(np.dtype(dtype))

    def sized(self) -> bytes:
        """Return a block that is preceded by its length."""
        return self.take(self.varint())

    def finish(self) -> None:
        """Check that nothing is left.

        Raises
        ------
        FormatError
            If bytes are left over.
        """
        if self.left:
            raise FormatError(f"damaged pixel stream: {self.left} bytes left over")


def little_endian(array: npt.NDArray[np.generic]) -> bytes:
    """Return the bytes of an array in C order, least significant byte first."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def sized(block: bytes) -> bytes:
    """Return a block preceded by its length."""
    return encode_varint(len(block)) + block


def deflate(data: bytes) -> bytes:
    """Return `data` compressed as a raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, limit: int) -> bytes:
    """Undo `deflate`, giving at most `limit` bytes.

    Raises
    ------
    FormatError
        If the stream is damaged or holds more than `limit` bytes.
    """
    unpacker = zlib.decompressobj(-15)
    try:
        out = unpacker.decompress(data, limit + 1)
    except zlib.error as err:
        raise FormatError(f"damaged pixel stream: {err}") from err
    if len(out) > limit or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"damaged pixel stream: a block of other than at most {limit} bytes")
    return out
