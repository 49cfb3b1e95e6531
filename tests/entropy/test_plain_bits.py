"""Fields of any width in one string of bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.entropy.plain_bits import FieldReader, pack_fields
from astro_vq.errors import FormatError


@given(
    st.lists(st.integers(0, 40).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, 2**w - 1))))
)
def test_fields_come_back_in_pieces(fields):
    widths = np.array([w for w, _ in fields], np.int64)
    values = np.array([v for _, v in fields], np.int64)
    reader = FieldReader(pack_fields(values, widths))
    half = len(fields) // 2
    got = np.concatenate([reader.read(widths[:half]), reader.read(widths[half:])])
    np.testing.assert_array_equal(got, values)


def test_missing_bits_are_noticed():
    with pytest.raises(FormatError, match="cut off"):
        FieldReader(b"\0").read(np.array([9]))
