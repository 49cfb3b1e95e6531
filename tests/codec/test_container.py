import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.codec.container import (
    LARGEST_SIDE,
    LARGEST_TILE,
    Layout,
    TileGrid,
    chunk_crc,
    pack_bytes,
    pack_scalings,
    pack_side,
    plane_axes,
    tile_crc,
    unpack_bytes,
    unpack_scalings,
    unpack_side,
)
from astro_vq.errors import FormatError
from astro_vq.types import TileGeometry

SHAPES = st.one_of(
    st.tuples(st.integers(1, 600)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
)


@given(SHAPES, st.sampled_from([16, 24, 32]))
def test_tiles_cover_every_pixel_once_in_order(shape, size):
    grid = TileGrid.for_shape(shape, size)
    seen = np.zeros((grid.planes, grid.height, grid.width), int)
    for number in range(grid.count):
        tile = grid.tile(number)
        assert tile.ny > 0 < tile.nx
        assert tile.ny * tile.nx <= 9 * size * size // 4
        seen[(tile.plane, *tile.slices)] += 1
    assert (seen == 1).all()
    assert seen.size == grid.pixels == np.prod(shape)
    assert [n for strip in grid.strips() for n in strip] == list(range(grid.count))


@pytest.mark.parametrize(
    ("side", "length"),
    [(256, 256), (263, 263), (383, 383), (384, 256), (540, 272), (600, 304), (10_000, 264)],
)
def test_slivers_are_shared_by_the_other_tiles(side, length):
    grid = TileGrid.for_shape((side, side), 256)
    assert (grid.tile_height, grid.tile_width) == (length, length)


@given(SHAPES, st.data())
def test_the_tiles_of_a_rectangle_are_those_that_touch_it(shape, data):
    grid = TileGrid.for_shape(shape, 16)
    plane = data.draw(st.integers(0, grid.planes - 1))
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, grid.height)] * 2)))
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, grid.width)] * 2)))
    found = [n for row in grid.overlapping(plane, slice(y0, y1), slice(x0, x1)) for n in row]
    expected = []
    for number in range(grid.count):
        p, ty, tx, ny, nx = grid.tile(number)
        inside = ty < y1 and ty + ny > y0 and tx < x1 and tx + nx > x0
        if p == plane and inside and y1 > y0 and x1 > x0:
            expected.append(number)
    assert found == expected


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((1000, 1000), (256, 256)),
        ((100, 100), (100, 100)),
        ((1, 10**6), (1, 65536)),
        ((10**6,), (1, 65536)),
        ((10**6, 1), (65536, 1)),
        ((100, 5000), (100, 512)),
        ((5000, 100), (512, 100)),
    ],
)
def test_narrow_images_get_longer_tiles(shape, tile):
    grid = TileGrid.for_shape(shape, 256)
    assert (grid.tile_height, grid.tile_width) == tile


@pytest.mark.parametrize("side", [2048, 2049, 3000, 3071, 3072, 5000])
def test_the_largest_tiles_are_not_too_large_to_read(side):
    grid = TileGrid.for_shape((side, side), 2048)
    assert grid.tile_height * grid.tile_width <= LARGEST_TILE
    assert grid.rows == 1 or grid.tile_height % 8 == 0


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (5, 0), (3, 0, 5), (0, 4, 4)])
def test_an_image_without_pixels_has_no_tiles(shape):
    grid = TileGrid.for_shape(shape, 256)
    assert grid.count == grid.pixels == 0
    assert list(grid.strips()) == []


def test_axes_of_planes():
    assert plane_axes(()) == (0, 0, 0)
    assert plane_axes((7,)) == (1, 1, 7)
    assert plane_axes((5, 7)) == (1, 5, 7)
    assert plane_axes((2, 3, 5, 7)) == (6, 5, 7)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_rows_are_whole_words_so_that_sums_can_be_added(tokens, wide):
    layout = Layout(tokens, wide)
    assert layout.dtype.itemsize % 4 == 0
    assert layout.dtype.names == tuple(name for name, _ in layout.columns)


@given(st.binary(max_size=300))
def test_packed_bytes_come_back(data):
    assert unpack_bytes(pack_bytes(data), len(data)) == data
    assert len(pack_bytes(data)) <= len(data) + 1


def test_packed_bytes_never_exceed_the_limit():
    bomb = pack_bytes(bytes(10**6))
    assert len(bomb) < 2000
    with pytest.raises(FormatError, match="more than 1000"):
        unpack_bytes(bomb, 1000)
    with pytest.raises(FormatError, match="damaged"):
        unpack_bytes(b"\0" + bytes(1001), 1000)


@pytest.mark.parametrize("data", [b"", b"\2abc", b"\1abc", pack_bytes(bytes(100))[:-1]])
def test_damaged_packed_bytes_are_an_error(data):
    with pytest.raises(FormatError, match="damaged bytes"):
        unpack_bytes(data, 1000)


def test_side_information_comes_back_without_empty_records():
    records = {"HEAD": b"abc" * 100, "PADD": b"", "PIXS": b"\0"}
    assert unpack_side(pack_side(records)) == {"HEAD": b"abc" * 100, "PIXS": b"\0"}
    assert pack_side({"HEAD": b""}) == b""
    assert unpack_side(b"") == {}


@pytest.mark.parametrize("body", [b"HEA", b"HEAD\0\0\0\5abc"])
def test_side_information_that_is_cut_off_is_an_error(body):
    with pytest.raises(FormatError, match="cut off"):
        unpack_side(b"\0" + body)


def test_side_information_has_a_limit():
    assert zlib.decompress(pack_side({"HEAD": bytes(10**5)})[1:])
    assert LARGEST_SIDE < 2**28


def test_scalings_come_back_exactly():
    values = np.array([[0.1, 1e-300], [-1e30, 3.0]])
    assert np.array_equal(unpack_scalings(pack_scalings(values)), values)


@pytest.mark.parametrize(
    "data",
    [b"\0" * 15, pack_scalings(np.array([[0.0, 0.0]])), pack_scalings(np.array([[np.nan, 1.0]]))],
)
def test_impossible_scalings_are_an_error(data):
    with pytest.raises(FormatError, match="scaling"):
        unpack_scalings(data)


def test_a_crc_depends_on_place_and_bytes():
    tile = TileGeometry(0, 256, 0, 256, 256)
    crc = tile_crc(tile, b"abc")
    assert -(2**31) <= crc < 2**31
    assert crc != tile_crc(tile, b"abd")
    assert crc != tile_crc(tile._replace(x0=256), b"abc")
    place = np.array([0, 256, 0, 256, 256], ">i4").tobytes()
    assert crc % 2**32 == zlib.crc32(place + b"abc")
    assert chunk_crc(3, b"abc") % 2**32 == zlib.crc32(b"\0\0\0\3abc")
