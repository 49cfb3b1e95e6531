"""Subtractive dither: the bound holds, zeros stay, and coarse steps do not bias the mean."""

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import astro_vq
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import DITHERED
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.position_dither import dither_of
from astro_vq.codec.quantize import quantize_tile, restore_tile


def dithered(image, bound, seed):
    """Return an image after the pixel layer, tiles of 64 rows."""
    spec = PixelSpec("float32", bound, dither=seed)
    tiles = np.split(image, image.shape[0] // 64)
    places = [(64 * i, 0) for i in range(len(tiles))]
    shared = fit_shared(tiles, spec, places=places)
    streams = encode_tiles(tiles, spec, shared=shared, places=places)
    decoded = decode_tiles(
        streams, [t.shape for t in tiles], PixelSpec("float32", bound), shared=shared
    )
    return np.concatenate(decoded)


def compressed(image, **choices):
    target = io.BytesIO()
    choices = {"effort": 1} | choices
    result = astro_vq.compress(image, target, tokens=False, verify=True, **choices)
    target.seek(0)
    return target, result


def test_numbers_are_those_of_the_description():
    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    gamma = 0x9E3779B97F4A7C15
    line = mix((mix((2**63 - 1 + gamma) % 2**64) + 8 * gamma) % 2**64)
    due = [0.5 - (mix((line + (x + 1) * gamma) % 2**64) >> 11) / 2**53 for x in (5, 6)]
    assert dither_of(2**63 - 1, 7, 5, (1, 2)).tolist() == [due]
    # splitmix64.c of Vigna: the first numbers of state 0
    assert [mix(gamma), mix(2 * gamma % 2**64)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_numbers_are_uniform_and_not_correlated():
    numbers = dither_of(3, 0, 0, (400, 400))
    others = dither_of(4, 0, 0, (400, 400))
    assert abs(numbers.mean()) < 4 / (400 * 12**0.5)
    np.testing.assert_allclose(numbers.var(), 1 / 12, rtol=0.01)
    pairs = [(numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1]), (numbers, others)]
    for a, b in pairs:
        assert abs((a * b).mean() * 12) < 4 / 400
    np.testing.assert_array_equal(numbers[100:110, 200:], dither_of(3, 100, 200, (10, 200)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_float_keeps_the_bound_and_zeros_stay(dtype, data):
    bits = data.draw(
        hnp.arrays(f"u{np.dtype(dtype).itemsize}", hnp.array_shapes(min_dims=2, max_dims=2))
    )
    values = np.where(bits % 2 == 0, bits.view(dtype), (bits % 977).astype(dtype) / 10)
    bound = data.draw(st.sampled_from([1e-30, 0.1, 0.3, 40.0, 1e30]))
    mapping = default_mapping(values, bound, dither=data.draw(st.integers(0, 2**63 - 1)))
    assert mapping.kind == DITHERED
    found = restore_tile(quantize_tile(values, bound, mapping), mapping, dtype)
    finite = np.isfinite(values)
    assert found[~finite].tobytes() == values[~finite].tobytes()
    with np.errstate(over="ignore"):
        gap = np.abs(found[finite].astype(np.longdouble) - values[finite])
    assert (gap <= bound).all()
    np.testing.assert_array_equal(found == 0, values == 0)


@pytest.mark.parametrize("level", [0.1, 0.3])
def test_a_faint_level_below_a_step_is_lost_without_dither_and_not_with_it(level):
    # steps of 1, noise of a twentieth: plain rounding sees neither the noise nor the level
    image = np.random.default_rng(8).normal(5, 0.05, (128, 128)).astype(np.float32)
    image[:, 64:] += np.float32(level)

    def step_of(values):
        return float(values[:, 64:].mean(dtype=float) - values[:, :64].mean(dtype=float))

    plain_file, _ = compressed(image, max_error=0.5)
    with astro_vq.open(plain_file) as opened:
        plain = step_of(opened.data) - step_of(image)
    soft = step_of(dithered(image, 0.5, 11)) - step_of(image)
    expected = (2 / 12) ** 0.5 / (128 * 64) ** 0.5  # of two means of uniform errors
    assert abs(soft) < 4 * expected
    assert plain < -0.8 * level
    assert 0.8 * level > 15 * expected


def test_exposures_that_are_stacked_average_to_the_level_at_each_pixel():
    rng = np.random.default_rng(1)
    exposures = rng.normal(0.3, 0.02, (16, 64, 64)).astype(np.float32)
    stack = np.zeros((64, 64))
    seeds = set()
    for exposure in exposures:
        file, result = compressed(exposure, max_error=0.5, dither=1)
        seeds.add(result.hdus[0]["dither_seed"])
        with astro_vq.open(file) as opened:
            stack += opened.data / len(exposures)
    assert len(seeds) == len(exposures)  # one seed asked for, another for each
    np.testing.assert_allclose(np.std(stack - 0.3), (12 * len(exposures)) ** -0.5, rtol=0.1)


def test_the_file_has_the_seed_and_the_same_image_the_same_bytes():
    image = np.random.default_rng(2).normal(5, 1, (80, 90)).astype(np.float32)
    image[:10] = 0
    image[40:44, 3] = np.nan
    file, result = compressed(image, max_error=0.7, dither=9)
    again, _ = compressed(image, max_error=0.7, dither=9)
    assert file.getvalue() == again.getvalue()
    with astro_vq.open(file) as opened:
        found = opened.data
        assert opened[0].info()["dither_seed"] == result.hdus[0]["dither_seed"]
        part = opened.section[20:60, 40:80]
    np.testing.assert_array_equal(found == 0, image == 0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    np.testing.assert_array_equal(part, found[20:60, 40:80])


def test_planes_of_a_cube_have_numbers_of_their_own():
    plane = np.random.default_rng(0).normal(0.4, 0.01, (70, 70)).astype(np.float32)
    cube = np.stack([plane, plane])
    file, _ = compressed(cube, max_error=0.5, dither=0)
    with astro_vq.open(file) as opened:
        first, second = opened.data
    assert np.mean(first == second) < 0.01
    assert abs(first.mean() - cube.mean()) < 4 * 12**-0.5 / 70


def test_integers_are_not_dithered_and_that_is_said():
    image = np.random.default_rng(2).integers(0, 999, (70, 70)).astype(np.int16)
    _, result = compressed(image, max_error=4, dither=1)
    assert result.notes == ("HDU 0 (PRIMARY) not dithered: its pixels are integers",)
    hdu = fits.PrimaryHDU(image)
    _, result = compressed(hdu, dither=1)
    assert (result.fidelity, result.notes) == ("lossless", ())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"fidelity": "lossless", "dither": 1}, "nothing to dither"),
        ({"max_error": 1, "dither": -1}, "a seed from 0"),
        ({"max_error": 1, "dither": 1, "non_negative": True}, "exclude each other"),
    ],
)
def test_impossible_options_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        compressed(np.zeros((8, 8), np.float32), **choices)
