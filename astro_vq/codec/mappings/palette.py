"""The mapping to ranks in a table of values."""

import functools
from typing import Any

import numpy as np

from astro_vq.codec.bytestream import ByteReader, encode_varint
from astro_vq.codec.mappings.arithmetic import Indices, Nearest, Values
from astro_vq.codec.mappings.mapping import PALETTE, Mapping
from astro_vq.codec.numbers import pack_integers, unpack_integers
from astro_vq.codec.ordered import from_ordered, to_ordered
from astro_vq.errors import FormatError

_LARGEST_PALETTE = 1 << 18


def make_palette(values: Values) -> Mapping:
    """Return the mapping to ranks among the distinct finite values (in any order)."""
    distinct = np.unique(values[np.isfinite(values)])
    codes = to_ordered(distinct) if distinct.dtype.kind == "f" else distinct.astype(np.int64)
    table = encode_varint(distinct.size) + pack_integers(np.diff(codes, prepend=0), 9)
    return Mapping(PALETTE, palette=table)


@functools.lru_cache(maxsize=16)
def _read_palette(table: bytes, dtype: np.dtype[Any]) -> Values:
    reader = ByteReader(table)
    n = reader.varint(_LARGEST_PALETTE)
    if not n:
        raise FormatError("damaged pixel stream: an empty table of values")
    codes = np.cumsum(unpack_integers(reader.rest(), n))
    return from_ordered(codes, dtype) if dtype.kind == "f" else codes.astype(dtype)


def palette_values(indices: Indices, mapping: Mapping, dtype: np.dtype[Any]) -> Values:
    """Return the values of ranks; those past the table are its last."""
    table = _read_palette(mapping.palette, dtype)
    return table[np.clip(indices, 0, table.size - 1)]


def palette_indices(values: Values, mapping: Mapping) -> Nearest:
    """Return the rank of the value that is not below, or of the last."""
    table = _read_palette(mapping.palette, values.dtype)
    return np.minimum(np.searchsorted(table, values), table.size - 1), np.isfinite(values)
