"""Images that must not become negative: no pixel does, and zeros stay where they were."""

import io
from fractions import Fraction

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import astro_vq
from astro_vq.codec.counted import count_cells, middle_of_cells
from astro_vq.codec.floors import stored_floor
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import COUNTED, LOOP, SCALE, Mapping
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.quantize import quantize_tile, restore_tile
from astro_vq.errors import DataError, FormatError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
BOUNDS = st.sampled_from([1e-30, 1e-3, 0.1, 0.3, 1.0, 7.5, 1e4, 1e30])


def weights(shape=(128, 96)):
    """Return inverse variances: bad columns of zero, a faint corner, a smooth rest."""
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    image = (4 + np.sin(xs / 30) + np.cos(ys / 20) + rng.normal(0, 0.1, shape)).astype("f4")
    image[:, 10:13] = 0
    image[rng.random(shape) < 0.02] = 0
    image[:20, :20] = rng.random((20, 20)) * 0.02
    image[50:60, 50:60] = np.nan
    return image


def check(values, restored, bound, floor=0):
    for a, b in zip(restored.ravel().tolist(), values.ravel().tolist(), strict=True):
        if isinstance(b, int) or np.isfinite(b):
            assert abs(Fraction(a) - Fraction(b)) <= Fraction(bound)
            assert a >= floor
            assert (a == floor) == (b == floor)
        else:
            assert repr(a) == repr(b)


def packed(data, **choices):
    file, target = io.BytesIO(), io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="WHT")]).writeto(file)
    file.seek(0)
    astro_vq.compress(file, target, tokens=False, verify=True, **choices)
    target.seek(0)
    return target


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "mapping", ["default", Mapping(SCALE, 0.3, 0.1), Mapping(LOOP, 0.01, stride=15)]
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_floats_that_are_not_negative_stay_so_and_zeros_are_exact(dtype, mapping, data):
    width = np.dtype(dtype).itemsize
    bits = data.draw(hnp.arrays(f"u{width}", SHAPES))
    usual = data.draw(hnp.arrays(dtype, bits.shape, elements=st.sampled_from([0, 1e-9, 0.2, 3.7])))
    values = np.where(bits % 3 == 0, np.abs(bits.view(dtype)), usual).astype(dtype)
    bound = data.draw(BOUNDS)
    chosen = default_mapping(values, bound, floor=0) if mapping == "default" else mapping.above(0)
    tile = quantize_tile(values, bound, chosen)
    check(values, restore_tile(tile, chosen, dtype), bound)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int64", "uint64"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_integers_at_a_floor_are_the_ones_that_decode_to_it(dtype, data):
    info = np.iinfo(dtype)
    floor = data.draw(st.one_of(st.just(int(info.min)), st.integers(int(info.min), int(info.max))))
    values = data.draw(hnp.arrays(dtype, SHAPES, elements=st.integers(floor, int(info.max))))
    bound = data.draw(st.sampled_from([1, 2, 9, 1000, 2.0**62]))
    mapping = default_mapping(values, bound, floor=floor)
    tile = quantize_tile(values, bound, mapping)
    check(values, restore_tile(tile, mapping, dtype), bound, floor)


def test_cells_of_integers_have_the_documented_middles():
    values = np.arange(-128, 128).astype(np.int8)
    cells = count_cells(values, 5, -128)
    assert cells[:12].tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    assert middle_of_cells(cells, 5, -128, "int8")[:7].tolist() == [-128] + 5 * [-125] + [-120]
    assert middle_of_cells(np.array([51, 52, 10**9]), 5, -128, "int8").tolist() == [125, 127, 127]


def test_a_floor_that_the_type_does_not_have_is_an_error():
    mapping = Mapping(COUNTED, 5, floor=-3)
    tile = quantize_tile(np.zeros((2, 2), np.int8), 2, mapping)
    for dtype in ("uint8", "uint64", "float32"):
        with pytest.raises(FormatError):
            restore_tile(tile, mapping, dtype)


def test_zeros_cost_no_exceptions():
    image = weights()
    image[np.isnan(image)] = 0
    tile = quantize_tile(image, 0.05, default_mapping(image, 0.05, floor=0))
    assert not tile.exceptions.bits.size
    assert ((tile.indices == 0) == (image == 0)).all()


