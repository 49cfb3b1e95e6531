"""The full search: which of all codes is most worth its bits at a few cells, with no product kept.

For the encoder alone; see `astro_vq.models.sparse_products`.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_atoms import FloatArray
from astro_vq.models.sparse_products import (
    LANES,
    ROWS,
    SUM,
    VECTOR,
    VECTORS,
    WIDE,
    Builder,
    IntArray,
    Ir,
    build_sums,
    data_of,
    load,
    pack_weights,
    place_at,
    spread,
)

NEVER = 1e30
"""Cost of a code that is none."""

_WORTHLESS = -3e30


def pack_cost(cost: FloatArray) -> FloatArray:
    """Return the cost (N,) of codes with that of none for the columns that `pack` adds."""
    return pack_weights(cost, NEVER)


@intrinsic
def _search(
    typing: Ir,
    source: Ir,
    starts: Ir,
    matrix: Ir,
    strip: Ir,
    stride: Ir,
    run: Ir,
    runs: Ir,
    weights: Ir,
    cost: Ir,
    factors: Ir,
    worth: Ir,
    gains: Ir,
    codes: Ir,
) -> Builder:
    """Raise what is best in each lane (ROWS, LANES) to what a strip of codes has."""

    def build(context: Ir, builder: Ir, signature: Ir, values: Ir) -> Ir:
        sums = build_sums(context, builder, signature.args, values)
        word = values[3].type
        given = zip((weights, cost, factors, worth, gains, codes), values[7:], strict=True)
        weigh, price, scale, *best = (data_of(context, builder, *pair) for pair in given)
        first = builder.mul(values[3], word(WIDE))
        weigh, price = (builder.gep(start, [first]) for start in (weigh, price))
        whole = ir.IntType(32)
        lanes = ir.VectorType(whole, LANES)
        at = spread(builder, builder.trunc(first, whole), lanes)
        prices = [load(builder, price, v * LANES) for v in range(VECTORS)]
        heavy = [load(builder, weigh, v * LANES) for v in range(VECTORS)]
        numbers = [
            builder.add(at, ir.Constant(lanes, [v * LANES + k for k in range(LANES)]))
            for v in range(VECTORS)
        ]
        for r, row in enumerate(sums):
            factor = spread(builder, builder.load(builder.gep(scale, [word(r)])), VECTOR)
            kinds = (VECTOR, VECTOR, lanes)
            places = [
                place_at(builder, start, r * LANES, kind)
                for start, kind in zip(best, kinds, strict=True)
            ]
            most = [builder.load(place, align=4) for place in places]
            for vector, part, dear, number in zip(row, heavy, prices, numbers, strict=True):
                size = builder.fmul(builder.fmul(vector, part, flags=SUM), factor, flags=SUM)
                value = builder.fsub(builder.fmul(size, size, flags=SUM), dear, flags=SUM)
                is_more = builder.fcmp_ordered(">", value, most[0])
                new = value, vector, number
                most = [builder.select(is_more, *pair) for pair in zip(new, most, strict=True)]
            for value, place in zip(most, places, strict=True):
                builder.store(value, place, align=4)
        return context.get_dummy_value()

    numbers = [types.intp] * 4
    rest = weights, cost, factors, worth, gains, codes
    return types.void(source, starts, matrix, *numbers, *rest), build


@compiled
def search(
    source: FloatArray,
    starts: IntArray,
    matrix: FloatArray,
    weights: FloatArray,
    cost: FloatArray,
    factors: FloatArray,
    worth: FloatArray,
    gains: FloatArray,
    codes: np.ndarray,
) -> None:
    """Write which code is most worth its bits at ROWS cells; the first of equal ones.

    Parameters
    ----------
    source, starts
        Latents; see `astro_vq.models.sparse_products.multiply`. Each cell's are one run.
    matrix : ndarray of float32, shape (n, D, WIDE)
        Codes, packed.
    weights, cost : ndarray of float32, shape (n * WIDE,)
        Of the codes, from `pack_weights` and `pack_cost`.
    factors : ndarray of float32, shape (ROWS,)
        What is to exceed 1 is ``(gain * weight * factor)**2 - cost``.
    worth, gains : ndarray of float32, shape (ROWS, LANES)
        That, and the gain, in their first columns; the others are overwritten.
    codes : ndarray of int32, shape (ROWS, LANES)
        The code, too.
    """
    worth[:] = _WORTHLESS
    gains[:] = 0
    codes[:] = 0
    for strip in range(matrix.shape[0]):
        _search(
            source,
            starts,
            matrix,
            strip,
            0,
            matrix.shape[1],
            1,
            weights,
            cost,
            factors,
            worth,
            gains,
            codes,
        )
    for r in range(ROWS):
        best = 0
        for k in range(1, LANES):
            more, same = worth[r, k] > worth[r, best], worth[r, k] == worth[r, best]
            if more or (same and codes[r, k] < codes[r, best]):
                best = k
        worth[r, 0], gains[r, 0] = worth[r, best], gains[r, best]
        codes[r, 0] = codes[r, best]
