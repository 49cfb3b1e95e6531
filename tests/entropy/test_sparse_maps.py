"""The coder of sparse maps: what goes in comes out, on small cost, and damage is found."""

import numpy as np
import pytest

from astro_vq.entropy.binary_coder import HALF
from astro_vq.entropy.map_shape import MapShape
from astro_vq.entropy.sparse_maps import (
    context_count,
    decode_maps,
    encode_maps,
    first_contexts,
)
from astro_vq.errors import FormatError

SHAPE = MapShape(6, 1000, 184, 12)
ORIGIN = 64, 128


def make_maps(number, *, side=64, seed=0):
    rng = np.random.default_rng(seed)
    maps = np.zeros((24, side, side), np.int32)
    for y, x in rng.integers(0, side, (number, 2)):
        highest = 0
        while highest < 5 and not ((y + ORIGIN[0]) | (x + ORIGIN[1])) % (2 << highest):
            highest += 1
        for k in range(rng.integers(1, 13)):
            level, code = rng.integers(0, highest + 1), rng.integers(0, 1184)
            maps[2 * k, y, x] = 1 + level * 1184 + code
            maps[2 * k + 1, y, x] = 256 + rng.choice([-1, 1]) * rng.integers(1, 256)
        maps[2 * k + 2 :, y, x] = 0
    return maps


@pytest.mark.parametrize("number", [0, 1, 40, 3000])
def test_maps_come_back(number):
    maps = make_maps(number)
    data = encode_maps(maps, SHAPE, ORIGIN, first_contexts(SHAPE))
    assert (data == b"") == (number == 0)
    found = decode_maps(data, maps.shape, SHAPE, ORIGIN, first_contexts(SHAPE))
    assert np.array_equal(found, maps)


def test_an_empty_neighbourhood_costs_next_to_nothing():
    maps = np.zeros((24, 256, 256), np.int32)
    maps[:2, 100, 200] = 1 + 17, 256 + 5
    data = encode_maps(maps, SHAPE, (0, 0), np.full(context_count(SHAPE), HALF))
    assert len(data) < 40  # 65,536 positions, and one token


def test_a_token_long_before_the_end_comes_back():
    maps = np.zeros((24, 512, 512), np.int32)
    maps[:2, 0, 0] = 1 + 17, 256 + 5
    data = encode_maps(maps, SHAPE, (0, 0), first_contexts(SHAPE))
    assert len(data) < 10  # all that follows is zero bytes, which are left out
    assert np.array_equal(decode_maps(data, maps.shape, SHAPE, (0, 0), first_contexts(SHAPE)), maps)


def test_tables_adapt_in_the_same_way_on_both_sides():
    maps = make_maps(300)
    there, back = first_contexts(SHAPE), first_contexts(SHAPE)
    data = encode_maps(maps, SHAPE, ORIGIN, there)
    decode_maps(data, maps.shape, SHAPE, ORIGIN, back)
    assert np.array_equal(there, back)
    assert there.min() >= 32
    assert there.max() <= 2**15 - 32


def test_the_code_never_changes():
    tables = np.full(context_count(SHAPE), HALF)
    maps = np.zeros((24, 4, 4), np.int32)
    maps[:2, 1, 2] = 1 + 500, 256 - 9
    maps[:4, 2, 2] = 1 + 1184 + 1100, 256 + 130, 1 + 3, 256 + 1
    assert encode_maps(maps, SHAPE, (0, 0), tables).hex() == "043682c62873fb2c523840"


def test_damage_is_an_error_or_other_maps_but_never_a_crash():
    maps = make_maps(60)
    data = encode_maps(maps, SHAPE, ORIGIN, first_contexts(SHAPE))
    refused = 0
    for cut in range(0, len(data), 97):
        for broken in (data[:cut], data[:cut] + bytes([data[cut] ^ 255]) + data[cut + 1 :]):
            try:
                decode_maps(broken, maps.shape, SHAPE, ORIGIN, first_contexts(SHAPE))
            except FormatError as error:
                refused += 1
                assert "damaged token stream" in str(error)  # noqa: PT017
    assert refused
