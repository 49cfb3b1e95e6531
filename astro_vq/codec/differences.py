"""Differences of neighbouring integers: where structure shows that values themselves hide.

Images that were once transformed and rounded (digitised plates above all) take few distinct
differences, although their values are many. Linear prediction would smear them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.planes import Indices, Mask, Plane
from astro_vq.codec.shared import Shared
from astro_vq.errors import FormatError

_AXES = ((1,), (0,), (1, 0))  # along rows, along columns, both
_LIMIT = 1 << 60


class DifferencedPlanes:
    """Differences along rows, columns or both through pcodec, whichever is smallest."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None where integers are too large to be subtracted."""
        return [_encode(plane, effort) for plane in planes]

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        return [_decode(p, mask) for p, mask in zip(payloads, masks, strict=True)]


def _encode(plane: Plane, effort: int) -> bytes | None:
    filled = fill_plane(plane)
    if filled is None:
        return None
    payloads = []
    for i, axes in enumerate(_AXES):
        steps = filled
        for axis in axes:
            steps = np.diff(steps, axis=axis, prepend=0)
        payloads.append(bytes([i]) + pack_integers(steps.ravel(), effort))
    return min(payloads, key=len)


def _decode(payload: bytes, mask: Mask) -> Indices:
    reader = ByteReader(payload)
    kind = reader.byte()
    if kind >= len(_AXES):
        raise FormatError("damaged pixel stream: unknown differences")
    plane: npt.NDArray[np.int64] = unpack_integers(reader.rest(), mask.size).reshape(mask.shape)
    for axis in reversed(_AXES[kind]):
        plane = np.cumsum(plane, axis=axis)
    return plane


def fill_plane(plane: Plane) -> Indices | None:
    """Return indices with masked pixels replaced by the one before, or None if out of range."""
    good = np.flatnonzero(~plane.mask)
    if not good.size:
        return None
    inside = plane.indices.ravel()[good]
    if inside.min() < -_LIMIT or inside.max() > _LIMIT:
        return None
    if good.size == plane.mask.size:
        return plane.indices
    place = np.searchsorted(good, np.arange(plane.mask.size), side="right") - 1
    return inside[np.maximum(place, 0)].reshape(plane.mask.shape)
