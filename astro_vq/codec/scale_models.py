"""Scale models as bytes."""

import itertools

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, unzigzag, zigzag
from astro_vq.codec.lattice import KINDS
from astro_vq.entropy.local_scale import ScaleModel
from astro_vq.entropy.tables import count_shapes
from astro_vq.errors import FormatError

_STEPS = 32  # corrections run from -16 to 15
_LIMIT = 1 << 20


def encode_scales(models: dict[tuple[int, int], ScaleModel]) -> bytes:
    """Return the models of the finest levels as bytes; all three kinds of each are there."""
    levels = len(models) // KINDS
    out = encode_varint(levels)
    for level in range(levels):
        for kind in range(KINDS):
            model = models[level, kind]
            numbers = (*np.diff(model.constants, prepend=0).tolist(), *model.slopes)
            out += b"".join(encode_varint(zigzag(v)) for v in (*numbers, model.first_class))
            out += encode_varint(len(model.choices))
            out += bytes(shape * _STEPS + step + _STEPS // 2 for shape, step in model.choices)
    return out


def decode_scales(reader: ByteReader) -> dict[tuple[int, int], ScaleModel]:
    """Read what `encode_scales` wrote.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    models: dict[tuple[int, int], ScaleModel] = {}
    for level in range(reader.varint(32)):
        for kind in range(KINDS):
            steps = [unzigzag(reader.varint(_LIMIT)) for _ in range(4)]
            a, b, c, d = itertools.accumulate(steps)
            slopes = [unzigzag(reader.varint(_LIMIT)) for _ in range(3)]
            first = unzigzag(reader.varint(_LIMIT))
            codes = reader.take(reader.varint(255))
            choices = tuple((c // _STEPS, c % _STEPS - _STEPS // 2) for c in codes)
            if not choices or max(choice[0] for choice in choices) >= count_shapes():
                raise FormatError("damaged pixel stream: a scale model without a known shape")
            slope = (slopes[0], slopes[1], slopes[2])
            models[level, kind] = ScaleModel((a, b, c, d), slope, first, choices)
    return models
