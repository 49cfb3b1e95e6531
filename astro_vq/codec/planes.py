"""Coders of planes of integers: what the payload of a quantised tile is made of.

A plane is a tile of int64 indices with a mask of pixels whose index means nothing. Coders give
back the indices outside the mask; inside it anything.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, unzigzag
from astro_vq.codec.lattice import coarsest, count_levels, phases
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.predict import predict, round_prediction
from astro_vq.codec.shared import Shared
from astro_vq.errors import FormatError

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SLOWEST_FAST = 1
"""Up to this effort streams are larger, and made in a fraction of the time."""

RANGE = 1 << 27  # predictors take indices that are closer than this to the middle of their tile


class Plane(NamedTuple):
    """A tile of indices; `mask` is True where they mean nothing."""

    indices: Indices
    mask: Mask


class PlaneDecoder(Protocol):
    """A way from bytes to planes of integers, batched over planes."""

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        ...


class PlaneCoder(PlaneDecoder, Protocol):
    """A way there and back."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None where the coder does not apply."""
        ...


class PackedPlanes:
    """Indices in C order through pcodec; masked ones are left out."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane."""
        return [pack_integers(p.indices[~p.mask], effort) for p in planes]

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        planes = []
        for payload, mask in zip(payloads, masks, strict=True):
            plane = np.zeros(mask.shape, np.int64)
            plane[~mask] = unpack_integers(payload, int(np.count_nonzero(~mask)))
            planes.append(plane)
        return planes


class PredictedPlanes:
    """Residuals of coarse-to-fine linear prediction through pcodec."""

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        pairs = zip(payloads, masks, strict=True)
        return [self._decode_one(payload, mask, shared) for payload, mask in pairs]

    def _decode_one(self, payload: bytes, mask: Mask, shared: Shared) -> Indices:
        levels = count_levels(mask.shape)
        reader = ByteReader(payload)
        centre = unzigzag(reader.varint())
        if not levels or not -(2**63) <= centre < 2**63:
            raise FormatError("damaged pixel stream: this tile cannot have been predicted")
        work, open_pixels = np.zeros((1, *mask.shape), np.int64), ~mask[None]
        known = coarsest(open_pixels, levels)
        base = unpack_integers(reader.sized(), int(np.count_nonzero(known)))
        coarsest(work, levels)[known] = np.clip(base, -RANGE, RANGE)
        wanted = int(np.count_nonzero(open_pixels)) - base.size
        residuals, at = unpack_integers(reader.rest(), wanted), 0
        for phase in phases(levels):
            weights = shared.weights_of(phase)
            guess = round_prediction(predict(phase.neighbours(work), weights))
            pixels, known = phase.pixels(work), phase.pixels(open_pixels)
            n = int(np.count_nonzero(known))
            guess[known] += residuals[at : at + n]
            pixels[...] = np.clip(guess, -2 * RANGE, 2 * RANGE)
            at += n
        return np.asarray(work[0] + centre)


def middle(plane: Plane) -> int | None:
    """Return the middle of the range of a plane, or None if the range is too large or empty."""
    inside = plane.indices[~plane.mask]
    if not inside.size:
        return None
    low, high = int(inside.min()), int(inside.max())
    return None if high - low >= 2 * RANGE else (low + high) // 2
