"""Planes through the coder whose probabilities adapt from pixel to pixel.

Its side information is what was fitted to the image: sets of weights, six numbers for the width,
the level of the sky, and a value that is far more frequent than its neighbours, if there is one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.planes import Indices, Mask, Plane, middle
from astro_vq.codec.shared import Shared
from astro_vq.entropy.mixing import (
    LARGEST_LIMIT,
    LARGEST_SLOPE,
    LARGEST_WEIGHT,
    REACH,
    Mixing,
    decode_plane,
    default_mixing,
    encode_plane,
)
from astro_vq.entropy.mixing_kernel import LARGEST, NO_SPIKE, WIDEST
from astro_vq.entropy.threads import in_threads
from astro_vq.errors import FormatError

_SLOPES = 6
_MOST_ZEROS = 8
_LIMIT_SHIFT = 6  # the limit is stored in 1/64 of a step
_STEEPEST = 2 * WIDEST
_LIMIT = 1 << 63
_SKY_LIMIT = 1 << 40  # of the distance between the sky and the middle of a plane


class FirstMixedPlanes:
    """As `MixedPlanes` was before: one set of 24 weights, no background. Only read."""

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        return _decode_all(payloads, masks, read_first_mixing(shared.first_mixing), shared.loop)


class MixedPlanes:
    """Planes one pixel after the other, with mixed probabilities."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None if it is empty or its range too large."""
        return encode_planes(planes, read_mixing(shared.mixing), shared.loop)

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        return _decode_all(payloads, masks, read_mixing(shared.mixing), shared.loop)


class ImageModel(NamedTuple):
    """What was fitted to an image.

    Attributes
    ----------
    mixing : Mixing
        Weights and width.
    sky : int or None
        Level of the sky; None for that of each plane.
    spike : int or None
        Value that is told apart first.
    """

    mixing: Mixing
    sky: int | None = None
    spike: int | None = None

    def to_bytes(self) -> bytes:
        """Return the model as bytes; there must be a sky."""
        taps, width, steep_from, limit, _ = self.mixing
        drop = _common_zeros(taps)
        sets, wide = len(taps), taps.shape[1] - 1 == max(REACH)
        head = (sets - 1) | wide << 2 | (self.spike is not None) << 3 | drop << 4
        numbers = [*steep_from.tolist(), limit >> _LIMIT_SHIFT]
        numbers += [*(taps >> drop).ravel().tolist(), *width.tolist(), self.sky or 0]
        if self.spike is not None:
            numbers.append(self.spike)
        return bytes([head]) + b"".join(encode_varint(zigzag(number)) for number in numbers)


def _common_zeros(taps: Indices) -> int:
    """Return how many zero bits all weights end with, at most eight."""
    bits = int(np.bitwise_or.reduce(taps, axis=None)) | 1 << _MOST_ZEROS
    return (bits & -bits).bit_length() - 1


def read_mixing(data: bytes) -> ImageModel:
    """Read what `ImageModel.to_bytes` wrote; b'' are the defaults.

    Raises
    ------
    FormatError
        The bytes are damaged.
    """
    if not data:
        return ImageModel(default_mixing())
    reader = ByteReader(data)
    head = reader.byte()
    sets, drop = 1 + (head & 3), head >> 4
    count = max(REACH) if head & 4 else min(REACH)
    if drop > _MOST_ZEROS:
        raise FormatError("damaged pixel side information: weights of an unknown precision")
    steep_from = [unzigzag(reader.varint(2 * _STEEPEST)) for _ in range(sets - 1)]
    limit = unzigzag(reader.varint(2 * LARGEST_LIMIT)) << _LIMIT_SHIFT
    if limit < 0 or limit > LARGEST_LIMIT:
        raise FormatError("damaged pixel side information: the background is out of range")
    largest = 2 * (LARGEST_WEIGHT >> drop) + 1
    taps = [unzigzag(reader.varint(largest)) << drop for _ in range(sets * (count + 1))]
    width = _read_width(reader)
    sky = unzigzag(reader.varint())
    spike = unzigzag(reader.varint()) if head & 8 else None
    reader.finish()
    mixing = Mixing(
        np.array(taps, np.int64).reshape(sets, count + 1),
        width,
        np.array(steep_from, np.int64),
        limit,
    )
    return ImageModel(mixing, sky, spike)


def read_first_mixing(data: bytes) -> ImageModel:
    """Read a model of coder 9.

    Raises
    ------
    FormatError
        The bytes are damaged.
    """
    if not data:
        return ImageModel(default_mixing(1))
    reader = ByteReader(data)
    taps = [unzigzag(reader.varint(2 * LARGEST_WEIGHT + 1)) for _ in range(min(REACH))]
    width = _read_width(reader)
    sky = unzigzag(reader.varint())
    spike = unzigzag(reader.varint()) if reader.left else None
    reader.finish()
    return ImageModel(Mixing(np.array([[*taps, 0]], np.int64), width, version=1), sky, spike)


def _read_width(reader: ByteReader) -> Indices:
    limit = 2 * LARGEST_SLOPE + 1
    return np.array([unzigzag(reader.varint(limit)) for _ in range(_SLOPES)], np.int64)


def _decode_all(
    payloads: Sequence[bytes], masks: Sequence[Mask], model: ImageModel, loop: int
) -> list[Indices]:
    pairs = list(zip(payloads, masks, strict=True))
    return in_threads(lambda pair: _decode(pair[0], pair[1], model, loop), pairs)


def encode_planes(planes: Sequence[Plane], model: ImageModel, loop: int) -> list[bytes | None]:
    """Return a payload per plane; None if it is empty or its range too large."""
    return in_threads(lambda plane: _encode(plane, model, loop), planes)


def _encode(plane: Plane, model: ImageModel, loop: int) -> bytes | None:
    if middle(plane) is None:
        return None
    centre = middle_of_first_row(plane)
    inside = np.where(plane.mask, 0, plane.indices - np.int64(centre))
    level, spike = _relative(model, centre, loop)
    code, plain, _ = encode_plane(
        inside, plane.mask, model.mixing, sky=level, loop=loop, spike=spike
    )
    return encode_varint(zigzag(centre)) + sized(code) + plain


def middle_of_first_row(plane: Plane) -> int:
    """Return the median of the first row that has pixels."""
    row = int(np.argmax((~plane.mask).any(1)))
    return int(np.median(plane.indices[row][~plane.mask[row]]))


def _relative(model: ImageModel, centre: int, loop: int) -> tuple[int, int]:
    """Return the level of the sky and the spike as the plane sees them."""
    level = 0 if model.sky is None else centre - model.sky
    level = min(max(level, -_SKY_LIMIT), _SKY_LIMIT)
    if model.spike is None or loop > 1 or abs(model.spike - centre) >= LARGEST:
        return level, NO_SPIKE
    return level, model.spike - centre


def _decode(payload: bytes, mask: Mask, model: ImageModel, loop: int) -> Indices:
    reader = ByteReader(payload)
    centre = unzigzag(reader.varint())
    if not -_LIMIT <= centre < _LIMIT:
        raise FormatError("damaged pixel stream: its middle is out of range")
    level, spike = _relative(model, centre, loop)
    code, plain = reader.sized(), reader.rest()
    inside = decode_plane(code, plain, mask, model.mixing, sky=level, loop=loop, spike=spike)
    return np.asarray(inside + np.int64(centre))
