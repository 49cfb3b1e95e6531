"""Short forms of what small streams hold: a few bytes a tile count where there are some hundred.

At coarse bounds most tiles have the mapping of their image, no exceptions, and no plain bits. The
number of the coder says so then, and the bytes that would are left out.
"""

import struct

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, sized
from astro_vq.errors import FormatError

BRIEF = 32
"""Added to the number of a coder whose stream is in its short form."""

_CODERS = (9, 10)  # of payloads that are a centre, a code preceded by its length, and plain bits
_USUAL = b"\0\0"  # the mapping of the image, no exceptions


def shorten(stream: bytes) -> bytes:
    """Return the short form of a stream (its coder first) if it has one, else the stream."""
    if stream[0] not in _CODERS or stream[1:3] != _USUAL:
        return stream
    reader = ByteReader(stream[3:])
    centre, code = reader.varint(), reader.sized()
    if reader.left:
        return stream
    return bytes([stream[0] + BRIEF]) + encode_varint(centre) + code


def lengthen(stream: bytes) -> bytes:
    """Undo `shorten`.

    Raises
    ------
    FormatError
        The stream is cut off.
    """
    if stream[0] - BRIEF not in _CODERS:
        return stream
    reader = ByteReader(stream[1:])
    centre = reader.varint()
    return bytes([stream[0] - BRIEF]) + _USUAL + encode_varint(centre) + sized(reader.rest())


def short_step(step: float) -> float:
    """Return the largest float32 that is not above a step, or the step where there is none."""
    with np.errstate(over="ignore", under="ignore"):
        short = np.float32(step)
        if float(short) > step:
            short = np.nextafter(short, np.float32(0))
    usable = np.finfo(np.float32).tiny <= short < np.finfo(np.float32).max
    return float(short) if usable else step


def is_short(step: float) -> bool:
    """Whether a step is a float32."""
    return (
        bool(np.finfo(np.float32).tiny <= step <= np.finfo(np.float32).max)
        and float(np.float32(step)) == step
    )


def pack_step(step: float) -> bytes:
    """Return a step that is a float32 as four bytes."""
    return struct.pack("<f", step)


def read_step(reader: ByteReader) -> float:
    """Read what `pack_step` wrote.

    Raises
    ------
    FormatError
        It is no positive number.
    """
    (step,) = struct.unpack("<f", reader.take(4))
    if not (np.isfinite(step) and step > 0):
        raise FormatError("damaged pixel stream: a step that is not positive")
    return float(step)
