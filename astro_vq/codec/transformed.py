"""Planes that once went through HCOMPRESS with loss, as the few details that were left of them.

The plane itself shows where its blocks lie and what the step was: with the right blocks nearly all
details are multiples of the step. The H-transform is undone a level at a time, as far as that
holds; rows and columns at the edges that fill no block are coded as they are, and pixels that no
multiples give are corrected.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bands import KINDS, Bands, fit_bands
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized, unzigzag, zigzag
from astro_vq.codec.differences import DifferencedPlanes, fill_plane
from astro_vq.codec.haar import Level, count_units, detail_of, join_level, split_level, units
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.planes import Indices, Mask, Plane, middle
from astro_vq.codec.shared import Shared
from astro_vq.entropy.coder import SymbolDecoder, SymbolEncoder
from astro_vq.entropy.local_scale import Selection
from astro_vq.entropy.plain_bits import FieldReader, pack_fields
from astro_vq.entropy.table_models import group_tables, table_model
from astro_vq.entropy.tables import bit_widths, join_residuals, split_residuals
from astro_vq.errors import FormatError

_SMALLEST = 16  # pixels on a side of a plane that is worth splitting
_DEEPEST = 8
_LARGEST_STEP = 1 << 16
_STRAYS = 0.01  # of pixels that may need correction
_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
_LIMIT = 1 << 36
_FITTED_PLANES = 12

Integers = npt.NDArray[np.int64]
_Item = TypeVar("_Item", bound=np.generic)


class _Split(NamedTuple):
    """A level of a plane: its blocks, what they leave over, and where they begin."""

    blocks: Level
    phase: tuple[int, int]
    frame: Integers
    strays: Integers
    corrections: Integers


class TransformedPlanes:
    """Planes as details of their H-transform."""

    def encode(self, planes: Sequence[Plane], shared: Shared, effort: int) -> list[bytes | None]:
        """Return a payload per plane; None where there is no trace of HCOMPRESS."""
        if not shared.bands:
            return [None] * len(planes)
        bands = _read_bands(shared.bands)
        return [_encode(plane, bands, shared, effort) for plane in planes]

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        if not shared.bands:
            raise FormatError("damaged pixel stream: its side information is missing")
        bands = _read_bands(shared.bands)
        pairs = zip(payloads, masks, strict=True)
        return [_decode(payload, mask, bands, shared) for payload, mask in pairs]


def is_transformed(plane: Plane) -> bool:
    """Whether a plane went through HCOMPRESS with loss."""
    return _split(plane) is not None


def fit_transform(planes: Sequence[Plane]) -> bytes:
    """Return models of details fitted to some planes, b'' if they have not been transformed."""
    thin = max(1, len(planes) // _FITTED_PLANES)
    found = [split for plane in planes[::thin] if (split := _split(plane)) is not None]
    if 2 * len(found) < len(planes[::thin]) or not found:
        return b""
    step = found[0][0]
    same = [[s.blocks for s in splits] for own, splits, _ in found if own == step]
    return fit_bands(same, step).to_bytes()


@functools.lru_cache(maxsize=4)
def _read_bands(data: bytes) -> Bands:
    return Bands.read(data)


def _split(plane: Plane) -> tuple[int, list[_Split], Integers] | None:
    """Return the step, the levels of a plane, finest first, and the sums that are left."""
    filled = fill_plane(plane)
    if filled is None or min(filled.shape) < _SMALLEST or middle(plane) is None:
        return None
    step, levels, known = 0, [], ~plane.mask
    for level in range(_DEEPEST):
        if min(filled.shape) < _SMALLEST or (step and 1 << level > step):
            break
        best: _Split | None = None
        for phase in _PHASES:
            region = _region(filled, phase)
            blocks = split_level(region, level)
            unit = step or _find_step(blocks.cross)
            if not unit:
                continue
            tried = _round(blocks, region, _region(known, phase), level, unit)
            few = tried.strays.size <= _STRAYS * region.size
            if few and (best is None or tried.strays.size < best.strays.size):
                own_step = unit
                best = tried._replace(phase=phase, frame=filled[_frame(filled.shape, phase)])
        if best is None:
            break
        step = own_step
        levels.append(best)
        filled = best.blocks.total
        known = np.ones(filled.shape, bool)
    return (step, levels, filled) if levels else None


def _region(plane: npt.NDArray[_Item], phase: tuple[int, int]) -> npt.NDArray[_Item]:
    """Return the part of a plane that whole blocks cover."""
    rows, columns = ((n - p) // 2 * 2 for n, p in zip(plane.shape, phase, strict=True))
    return plane[phase[0] : phase[0] + rows, phase[1] : phase[1] + columns]


def _frame(shape: tuple[int, ...], phase: tuple[int, int]) -> Mask:
    """Return where a plane is not covered by whole blocks."""
    mask = np.ones(shape, bool)
    _region(mask, phase)[...] = False
    return mask


def _find_step(cross: Integers) -> int:
    """Return the step of details, 0 if there is none above 1."""
    size = np.abs(cross[cross != 0])
    if not size.size:
        return 0
    step = int(np.quantile(size, _STRAYS, method="lower"))
    if not 1 < step <= _LARGEST_STEP or np.mean(size % step != 0) > 4 * _STRAYS:
        return 0
    return step


def _round(blocks: Level, region: Integers, known: Mask, level: int, step: int) -> _Split:
    """Return blocks whose details are multiples of their units, and what they get wrong."""
    details = [
        detail_of(count_units(detail, unit), unit, bit)
        for detail, unit, bit in _kinds(blocks, level, step)
    ]
    rounded = Level(blocks.total, *details)
    wrong = (region - join_level(rounded, level)).ravel()
    strays = np.flatnonzero((wrong != 0) & known.ravel())
    return _Split(rounded, (0, 0), np.zeros(0, np.int64), strays, wrong[strays])


def _kinds(blocks: Level, level: int, step: int) -> list[tuple[Integers, int, int]]:
    """Return details, their unit, and the bit that HCOMPRESS rounds them to, of each kind."""
    large, small = units(level, step)
    return [
        (blocks.down, large, 2 << level),
        (blocks.across, large, 2 << level),
        (blocks.cross, small, 1 << level),
    ]


def _encode(plane: Plane, bands: Bands, shared: Shared, effort: int) -> bytes | None:
    found = _split(plane)
    if found is None:
        return None
    step, levels, top = found
    encoder = SymbolEncoder()
    fields: list[tuple[Integers, Integers]] = []
    for level in reversed(range(len(levels))):
        blocks = levels[level].blocks
        for kind, (detail, unit, _) in enumerate(_kinds(blocks, level, step)):
            chosen, guess = bands.select(blocks, level, kind, step)
            fields.append(_put(encoder, chosen, count_units(detail, unit) - guess))
    bits = pack_fields(*(np.concatenate(part) for part in zip(*fields, strict=True)))
    head = encode_varint(step) + encode_varint(len(levels))
    for split in levels:
        head += bytes([2 * split.phase[0] + split.phase[1]]) + _pack_strays(split)
    # frames of all levels, in units of what their pixels are multiples of
    frames = [s.frame // _multiple(level) for level, s in enumerate(levels)]
    frame = np.concatenate(frames)
    head += sized(pack_integers(frame, effort) if frame.size else b"")
    head += sized(encoder.to_bytes()) + sized(bits)
    scaled = Plane(top // _multiple(len(levels)), np.zeros(top.shape, bool))
    rest = DifferencedPlanes().encode([scaled], shared, effort)[0]
    return None if rest is None else head + rest


def _multiple(level: int) -> int:
    """Return what all sums that a level splits are multiples of."""
    return 2 << level if level else 1


def _put(
    encoder: SymbolEncoder, chosen: Selection, residuals: Integers
) -> tuple[Integers, Integers]:
    """Encode residuals in groups of tables; return their plain bits and the number of these."""
    offsets = np.where(chosen.flipped, -residuals, residuals)
    symbols, bits, widths = split_residuals(offsets >> chosen.shift, chosen.far)
    low = offsets & (np.left_shift(1, chosen.shift) - 1)
    order, groups = group_tables(chosen.table.ravel())
    ordered = symbols.ravel().astype(np.int32)[order]
    for number, start, stop in groups:
        encoder.encode(ordered[start:stop], table_model(number))
    return (bits << chosen.shift | low).ravel(), (widths + chosen.shift).ravel()


def _take(decoder: SymbolDecoder, fields: FieldReader, chosen: Selection) -> Integers:
    """Undo `_put`."""
    order, groups = group_tables(chosen.table.ravel())
    flat = np.empty(order.size, np.int64)
    for number, start, stop in groups:
        flat[order[start:stop]] = decoder.decode(stop - start, table_model(number))
    symbols = flat.reshape(chosen.table.shape)
    widths = bit_widths(symbols, chosen.far) + chosen.shift
    bits = fields.read(widths.ravel()).reshape(symbols.shape)
    high = join_residuals(symbols, chosen.far, bits >> chosen.shift)
    offsets = (high << chosen.shift) + (bits & (np.left_shift(1, chosen.shift) - 1))
    return np.asarray(np.where(chosen.flipped, -offsets, offsets))


def _pack_strays(split: _Split) -> bytes:
    gaps = np.diff(split.strays, prepend=0).tolist()
    pairs = zip(gaps, split.corrections.tolist(), strict=True)
    body = b"".join(encode_varint(gap) + encode_varint(zigzag(value)) for gap, value in pairs)
    return encode_varint(len(gaps)) + body


def _decode(payload: bytes, mask: Mask, bands: Bands, shared: Shared) -> Indices:
    reader = ByteReader(payload)
    step, depth = reader.varint(_LARGEST_STEP), reader.varint(_DEEPEST)
    if not step or not depth:
        raise FormatError("damaged pixel stream: impossible details")
    shapes: list[tuple[int, ...]] = [mask.shape]
    phases, strays = [], []
    for _ in range(depth):
        phase = divmod(reader.byte(), 2)
        if phase[0] > 1 or min(shapes[-1]) < _SMALLEST:
            raise FormatError("damaged pixel stream: impossible details")
        rows, columns = ((n - p) // 2 for n, p in zip(shapes[-1], phase, strict=True))
        strays.append(_read_strays(reader, 4 * rows * columns))
        phases.append(phase)
        shapes.append((rows, columns))
    frames = [_frame(shape, phase) for shape, phase in zip(shapes, phases, strict=False)]
    counts = [int(np.count_nonzero(frame)) for frame in frames]
    packed = reader.sized()
    edges = unpack_integers(packed, sum(counts)) if sum(counts) else np.zeros(0, np.int64)
    edge_parts = np.split(edges, np.cumsum(counts)[:-1])
    decoder = SymbolDecoder(reader.sized())
    fields = FieldReader(reader.sized())
    no_holes = np.zeros(shapes[-1], bool)
    total = DifferencedPlanes().decode([reader.rest()], [no_holes], shared)[0] * _multiple(depth)
    for level in reversed(range(depth)):
        total = np.clip(total, -_LIMIT, _LIMIT) & -(4 << level)
        blocks = Level(total, *(np.zeros(total.shape, np.int64) for _ in range(KINDS)))
        for kind, (_, unit, bit) in enumerate(_kinds(blocks, level, step)):
            chosen, guess = bands.select(blocks, level, kind, step)
            count = np.clip(_take(decoder, fields, chosen) + guess, -_LIMIT, _LIMIT)
            details = list(blocks[1:])
            details[kind] = np.clip(detail_of(count, unit, bit), -_LIMIT, _LIMIT) & -bit
            blocks = Level(total, *details)
        plane = np.empty(shapes[level], np.int64)
        region = join_level(blocks, level)
        places, corrections = strays[level]
        region.ravel()[places] += corrections
        _region(plane, phases[level])[...] = region
        plane[frames[level]] = np.clip(edge_parts[level], -_LIMIT, _LIMIT) * _multiple(level)
        total = plane
    decoder.finish()
    return total


def _read_strays(reader: ByteReader, size: int) -> tuple[Integers, Integers]:
    count = reader.varint(size)
    gaps, values = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for i in range(count):
        gaps[i], values[i] = reader.varint(size), unzigzag(reader.varint(_LIMIT))
    places = np.cumsum(gaps)
    if count and places[-1] >= size:
        raise FormatError("damaged pixel stream: a correction outside the tile")
    return places, values
