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
    """Return models as bytes: how many, then level and kind before each."""
    out = encode_varint(len(models))
    for (level, kind), model in models.items():
        out += encode_varint(level * KINDS + kind) + encode_model(model)
    return out


def encode_model(model: ScaleModel) -> bytes:
    """Return one model as bytes."""
    numbers = (*np.diff(model.constants, prepend=0).tolist(), *model.slopes, model.first_class)
    out = b"".join(encode_varint(zigzag(v)) for v in numbers) + encode_varint(len(model.choices))
    return out + bytes(shape * _STEPS + step + _STEPS // 2 for shape, step in model.choices)


def decode_scales(reader: ByteReader) -> dict[tuple[int, int], ScaleModel]:
    """Read what `encode_scales` wrote.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    models: dict[tuple[int, int], ScaleModel] = {}
    for _ in range(reader.varint(32 * KINDS)):
        level, kind = divmod(reader.varint(32 * KINDS - 1), KINDS)
        steps = [unzigzag(reader.varint(_LIMIT)) for _ in range(4)]
        a, b, c, d = itertools.accumulate(steps)
        slopes = [unzigzag(reader.varint(_LIMIT)) for _ in range(3)]
        first = unzigzag(reader.varint(_LIMIT))
        codes = reader.take(reader.varint(255))
        choices = tuple((c // _STEPS, c % _STEPS - _STEPS // 2) for c in codes)
        if not choices or max(choice[0] for choice in choices) >= count_shapes():
            raise FormatError("damaged pixel stream: a scale model without a known shape")
        models[level, kind] = ScaleModel(
            (a, b, c, d), (slopes[0], slopes[1], slopes[2]), first, choices
        )
    if models and any((0, kind) not in models for kind in range(KINDS)):
        raise FormatError("damaged pixel stream: the finest level has no scale model")
    return models
