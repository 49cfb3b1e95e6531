"""Planes fast: the linear prediction that was fitted to the image, and pcodec for what it leaves.

Everything else that `astro_vq.codec.mixed` does (widths, contexts, probabilities that adapt) is
left out; streams are larger where the noise changes within a tile.
"""

from collections.abc import Sequence

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, unzigzag, zigzag
from astro_vq.codec.mixed import middle_of_first_row, read_mixing
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.planes import Indices, Mask, Plane, middle
from astro_vq.codec.shared import Shared
from astro_vq.entropy.linear import predict, restore
from astro_vq.entropy.mixing import Mixing
from astro_vq.entropy.threads import in_threads
from astro_vq.errors import FormatError

_LIMIT = 1 << 63


class LinearPlanes:
    """What linear prediction leaves, through pcodec."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None if it is empty or its range too large."""
        mixing = read_mixing(shared.mixing).mixing
        return in_threads(lambda plane: _encode(plane, mixing), planes)

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        mixing = read_mixing(shared.mixing).mixing
        pairs = list(zip(payloads, masks, strict=True))
        return in_threads(lambda pair: _decode(pair[0], pair[1], mixing), pairs)


def _encode(plane: Plane, mixing: Mixing) -> bytes | None:
    if middle(plane) is None:
        return None
    centre = middle_of_first_row(plane)
    inside = np.where(plane.mask, 0, plane.indices - np.int64(centre))
    residuals = predict(inside, plane.mask, mixing)
    return encode_varint(zigzag(centre)) + pack_integers(residuals[~plane.mask])


def _decode(payload: bytes, mask: Mask, mixing: Mixing) -> Indices:
    reader = ByteReader(payload)
    centre = unzigzag(reader.varint())
    if not -_LIMIT <= centre < _LIMIT:
        raise FormatError("damaged pixel stream: its middle is out of range")
    residuals = np.zeros(mask.shape, np.int64)
    residuals[~mask] = unpack_integers(reader.rest(), int(np.count_nonzero(~mask)))
    return np.asarray(restore(residuals, mask, mixing) + np.int64(centre))
