"""Planes through the coder whose probabilities adapt from pixel to pixel.

Its side information is what was fitted to the image: 24 weights, six numbers for the width, and the
level of the sky.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
from astro_vq.entropy.mixing_kernel import TAPS
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
        mixing, sky = read_mixing(shared.mixing)
        return _map(lambda plane: _encode(plane, mixing, sky, shared.loop), planes)

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        mixing, sky = read_mixing(shared.mixing)
        pairs = list(zip(payloads, masks, strict=True))
        return _map(lambda pair: _decode(pair[0], pair[1], mixing, sky, shared.loop), pairs)


def write_mixing(mixing: Mixing, sky: int) -> bytes:
    """Return what was fitted to an image as bytes."""
    numbers = (*mixing.taps.tolist(), *mixing.width.tolist(), sky)
    return b"".join(encode_varint(zigzag(number)) for number in numbers)


def read_mixing(data: bytes) -> tuple[Mixing, int | None]:
    """Read what `write_mixing` wrote; b'' are the defaults.

    Raises
    ------
    FormatError
        The bytes are damaged.
    """
    if not data:
        return default_mixing(), None
    reader = ByteReader(data)
    taps = [unzigzag(reader.varint(2 * LARGEST_WEIGHT + 1)) for _ in range(TAPS)]
    width = [unzigzag(reader.varint(2 * LARGEST_SLOPE + 1)) for _ in range(_SLOPES)]
    sky = unzigzag(reader.varint())
    reader.finish()
    return Mixing(np.array(taps, np.int64), np.array(width, np.int64)), sky


def _encode(plane: Plane, mixing: Mixing, sky: int | None, loop: int) -> bytes | None:
    if middle(plane) is None:
        return None
    centre = _centre(plane)
    level = 0 if sky is None else _sky_offset(centre, sky)
    inside = np.where(plane.mask, 0, plane.indices - np.int64(centre))
    code, plain, _ = encode_plane(inside, plane.mask, mixing, sky=level, loop=loop)
    return encode_varint(zigzag(centre)) + sized(code) + plain


def _centre(plane: Plane) -> int:
    """Return the median of the first row that has pixels."""
    row = int(np.argmax((~plane.mask).any(1)))
    return int(np.median(plane.indices[row][~plane.mask[row]]))


def _sky_offset(centre: int, sky: int) -> int:
    return min(max(centre - sky, -_SKY_LIMIT), _SKY_LIMIT)


def _decode(payload: bytes, mask: Mask, mixing: Mixing, sky: int | None, loop: int) -> Indices:
    reader = ByteReader(payload)
    centre = unzigzag(reader.varint())
    if not -_LIMIT <= centre < _LIMIT:
        raise FormatError("damaged pixel stream: its middle is out of range")
    level = 0 if sky is None else _sky_offset(centre, sky)
    code, plain = reader.sized(), reader.rest()
    inside = decode_plane(code, plain, mask, mixing, sky=level, loop=loop)
    return np.asarray(inside + np.int64(centre))


def _map(work: Callable[[_Given], _Result], items: Sequence[_Given]) -> list[_Result]:
    """Do the same to all, in as many threads as a process should have."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
