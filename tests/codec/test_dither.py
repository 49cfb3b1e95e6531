import numpy as np
import pytest

from astro_vq.codec.dither import COUNT, dither_at, random_numbers, tile_starts


def numbers_of_the_standard(tile, seed, count):
    """The loop of CFITSIO, pixel by pixel."""
    numbers = random_numbers()
    start = (tile + seed - 1) % COUNT
    place = int(numbers[start] * 500)
    out = []
    for _ in range(count):
        out.append(numbers[place])
        place += 1
        if place == COUNT:
            start = (start + 1) % COUNT
            place = int(numbers[start] * 500)
    return np.array(out)


def test_the_last_random_number_is_that_of_the_standard():
    assert random_numbers()[-1] == np.float32(1043618065 / (2**31 - 1))


@pytest.mark.parametrize(("tile", "seed"), [(0, 1), (3, 17), (9998, 2), (12345, 9999), (0, 10000)])
def test_a_tile_has_the_numbers_of_the_loop_of_the_standard(tile, seed):
    start = int(tile_starts(np.array(tile), seed))
    wanted = numbers_of_the_standard(tile, seed, 25_000)
    for first, count in [(0, 25_000), (9_000, 3_000), (19_990, 7), (5, 1)]:
        np.testing.assert_array_equal(
            dither_at(start + first, count), wanted[first : first + count]
        )
