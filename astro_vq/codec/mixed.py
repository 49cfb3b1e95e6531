"""Planes through the coder whose probabilities adapt from pixel to pixel.

Its side information is what was fitted to the image: 24 weights, six numbers for the width, the
level of the sky, and a value that is far more frequent than its neighbours, if there is one.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.planes import Indices, Mask, Plane, middle
from astro_vq.codec.shared import Shared
from astro_vq.entropy.mixing import (
    LARGEST_SLOPE,
    LARGEST_WEIGHT,
    Mixing,
    decode_plane,
    default_mixing,
    encode_plane,
)
from astro_vq.entropy.mixing_kernel import LARGEST, NO_SPIKE, TAPS
from astro_vq.errors import FormatError

_SLOPES = 6
_LIMIT = 1 << 63
_SKY_LIMIT = 1 << 40  # of the distance between the sky and the middle of a plane

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


class MixedPlanes:
    """Planes one pixel after the other, with mixed probabilities."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None if it is empty or its range too large."""
        model = read_mixing(shared.mixing)
        return _map(lambda plane: _encode(plane, model, shared.loop), planes)

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        model = read_mixing(shared.mixing)
        pairs = list(zip(payloads, masks, strict=True))
        return _map(lambda pair: _decode(pair[0], pair[1], model, shared.loop), pairs)


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
        numbers = [*self.mixing.taps.tolist(), *self.mixing.width.tolist(), self.sky or 0]
        if self.spike is not None:
            numbers.append(self.spike)
        return b"".join(encode_varint(zigzag(number)) for number in numbers)


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
    taps = [unzigzag(reader.varint(2 * LARGEST_WEIGHT + 1)) for _ in range(TAPS)]
    width = [unzigzag(reader.varint(2 * LARGEST_SLOPE + 1)) for _ in range(_SLOPES)]
    sky = unzigzag(reader.varint())
    spike = unzigzag(reader.varint()) if reader.left else None
    reader.finish()
    return ImageModel(Mixing(np.array(taps, np.int64), np.array(width, np.int64)), sky, spike)


def _encode(plane: Plane, model: ImageModel, loop: int) -> bytes | None:
    if middle(plane) is None:
        return None
    centre = _centre(plane)
    inside = np.where(plane.mask, 0, plane.indices - np.int64(centre))
    level, spike = _relative(model, centre, loop)
    code, plain, _ = encode_plane(
        inside, plane.mask, model.mixing, sky=level, loop=loop, spike=spike
    )
    return encode_varint(zigzag(centre)) + sized(code) + plain


def _centre(plane: Plane) -> int:
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


def _map(work: Callable[[_Given], _Result], items: Sequence[_Given]) -> list[_Result]:
    """Do the same to all, in as many threads as a process should have."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
