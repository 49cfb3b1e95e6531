import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.hidden_grid import HiddenGrid, known_grid, read_grid
from astro_vq.codec.mappings.mapping import Mapping
from astro_vq.codec.quantize import quantize_tile, restore_tile
from astro_vq.errors import FormatError
from astro_vq.io.fits import open_fits

WHOLE = slice(None)


def sky(shape, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 3, shape).astype("f4")
    image[..., 5, 7] += 5000
    return image


def quantized(tmp_path, image, **options):
    """Return a file of one compressed image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdu = fits.CompImageHDU(image, **options)
        hdu.writeto(tmp_path / "a.fits", overwrite=True)
    return open_fits(tmp_path / "a.fits").hdus[1]


@pytest.mark.parametrize("method", [-1, 1, 2])
@pytest.mark.parametrize(
    ("shape", "tile"), [((60, 70), (1, 70)), ((60, 70), (16, 70)), ((61, 73), (20, 30))]
)
def test_all_values_of_a_compressed_image_lie_on_its_grid(tmp_path, method, shape, tile):
    kind = "HCOMPRESS_1" if tile[0] == 16 else "RICE_1"
    hdu = quantized(
        tmp_path,
        sky(shape),
        compression_type=kind,
        tile_shape=tile,
        quantize_method=method,
        quantize_level=8,
        dither_seed=123,
    )
    stored = hdu.read_stored(0, WHOLE, WHOLE)
    grid = known_grid(hdu.quantization, [stored])
    again = read_grid(grid.to_bytes())
    assert again.scale.tobytes() == grid.scale.tobytes()
    assert again.zero.tobytes() == grid.zero.tobytes()
    assert again.to_bytes() == grid.to_bytes()
    for row, column, height, width in [(0, 0, *shape), (17, 5, 30, 41), (3, 29, 1, 2)]:
        part = stored[row : row + height, column : column + width]
        steps = again.steps(row, column, (height, width))
        indices = np.rint(steps.nearest(part)).astype(np.int64)
        np.testing.assert_array_equal(steps.values(indices).astype("f4"), part)


def test_rows_are_counted_on_from_plane_to_plane(tmp_path):
    cube = sky((3, 20, 30))
    hdu = quantized(tmp_path, cube, tile_shape=(1, 1, 30), quantize_level=16, dither_seed=9)
    grid = known_grid(hdu.quantization, [cube])
    for plane in range(3):
        stored = hdu.read_stored(plane, WHOLE, WHOLE)
        steps = grid.steps(20 * plane, 0, (20, 30))
        indices = np.rint(steps.nearest(stored)).astype(np.int64)
        np.testing.assert_array_equal(steps.values(indices).astype("f4"), stored)


def test_tiles_that_span_planes_and_integers_have_no_grid(tmp_path):
    hdu = quantized(tmp_path, sky((3, 20, 30)), tile_shape=(3, 20, 30))
    assert hdu.quantization is None
    hdu = quantized(tmp_path, sky((20, 30)).astype("i2"))
    assert hdu.quantization is None
    hdu = quantized(tmp_path, sky((20, 30)), quantize_level=0, compression_type="GZIP_2")
    assert hdu.quantization is None or not hdu.quantization.scale.any()


def test_steps_of_fpack_take_half_the_bytes():
    noise = np.random.default_rng(1).uniform(1, 2, 1000).astype("f4").astype(float)
    scale = noise * np.array([0.6052697, 1.0483579, 0.1772048])[np.arange(1000) % 3]
    grid = HiddenGrid(1000, 50, (1, 50), (0, 0), 1, 5, scale, scale * np.arange(1000), 100.0)
    assert len(grid.to_bytes()) < 6000
    assert read_grid(grid.to_bytes()).scale.tobytes() == scale.tobytes()
    odd = HiddenGrid(1000, 50, (1, 50), (0, 0), 1, 5, scale * (1 + 1e-9), scale, None)
    again = read_grid(odd.to_bytes())
    assert again.scale.tobytes() == odd.scale.tobytes()
    assert again.zero.tobytes() == odd.zero.tobytes()


def test_a_damaged_grid_is_refused():
    grid = HiddenGrid(30, 50, (1, 50), (0, 0), 1, 5, np.full(30, 0.3), np.full(30, 0.7), 1.0)
    data = grid.to_bytes()
    for n in range(len(data)):
        with pytest.raises(FormatError):
            read_grid(data[:n])
    with pytest.raises(FormatError, match="outside the grid"):
        grid.steps(10, 20, (10, 31))
    with pytest.raises(FormatError, match="cut off"):
        grid.steps(30, 0, (1, 1))


@settings(max_examples=15, deadline=None)
@given(
    method=st.sampled_from([-1, 1, 2]),
    shape=st.tuples(st.integers(17, 40), st.integers(17, 40)),
    tile=st.tuples(st.integers(1, 20), st.integers(9, 40)),
    seed=st.integers(1, 10_000),
    level=st.sampled_from([2, 7, 50]),
    holes=st.booleans(),
    bound=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_tiles_of_any_compressed_image_keep_what_is_promised(
    tmp_path_factory, method, shape, tile, seed, level, holes, bound
):
    image = sky(shape, seed)
    if holes:
        image[3, 2:9] = np.nan
        image[10:12] = 0
    hdu = quantized(
        tmp_path_factory.getbasetemp(),
        image,
        tile_shape=tuple(min(t, n) for t, n in zip(tile, shape, strict=True)),
        quantize_method=method,
        quantize_level=level,
        dither_seed=seed,
    )
    stored = hdu.read_stored(0, WHOLE, WHOLE)
    grid = known_grid(hdu.quantization, [stored])
    if grid is None:
        return
    for stride in (1, 3):
        mapping = Mapping.hidden(grid, stride)
        for row, column in [(0, 0), (5, 8)]:
            part = np.ascontiguousarray(stored[row:, column:])
            placed = mapping.at((row, column))
            done = quantize_tile(part, bound, placed)
            again = Mapping.read(ByteReader(placed.to_bytes())).resolved(mapping)
            restored = restore_tile(done, again, "float32")
            finite = np.isfinite(part)
            assert restored[~finite].tobytes() == part[~finite].tobytes()
            gap = np.abs(restored[finite].astype(float) - part[finite])
            assert gap.max(initial=0) <= bound
            if method == 2:
                assert np.all(restored[part == 0] == 0)
