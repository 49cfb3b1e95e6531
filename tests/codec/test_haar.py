import numpy as np
import pytest

from astro_vq.codec.haar import count_units, detail_of, join_level, split_level, units


@pytest.mark.parametrize("level", range(6))
def test_any_integers_come_back_from_sums_and_details(level):
    unit = 2 << level if level else 1
    pixels = np.random.default_rng(level).integers(-400, 400, (40, 32)) * unit
    blocks = split_level(pixels, level)
    np.testing.assert_array_equal(join_level(blocks, level), pixels)
    assert not np.any(blocks.total % (4 << level))
    assert not np.any(blocks.down % (2 << level))
    assert not np.any(blocks.across % (2 << level))
    assert not np.any(blocks.cross % (1 << level))


def test_sums_and_details_of_one_block_are_those_of_white_1993():
    blocks = split_level(np.array([[10, 12], [20, 28]]), 0)
    assert [int(part[0, 0]) for part in blocks] == [70 - 70 % 4 + 4, 26, 10, 6]


@pytest.mark.parametrize(("level", "step"), [(0, 8), (1, 8), (2, 8), (3, 8), (0, 3), (2, 5)])
def test_details_of_a_step_are_counted_in_it(level, step):
    counts = np.arange(-20, 21)
    for unit, bit in zip(units(level, step), (2 << level, 1 << level), strict=True):
        details = detail_of(counts, unit, bit)
        assert not np.any(details % bit)
        np.testing.assert_array_equal(count_units(details, unit), counts)
