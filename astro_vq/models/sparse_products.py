"""Products of a few rows at a time with a matrix, kept in registers: what BLAS is too large for.

Rows may lie anywhere in an array and may overlap, as patches of an image do, so that nothing is
gathered first. Sums run along each row from its first value on, whichever rows are taken together,
so that results depend neither on these nor on the number of threads. For the encoder alone.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled
from astro_vq.models.sparse_atoms import FloatArray


def _has_large_vectors() -> bool:
    """Return whether the processor has vectors of 16 values."""
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
    except RuntimeError:  # not known
        return False


_IS_LARGE = _has_large_vectors()
LANES, VECTORS = 16, 3 if _IS_LARGE else 1
"""Values of a vector, and vectors of a row that are multiplied at once."""

ROWS = 8 if _IS_LARGE else 6
"""Rows that are multiplied at once: their sums fill the registers."""

WIDE = LANES * VECTORS
"""Columns of a matrix that are multiplied at once; there are a multiple of it in packed ones."""

_FLOAT = ir.FloatType()
VECTOR = ir.VectorType(_FLOAT, LANES)
SUM = ("contract",)
"""Multiply and add may be one instruction."""

_LARGEST = ("nnan", "nsz")

IntArray = NDArray[np.int64]
Ir = Any
"""What belongs to numba or llvmlite, which have no types."""

Builder = tuple[Ir, Callable[..., Ir]]


def pack(columns: FloatArray) -> FloatArray:
    """Return a matrix (K, N) as strips (n, K, WIDE) of its columns, with zeros at the end."""
    rows, number = columns.shape
    strips = -(-number // WIDE)
    out = np.zeros((rows, strips * WIDE), np.float32)
    out[:, :number] = columns
    return np.ascontiguousarray(out.reshape(rows, strips, WIDE).transpose(1, 0, 2))


def pack_weights(weights: FloatArray, none: float = 0.0) -> FloatArray:
    """Return weights (N,) of columns, with another for those that `pack` adds."""
    return np.pad(weights, (0, -len(weights) % WIDE), constant_values=none)


def build_sums(context: Ir, builder: Ir, kinds: Ir, values: Ir) -> list[list[Ir]]:
    """Build the sums of ROWS rows times a strip of a packed matrix, as vectors."""
    source, starts, matrix = (
        data_of(context, builder, kind, value)
        for kind, value in zip(kinds[:3], values[:3], strict=True)
    )
    strip, stride, run, runs = values[3:7]
    word = strip.type
    first = builder.mul(strip, builder.mul(builder.mul(run, runs), word(WIDE)))
    columns = builder.gep(matrix, [first])
    rows = [
        builder.gep(source, [builder.load(builder.gep(starts, [word(r)]))]) for r in range(ROWS)
    ]
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(VECTORS)] for _ in range(ROWS)]
    for row in sums:
        for place in row:
            builder.store(zero, place)
    with cgutils.for_range(builder, runs) as outer, cgutils.for_range(builder, run) as inner:
        at = builder.add(builder.mul(outer.index, stride), inner.index)
        k = builder.add(builder.mul(outer.index, run), inner.index)
        values = builder.gep(columns, [builder.mul(k, word(WIDE))])
        parts = [load(builder, values, v * LANES) for v in range(VECTORS)]
        for r in range(ROWS):
            value = spread(builder, builder.load(builder.gep(rows[r], [at])), VECTOR)
            for place, part in zip(sums[r], parts, strict=True):
                product = builder.fmul(value, part, flags=SUM)
                builder.store(builder.fadd(builder.load(place), product, flags=SUM), place)
    return [[builder.load(place) for place in row] for row in sums]


def data_of(context: Ir, builder: Ir, kind: Ir, value: Ir) -> Ir:
    """Return where the values of an array begin."""
    return context.make_array(kind)(context, builder, value).data


def place_at(builder: Ir, start: Ir, offset: int, kind: Ir = VECTOR) -> Ir:
    """Return the place of a vector some values after a place."""
    place = builder.gep(start, [ir.Constant(ir.IntType(64), offset)])
    return builder.bitcast(place, kind.as_pointer())


def load(builder: Ir, start: Ir, offset: int) -> Ir:
    """Return the vector some values after a place."""
    return builder.load(place_at(builder, start, offset), align=4)


def spread(builder: Ir, value: Ir, kind: Ir) -> Ir:
    """Return a vector of a value."""
    nothing = ir.Constant(kind, ir.Undefined)
    whole = ir.IntType(32)
    first = builder.insert_element(nothing, value, ir.Constant(whole, 0))
    zeros = ir.Constant(ir.VectorType(whole, LANES), [0] * LANES)
    return builder.shuffle_vector(first, nothing, zeros)


@intrinsic
def _multiply(
    typing: Ir,
    source: Ir,
    starts: Ir,
    matrix: Ir,
    strip: Ir,
    stride: Ir,
    run: Ir,
    runs: Ir,
    out: Ir,
    width: Ir,
) -> Builder:
    """Write products of rows with a strip to an array (ROWS, width)."""

    def build(context: Ir, builder: Ir, signature: Ir, values: Ir) -> Ir:
        sums = build_sums(context, builder, signature.args, values)
        to = data_of(context, builder, out, values[7])
        word = values[3].type
        first = builder.mul(values[3], word(WIDE))
        for r, row in enumerate(sums):
            start = builder.gep(to, [builder.add(first, builder.mul(values[8], word(r)))])
            for v, vector in enumerate(row):
                builder.store(vector, place_at(builder, start, v * LANES), align=4)
        return context.get_dummy_value()

    numbers = [types.intp] * 4
    return types.void(source, starts, matrix, *numbers, out, types.intp), build


@intrinsic
def _find_largest(
    typing: Ir,
    source: Ir,
    starts: Ir,
    matrix: Ir,
    strip: Ir,
    stride: Ir,
    run: Ir,
    runs: Ir,
    weights: Ir,
    even: Ir,
    weighted: Ir,
) -> Builder:
    """Raise values (ROWS,) to the largest sizes of products with a strip, even and weighted."""

    def build(context: Ir, builder: Ir, signature: Ir, values: Ir) -> Ir:
        sums = build_sums(context, builder, signature.args, values)
        word = values[3].type
        kinds = zip((weights, even, weighted), values[7:], strict=True)
        places = [data_of(context, builder, *pair) for pair in kinds]
        first = builder.gep(places[0], [builder.mul(values[3], word(WIDE))])
        factors = [load(builder, first, v * LANES) for v in range(VECTORS)]
        size = _function(builder, "llvm.fabs.v16f32", VECTOR)
        largest = _function(builder, "llvm.vector.reduce.fmax.v16f32", _FLOAT)

        def larger(one: Ir, other: Ir) -> Ir:
            is_larger = builder.fcmp_ordered(">", one, other, flags=_LARGEST)
            return builder.select(is_larger, one, other, flags=_LARGEST)

        for r, row in enumerate(sums):
            sizes = [builder.call(size, [vector]) for vector in row]
            heavy = [builder.fmul(s, factor) for s, factor in zip(sizes, factors, strict=True)]
            for vectors, place in ((sizes, places[1]), (heavy, places[2])):
                most = vectors[0]
                for vector in vectors[1:]:
                    most = larger(most, vector)
                value = builder.call(largest, [most], fastmath=_LARGEST)
                to = builder.gep(place, [word(r)])
                builder.store(larger(value, builder.load(to)), to)
        return context.get_dummy_value()

    numbers = [types.intp] * 4
    return types.void(source, starts, matrix, *numbers, weights, even, weighted), build


def _function(builder: Ir, name: str, result: Ir) -> Ir:
    kind = ir.FunctionType(result, [VECTOR])
    return cgutils.get_or_insert_function(builder.module, kind, name)


@compiled
def multiply(
    source: FloatArray,
    starts: IntArray,
    stride: int,
    run: int,
    matrix: FloatArray,
    out: FloatArray,
) -> None:
    """Write products of ROWS rows with a matrix.

    Parameters
    ----------
    source : ndarray of float32, shape (N,)
        What rows are parts of.
    starts : ndarray of int64, shape (ROWS,)
        Where each begins.
    stride, run : int
        A row is made of runs of so many values, the next of which begins a stride later.
    matrix : ndarray of float32, shape (n, K, WIDE)
        From `pack`.
    out : ndarray of float32, shape (ROWS, n * WIDE)
        The products.
    """
    for strip in range(matrix.shape[0]):
        _multiply(
            source,
            starts,
            matrix,
            strip,
            stride,
            run,
            matrix.shape[1] // run,
            out,
            matrix.shape[0] * WIDE,
        )


@compiled
def find_largest(
    source: FloatArray,
    starts: IntArray,
    matrix: FloatArray,
    weights: FloatArray,
    even: FloatArray,
    weighted: FloatArray,
) -> None:
    """Write the largest sizes of products of ROWS rows, each in one run, with a matrix.

    Parameters
    ----------
    source, starts, matrix
        See `multiply`.
    weights : ndarray of float32, shape (n * WIDE,)
        From `pack_weights`.
    even, weighted : ndarray of float32, shape (ROWS,)
        The largest as they are, and times their weights.
    """
    for r in range(ROWS):
        even[r] = weighted[r] = 0
    for strip in range(matrix.shape[0]):
        _find_largest(source, starts, matrix, strip, 0, matrix.shape[1], 1, weights, even, weighted)
