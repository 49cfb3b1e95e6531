"""Planes of integers through the learned model: network, templates, range coder in lanes.

For each phase of the lattice, over all pixels of all planes of a shape at once: linear
prediction from known neighbours -> context -> exact-integer network -> template, shift and
scale -> interval for the range coder. Bits that a large scale drops, and pixels outside their
window, follow as uniform symbols.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.engine_data import PixelModel, load_engine
from astro_vq.codec.lattice import TAPS, Phase, coarsest, count_levels, phases
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.planes import RANGE, Indices, Mask, Plane, middle
from astro_vq.codec.predict import predict
from astro_vq.codec.shared import Shared
from astro_vq.entropy.lanes import PRECISION, Interval, LaneDecoder, encode_rounds
from astro_vq.entropy.templates import Located
from astro_vq.errors import FormatError

_PIXELS_PER_LANE = 4096
_MOST_LANES = 16
_RAW_BITS = 12  # dropped bits and escapes go as uniform symbols of so many bits
_ESCAPE_BITS = 36  # enough for twice the range of indices


class _Group(NamedTuple):
    """Planes of one shape that are coded together."""

    members: list[int]
    shape: tuple[int, int]


class ModelledPlanes:
    """Coarse-to-fine coding under the learned model of pixels."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None if it is too narrow or its range too large."""
        payloads: list[bytes | None] = [None] * len(planes)
        centres = [middle(p) for p in planes]
        for group in _groups([p.mask.shape for p in planes]):
            members = [i for i in group.members if centres[i] is not None]
            if members:
                chosen = [planes[i] for i in members]
                middles = np.array([centres[i] for i in members], np.int64)
                for i, payload in zip(
                    members, _encode_group(chosen, middles, shared, effort), strict=True
                ):
                    payloads[i] = payload
        return payloads

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        for mask in masks:
            if not count_levels((mask.shape[0], mask.shape[1])):
                raise FormatError("damaged pixel stream: this tile is too small for its coder")
        planes: list[Indices] = [np.zeros((0, 0), np.int64)] * len(masks)
        for group in _groups([m.shape for m in masks]):
            mask = np.array([masks[i] for i in group.members])
            work = _decode_group([payloads[i] for i in group.members], mask, shared)
            for i, plane in zip(group.members, work, strict=True):
                planes[i] = plane
        return planes


def _groups(shapes: Sequence[tuple[int, ...]]) -> Iterator[_Group]:
    """Yield planes of the same shape together; those too small for a level are left out."""
    found: dict[tuple[int, int], list[int]] = {}
    for i, (height, width) in enumerate(shapes):
        if count_levels((height, width)):
            found.setdefault((height, width), []).append(i)
    for shape, members in found.items():
        yield _Group(members, shape)


