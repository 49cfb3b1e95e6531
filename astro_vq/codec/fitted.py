"""The coder that is fitted to the image: linear prediction, local scale, static tables.

For each pixel of a phase the predictor gives a middle in sixteenths of a step and the scale model
a width; together they pick a static table. Pixels of one table are coded as a group. What is
fitted (weights, scale models) lies in the side information of the HDU.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, unzigzag
from astro_vq.codec.lattice import Phase, coarsest, count_levels, phases
from astro_vq.codec.planes import RANGE, Indices, Mask
from astro_vq.codec.predict import predict, round_prediction
from astro_vq.codec.residues import Residues
from astro_vq.codec.shared import Shared
from astro_vq.entropy.coder import SymbolDecoder
from astro_vq.entropy.local_scale import Selection, local_logs, select_tables
from astro_vq.entropy.plain_bits import FieldReader
from astro_vq.entropy.table_models import group_tables, table_model
from astro_vq.entropy.tables import bit_widths, join_residuals
from astro_vq.errors import FormatError

_LIMIT = 2 * RANGE
Integers = npt.NDArray[np.int64]


class FittedPlanes:
    """Planes through predictor and tables that were fitted to their image."""

    def decode(
        self, payloads: Sequence[bytes], masks: Sequence[Mask], shared: Shared
    ) -> list[Indices]:
        """Return the indices of each plane."""
        if not shared.scales:
            raise FormatError("damaged pixel stream: its side information is missing")
        planes: list[Indices] = [np.zeros(0, np.int64)] * len(payloads)
        for shape, members in _by_shape(masks).items():
            levels = count_levels(shape)
            if not levels:
                raise FormatError("damaged pixel stream: this tile is too narrow for its coder")
            stack = _decode_stack(
                [payloads[i] for i in members], [masks[i] for i in members], levels, shared
            )
            for i, plane in zip(members, stack, strict=True):
                planes[i] = plane
        return planes


def _by_shape(masks: Sequence[Mask]) -> dict[tuple[int, int], list[int]]:
    groups: dict[tuple[int, int], list[int]] = {}
    for i, mask in enumerate(masks):
        groups.setdefault((mask.shape[0], mask.shape[1]), []).append(i)
    return groups


def _select(residues: Residues, phase: Phase, shared: Shared) -> tuple[Integers, Selection]:
    """Return predictions in whole steps and tables of the pixels of a phase."""
    neighbours = residues.neighbours(phase)
    prediction = predict(neighbours, shared.weights_of(phase), residues.means(phase))
    logs = local_logs(neighbours, prediction)
    model, part = shared.scale_model_of(phase), phase.number % 4
    if shared.loop == 1:
        selection = select_tables(logs, prediction, model, part)
        return np.clip(selection.middle, -_LIMIT, _LIMIT), selection
    selection = select_tables(logs, np.zeros_like(prediction), model, part)
    return np.clip(round_prediction(prediction), -_LIMIT, _LIMIT), selection


def _fill_base(base: Integers, where: Mask) -> None:
    """Put the median of the coarsest pixels where they are masked."""
    known = base[where]
    base[~where] = np.sort(known)[known.size // 2] if known.size else 0


def _decode_stack(
    payloads: Sequence[bytes], masks: Sequence[Mask], levels: int, shared: Shared
) -> list[Indices]:
    known = np.stack([~mask for mask in masks])
    work = np.zeros(known.shape, np.int64)
    tiles = range(len(payloads))
    centres, decoders, fields = [], [], []
    for i in tiles:
        reader = ByteReader(payloads[i])
        centres.append(unzigzag(reader.varint()))
        where = coarsest(known, levels)[i]
        steps = [unzigzag(reader.varint(4 * _LIMIT)) for _ in range(int(where.sum()))]
        coarsest(work, levels)[i][where] = np.clip(np.cumsum(steps), -RANGE, RANGE)
        _fill_base(coarsest(work, levels)[i], where)
        decoders.append(SymbolDecoder(reader.sized()))
        fields.append(FieldReader(reader.rest()))
    for phase in phases(levels):
        if phase.number == 0:
            residues = Residues(work, phase.level)
        guess, chosen = _select(residues, phase, shared)
        pixels, open_pixels = phase.pixels(work), phase.pixels(known)
        symbols = np.full(guess.shape, 0, np.int64)
        bits = np.zeros(guess.shape, np.int64)
        for i in tiles:
            where = open_pixels[i]
            order, groups = group_tables(chosen.table[i][where])
            ordered = np.empty(order.size, np.int64)
            for number, start, stop in groups:
                ordered[start:stop] = decoders[i].decode(stop - start, table_model(number))
            flat = np.empty(order.size, np.int64)
            flat[order] = ordered
            symbols[i][where] = flat
            widths = bit_widths(flat, chosen.far[i][where]) + chosen.shift[i][where]
            bits[i][where] = fields[i].read(widths)
        high = join_residuals(symbols, chosen.far, bits >> chosen.shift)
        low = bits & (np.left_shift(1, chosen.shift) - 1)
        offsets = (high << chosen.shift) + low
        decoded = guess + shared.loop * np.where(chosen.flipped, -offsets, offsets)
        pixels[...] = np.clip(np.where(open_pixels, decoded, guess), -_LIMIT, _LIMIT)
        residues.close(phase)
    for decoder in decoders:
        decoder.finish()
    if any(not -(2**63) <= centre < 2**63 for centre in centres):
        raise FormatError("damaged pixel stream: its middle is out of range")
    return [np.asarray(work[i] + np.int64(centres[i])) for i in tiles]