@pytest.mark.parametrize("bound", [0.001, 0.03, 0.5, 3.0])
def test_weights_come_back_within_the_bound_and_not_negative(bound):
    image = weights()
    spec = PixelSpec("float32", bound, floor=0)
    tiles = [image[:64], image[64:]]
    shared = fit_shared(tiles, spec)
    streams = encode_tiles(tiles, spec, shared=shared)
    found = decode_tiles(
        streams, [t.shape for t in tiles], PixelSpec("float32", bound), shared=shared
    )
    check(image, np.concatenate(found), bound)
    assert sum(map(len, streams)) < image.nbytes / (3 if bound > 0.01 else 1)


def test_the_file_says_so_and_is_verified():
    file = packed(weights(), effort=1, max_error=0.05, non_negative=True)
    with astro_vq.open(file) as opened:
        check(weights(), opened[1].data, 0.05)
        assert opened[1].info()["non_negative"] is True
    plain = packed(weights(), effort=1, max_error=0.05)
    with astro_vq.open(plain) as opened:
        assert "non_negative" not in opened[1].info()


def test_verify_finds_zeros_that_are_lost():
    image = weights()
    file = packed(image, effort=1, max_error=0.05, non_negative=True)
    image[30:40, 30:40] = 0.001
    other, now = io.BytesIO(), io.BytesIO(file.getvalue())
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="WHT")]).writeto(other)
    other.seek(0)
    assert any("zeros" in p for p in astro_vq.verify(now, against=other).problems)


def test_unsigned_and_scaled_integers_have_their_zero_where_it_is_stored():
    data = np.random.default_rng(0).poisson(3, (80, 80)).astype(np.uint16)
    with astro_vq.open(packed(data, max_error=2, non_negative=True)) as opened:
        check(data, opened[1].data, 2)

    def floor(dtype, bscale=1.0, bzero=0.0):
        return stored_floor(ImageHeader((4, 4), dtype, bscale, bzero, None, "", ""))

    assert floor("int16", 1.0, 32768.0) == -32768
    assert floor("int16", 0.25, 0.7) == -2
    assert floor("uint8", 1.0, 10.0) == 0
    assert floor("uint8", 1.0, -1e9) == 255
    assert floor("float32") == 0
    assert floor("float32", 1.0, 3.0) is None
    assert floor("int16", -1.0) is None


def test_images_whose_zero_is_no_limit_are_kept_lossless():
    hdu = fits.PrimaryHDU(np.arange(4096, dtype=np.int16).reshape(64, 64))
    hdu.header["BSCALE"] = -2.0
    file, target = io.BytesIO(), io.BytesIO()
    hdu.writeto(file)
    file.seek(0)
    result = astro_vq.compress(file, target, tokens=False, max_error=9, non_negative=True)
    assert result.fidelity == "lossless"
    assert "lossless" in result.notes[0]


def test_one_of_several_hdus_may_be_named(tmp_path):
    science, weight = weights() - np.float32(3), weights()
    path = tmp_path / "coadd.fits"
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(science, name="SCI"),
        fits.ImageHDU(weight, name="WGT"),
    ]
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(DataError, match=r"HDU 1 \(SCI\)"):
        astro_vq.compress(path, tokens=False, max_error=0.05, non_negative=True)
    for named in (["wgt"], [2]):
        target = tmp_path / "out.avq"
        result = astro_vq.compress(
            path, target, tokens=False, effort=1, max_error=0.05, non_negative=named, overwrite=True
        )
        assert [hdu.get("non_negative") for hdu in result.hdus] == [None, None, True]
    with astro_vq.open(target) as opened:
        check(weight, opened[2].data, 0.05)
        assert np.nanmin(opened[1].data) < 0
    with pytest.raises(
        DataError, match=r"no image HDU 'VAR' .* there are: 0, 1 \(SCI\), 2 \(WGT\)"
    ):
        astro_vq.compress(path, target, tokens=False, non_negative=["VAR"], overwrite=True)


def test_negative_pixels_are_refused_with_file_hdu_and_remedy(tmp_path):
    image = weights()
    image[70, 3] = -0.25
    path = tmp_path / "w.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="WHT")]).writeto(path)
    with pytest.raises(DataError, match=r"w\.fits: HDU 1 \(WHT\).*-0\.25; leave the option out"):
        astro_vq.compress(path, tokens=False, max_error=0.05, non_negative=True)
    assert list(tmp_path.iterdir()) == [path]
    result = astro_vq.compress(path, tokens=False, effort=1, fidelity="lossless", non_negative=True)
    assert result.fidelity == "lossless"
