import io
import warnings

import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.codec.find_grid import find_grid
from astro_vq.codec.find_steps import find_lattice, search_place, snap_step
from astro_vq.codec.hidden_grid import DITHER_1, DITHER_2
from astro_vq.codec.quantize import quantize_tile, restore_tile
from astro_vq.codec.structure import candidate_mappings


def funpacked(shape, *, tile, method=1, kind="RICE_1", level=4, seed=2345, zeros=False):
    """Return floats as funpack gives them."""
    rng = np.random.default_rng(1)
    image = rng.normal(50, 3, shape).astype("f4")
    image[30:33, 40:43] += 2000
    image[12, 20:30] = np.nan
    if zeros:
        image[20] = 0
    options = {"hcomp_scale": 2} if kind == "HCOMPRESS_1" else {}
    if options:
        image[12, 20:30] = 50
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.CompImageHDU(
            image,
            compression_type=kind,
            tile_shape=tile,
            quantize_method=method,
            quantize_level=level,
            dither_seed=seed,
            **options,
        ).writeto(file)
    file.seek(0)
    with fits.open(file) as hdus:
        return hdus[1].data.astype("f4")


def misses(image, grid):
    steps = grid.steps(0, 0, image.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.nan_to_num(np.rint(steps.nearest(image)), nan=0, posinf=0, neginf=0)
    there = np.isfinite(image) & (image != 0)
    restored = steps.values(index.astype(np.int64)).astype("f4")
    return int(np.count_nonzero((restored != image) & there))


@pytest.mark.parametrize("method", [DITHER_1, DITHER_2])
@pytest.mark.parametrize("cut", [(0, 0), (7, 31)])
def test_rows_that_were_fpacked_are_found(method, cut):
    image = funpacked((110, 170), tile=(1, 170), method=method, zeros=method == DITHER_2)
    image = image[cut[0] :, cut[1] :]
    grid = find_grid(lambda first, stop: image[first:stop], *image.shape)
    assert grid.origin == (0, cut[1])
    assert grid.method == method
    assert grid.seed == 2345 + cut[0]
    assert misses(image, grid) < 0.02 * image.size


def test_tiles_of_hcompress_are_found_in_a_part_of_an_image():
    whole = funpacked((160, 200), tile=(16, 200), kind="HCOMPRESS_1")
    image = whole[9:, 14:190]
    grid = find_grid(lambda first, stop: image[first:stop], *image.shape)
    assert (grid.tile, grid.origin, grid.seed) == ((16, 200), (9, 14), 2345)
    assert misses(image, grid) == 0


def test_noise_of_its_own_has_no_grid():
    image = np.random.default_rng(0).normal(50, 3, (100, 110)).astype("f4")
    assert find_grid(lambda first, stop: image[first:stop], *image.shape) is None
    assert search_place(np.full(200, np.nan)) is None


def test_the_step_of_fpack_is_found_to_the_last_bit():
    step = float(np.float32(1.2345)) * 1.0483579
    rng = np.random.default_rng(2)
    shift, index = rng.random(300), rng.integers(-900, 90000, 300)
    line = (((index - shift) + 0.5) * step).astype("f4")
    assert snap_step(line, shift, step * (1 + 1e-8)) == step


def test_a_plain_file_that_was_fpacked_once_is_as_small_as_one_that_is(tmp_path):
    image = funpacked((110, 170), tile=(1, 170))
    fits.PrimaryHDU(image).writeto(tmp_path / "plain.fits")
    out, back = io.BytesIO(), io.BytesIO()
    result = astro_vq.compress(
        tmp_path / "plain.fits", out, fidelity="lossless", tokens=False, effort=3
    )
    assert 8 * result.pixel_bytes < 5.2 * image.size  # 16 bit/pixel if nothing were found
    out.seek(0)
    astro_vq.decompress(out, back)
    assert back.getvalue() == (tmp_path / "plain.fits").read_bytes()


def test_rescaled_integers_are_counted_in_their_own_step():
    rng = np.random.default_rng(3)
    counts = rng.poisson(400, (128, 128))
    drift = rng.uniform(-2e-4, 2e-4, counts.shape)
    image = (0.01 * counts - 3.996 + drift).astype("f4")  # noise 0.2
    found = find_lattice(image.ravel().astype(float), 0.2)
    assert found.step == pytest.approx(0.01, rel=1e-5)
    for bound, step in [(0.002, 0.01), (0.006, 0.02), (0.0112, 0.03)]:
        mapping = candidate_mappings([image], bound, None)[1]
        assert mapping.step == pytest.approx(step, rel=1e-4)
        quantized = quantize_tile(image, bound, mapping)
        assert not quantized.exceptions.mask.any()
        restored = restore_tile(quantized, mapping, image.dtype)
        assert np.abs(restored.astype(float) - image).max() <= bound
    assert find_lattice(rng.normal(0, 1, 5000), 1.0) is None