def _lanes(shape: tuple[int, int]) -> int:
    return int(np.clip(shape[0] * shape[1] // _PIXELS_PER_LANE, 1, _MOST_LANES))


def _locate(work: Indices, phase: Phase, shared: Shared, model: PixelModel) -> Located:
    """Return the distribution of every pixel of a phase, (B * h * w,) in C order."""
    weights = shared.weights_of(phase)
    neighbours = phase.neighbours(work).reshape(TAPS, -1)
    return model.locate(neighbours, predict(neighbours, weights), shared.statistics_of(phase))


def _encode_group(
    planes: Sequence[Plane], centres: Indices, shared: Shared, effort: int
) -> list[bytes]:
    engine = load_engine()
    mask = np.array([p.mask for p in planes])
    indices = np.array([p.indices for p in planes])
    work = np.where(mask, 0, indices - centres[:, None, None])
    shape = (mask.shape[1], mask.shape[2])
    levels, count = count_levels(shape), len(planes)
    heads = []
    for row, hole, centre in zip(work, mask, centres.tolist(), strict=True):
        base = coarsest(row[None], levels)[~coarsest(hole[None], levels)]
        heads.append(encode_varint(zigzag(centre)) + sized(pack_integers(base, effort)))
    rounds: list[Interval] = []
    for phase in phases(levels):
        model = engine[phase.kind]
        where = _locate(work, phase, shared, model)
        pixels, holes = phase.pixels(work), phase.pixels(mask)
        guess = np.clip(where.centre >> 8, -2 * RANGE, 2 * RANGE).reshape(pixels.shape)
        pixels[holes] = guess[holes]
        values, known = pixels.reshape(-1), ~holes.reshape(-1)
        start, frequency = model.templates.intervals(values >> where.drop, where)
        rounds.append(_as_round(start, np.where(known, frequency, 0), count))
        escape = known & (start == 0)
        bits = np.where(escape, _ESCAPE_BITS, np.where(known, where.drop, 0))
        raw = np.where(escape, values + (1 << _ESCAPE_BITS - 1), values & ((1 << bits) - 1))
        rounds.extend(_raw_rounds(raw, bits, count))
    streams = encode_rounds(rounds, count, _lanes(shape))
    return [head + stream for head, stream in zip(heads, streams, strict=True)]


def _decode_group(payloads: Sequence[bytes], mask: Mask, shared: Shared) -> Indices:
    engine = load_engine()
    shape = (mask.shape[1], mask.shape[2])
    levels, count = count_levels(shape), len(payloads)
    work = np.zeros(mask.shape, np.int64)
    centres, streams = np.zeros(count, np.int64), []
    for b, payload in enumerate(payloads):
        reader = ByteReader(payload)
        centre = unzigzag(reader.varint())
        if not -(2**63) <= centre < 2**63:
            raise FormatError("damaged pixel stream: a middle beyond 64 bits")
        centres[b] = centre
        known = ~coarsest(mask[b : b + 1], levels)
        base = unpack_integers(reader.sized(), int(np.count_nonzero(known)))
        coarsest(work[b : b + 1], levels)[known] = np.clip(base, -RANGE, RANGE)
        streams.append(reader.rest())
    decoder = LaneDecoder(streams, _lanes(shape))
    for phase in phases(levels):
        model = engine[phase.kind]
        where = _locate(work, phase, shared, model)
        pixels, holes = phase.pixels(work), phase.pixels(mask)
        known = ~holes.reshape(count, -1)
        per_plane = known.shape[1]

        def find(
            slots: Indices,
            places: tuple[Indices, Indices],
            where: Located = where,
            model: PixelModel = model,
            per_plane: int = per_plane,
        ) -> tuple[Indices, Indices, Indices]:
            return model.templates.find(slots, where.at(places[0] * per_plane + places[1]))

        values = decoder.take(known, find).reshape(-1)
        inside = known.reshape(-1)
        escape = inside & (values < where.low)
        bits = np.where(escape, _ESCAPE_BITS, np.where(inside, where.drop, 0))
        raw = _take_raw(decoder, bits, count)
        values = np.where(escape, raw - (1 << _ESCAPE_BITS - 1), (values << where.drop) + raw)
        values = np.where(inside, values, where.centre >> 8)
        pixels[...] = np.clip(values, -2 * RANGE, 2 * RANGE).reshape(pixels.shape)
    decoder.finish()
    return np.asarray(work + centres[:, None, None])


def _as_round(start: Indices, frequency: Indices, count: int) -> Interval:
    return Interval(start.reshape(count, -1), frequency.reshape(count, -1))


def _raw_rounds(raw: Indices, bits: Indices, count: int) -> Iterator[Interval]:
    """Yield rounds of uniform symbols that hold the lowest `bits` of `raw`, lowest part first."""
    while bits.any():
        part = np.minimum(bits, _RAW_BITS)
        shift = PRECISION - part
        symbol = raw & ((1 << part) - 1)
        frequency = np.where(part > 0, np.int64(1) << shift, 0)
        yield _as_round(np.where(part > 0, symbol << shift, 0), frequency, count)
        raw, bits = raw >> part, bits - part


def _take_raw(decoder: LaneDecoder, bits: Indices, count: int) -> Indices:
    """Undo `_raw_rounds`."""
    raw, done = np.zeros_like(bits), np.zeros_like(bits)
    while bits.any():
        part = np.minimum(bits, _RAW_BITS)
        shift = (PRECISION - part).reshape(count, -1)

        def find(
            slots: Indices, places: tuple[Indices, Indices], shift: Indices = shift
        ) -> tuple[Indices, Indices, Indices]:
            by = shift[places]
            symbol = slots >> by
            return symbol, symbol << by, np.int64(1) << by

        symbols = decoder.take((part > 0).reshape(count, -1), find).reshape(-1)
        raw += symbols << done
        done, bits = done + part, bits - part
    return raw
