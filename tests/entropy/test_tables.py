"""Static tables: densities as they should be, whole, and with a symbol for every integer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from astro_vq.entropy import tables


def test_the_gaussian_table_is_a_discretised_gaussian():
    for scale, fraction in [(20, 0), (24, 8), (40, 5), (56, 0)]:
        sigma = 2.0 ** (scale / tables.SCALE_STEPS + tables.SMALLEST_LOG)
        far = tables.reach(scale)
        residual = np.arange(-far, far + 1) - fraction / tables.FRACTIONS
        wanted = stats.norm.cdf((residual + 0.5) / sigma) - stats.norm.cdf((residual - 0.5) / sigma)
        got = tables.frequencies(0, scale, fraction)[tables.BUCKETS : -tables.BUCKETS] / 2**24
        np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("shape", range(tables.count_shapes()))
def test_every_table_adds_up_and_excludes_nothing(shape):
    for scale in range(0, tables.SCALES, 7):
        for fraction in (-15, -8, 0, 6, 16):
            table = tables.frequencies(shape, scale, fraction)
            assert table.sum() == 1 << tables.PRECISION
            assert table.min() > 0
            assert table.size == 2 * tables.reach(scale) + 1 + 2 * tables.BUCKETS


@given(
    st.lists(st.integers(-(2**29), 2**29), min_size=1, max_size=50),
    st.integers(0, tables.SCALES - 1),
)
def test_every_integer_has_a_symbol_and_comes_back(residuals, scale):
    values = np.array(residuals, np.int64)
    far = np.full(values.shape, tables.reach(scale))
    symbols, bits, widths = tables.split_residuals(values, far)
    assert symbols.min() >= 0
    assert symbols.max() < 2 * far[0] + 1 + 2 * tables.BUCKETS
    np.testing.assert_array_equal(tables.bit_widths(symbols, far), widths)
    assert (bits < np.left_shift(1, widths)).all()
    np.testing.assert_array_equal(tables.join_residuals(symbols, far, bits), values)


def test_tables_never_change():
    """They are part of the format: other numbers would make old files unreadable."""
    digest = 0
    for shape, scale, fraction in [(0, 0, 0), (3, 13, 6), (5, 30, 12), (7, 56, -15), (2, 47, 16)]:
        for count in tables.frequencies(shape, scale, fraction).tolist():
            digest = (digest * 1000003 + count) % (2**61 - 1)
    assert digest == 1138440707074798307
