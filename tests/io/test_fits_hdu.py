import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.errors import DataError
from astro_vq.io.fits import open_fits
from astro_vq.io.fits_pixels import to_physical

DTYPES = ["uint8", "int16", "int32", "int64", "float32", "float64"]
WHOLE = slice(None)


def any_bits(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(rng.bytes(count), dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(7,), (5, 6), (1, 9), (9, 1), (3, 4, 5), (2, 1, 3, 4), (1, 2, 2, 2, 3)]
)
def test_stored_pixels_come_back_bit_for_bit(tmp_path, dtype, shape):
    image = any_bits(dtype, shape)
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        hdu = file.hdus[0]
        assert hdu.shape == shape
        assert hdu.dtype == np.dtype(dtype)
        assert hdu.plane_shape == (shape[-2] if len(shape) > 1 else 1, shape[-1])
        planes = image.reshape(hdu.n_planes, *hdu.plane_shape)
        for number, plane in enumerate(planes):
            stored = hdu.read_stored(number, WHOLE, WHOLE)
            assert stored.dtype == np.dtype(dtype)
            assert stored.dtype.isnative
            assert stored.tobytes() == plane.tobytes()
            part = hdu.read_stored(number, slice(1, 3), slice(-2, None))
            assert part.tobytes() == plane[1:3, -2:].tobytes()


@settings(max_examples=40)
@given(st.data())
def test_rectangles_are_cut_as_those_of_arrays(tmp_path_factory, data):
    image = np.arange(5 * 7, dtype="int16").reshape(5, 7)
    path = tmp_path_factory.getbasetemp() / "rectangles.fits"
    if not path.exists():
        fits.PrimaryHDU(image).writeto(path)
    bound = st.one_of(st.none(), st.integers(-9, 9))
    ys, xs = (slice(data.draw(bound), data.draw(bound)) for _ in range(2))
    with open_fits(path) as file:
        np.testing.assert_array_equal(file.hdus[0].read_stored(0, ys, xs), image[ys, xs])


def test_reading_is_a_copy_that_can_be_changed(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 3), "uint8")).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        stored = file.hdus[0].read_stored(0, WHOLE, WHOLE)
    stored += 1
    assert stored.sum() == 9
    assert fits.getdata(tmp_path / "a.fits").sum() == 0


@pytest.mark.parametrize(
    ("dtype", "stored", "offset"),
    [
        ("int8", "uint8", -128),
        ("uint16", "int16", 2**15),
        ("uint32", "int32", 2**31),
        ("uint64", "int64", 2**63),
    ],
)
def test_unsigned_integers_are_stored_signed_and_physical_as_they_are(
    tmp_path, dtype, stored, offset
):
    image = any_bits(dtype, (4, 5)).copy()
    image[0] = np.arange(5)
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        hdu = file.hdus[0]
        values = hdu.read_stored(0, WHOLE, WHOLE)
        assert values.dtype == np.dtype(stored)
        assert hdu.bzero == offset
        np.testing.assert_array_equal(hdu.to_physical(values), image.astype("float64"))
        assert hdu.to_physical(values).dtype == (
            "float32" if values.dtype.itemsize <= 2 else "float64"
        )


def test_scaled_integers_with_blank_become_physical(write_hdus, primary):
    lines = [*primary(16, 3), "BSCALE  = 0.5", "BZERO   = 10.0", "BLANK   = -7", "BUNIT   = 'adu '"]
    data = np.array([2, -7, -3], ">i2").tobytes()
    with open_fits(write_hdus((lines, data))) as file:
        hdu = file.hdus[0]
        assert (hdu.bscale, hdu.bzero, hdu.blank, hdu.unit) == (0.5, 10.0, -7, "adu")
        stored = hdu.read_stored(0, WHOLE, WHOLE)
        np.testing.assert_array_equal(stored, [[2, -7, -3]])
        np.testing.assert_array_equal(hdu.to_physical(stored), [[11.0, np.nan, 8.5]])


def test_blank_of_floats_and_senseless_scales_are_disregarded(write_hdus, primary):
    lines = [*primary(-32, 2), "BLANK   = 1", "BSCALE  = 0", "BZERO   = 'none'"]
    with open_fits(write_hdus((lines, np.array([1, 2], ">f4").tobytes()))) as file:
        hdu = file.hdus[0]
        assert (hdu.bscale, hdu.bzero, hdu.blank) == (1.0, 0.0, None)
        np.testing.assert_array_equal(hdu.to_physical(hdu.read_stored(0, WHOLE, WHOLE)), [[1, 2]])


def test_floats_keep_nan_infinity_and_negative_zero():
    values = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45]], "float32")
    physical = to_physical(values, bscale=1.0, bzero=0.0, blank=None)
    assert physical.dtype == np.float32
    assert physical.tobytes() == values.tobytes()
    physical = to_physical(values, bscale=2.0, bzero=1.0, blank=None)
    assert physical.dtype == np.float64
    np.testing.assert_array_equal(physical[:, :4], [[np.nan, np.inf, -np.inf, 1.0]])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_physical_values_are_those_of_astropy(tmp_path, dtype):
    image = any_bits(dtype, (6, 5))
    hdu = fits.PrimaryHDU(image)
    hdu.header["BSCALE"] = 0.37
    hdu.header["BZERO"] = -2.5
    hdu.header["BLANK"] = int(image[2, 3])
    hdu.writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    with open_fits(tmp_path / "a.fits") as file, fits.open(tmp_path / "a.fits") as theirs:
        hdu = file.hdus[0]
        ours = hdu.to_physical(hdu.read_stored(0, WHOLE, WHOLE))
        np.testing.assert_allclose(ours, theirs[0].data, rtol=1e-6, atol=1e-6)
    assert (tmp_path / "a.fits").read_bytes() == raw


def test_an_hdu_without_pixels_says_so(write_hdus, primary):
    with open_fits(write_hdus((primary(8), b""))) as file:
        assert file.hdus[0].n_planes == 0
        assert file.hdus[0].plane_shape == (0, 0)
        with pytest.raises(DataError, match=r"made.fits: HDU 0 holds no image .*choose another"):
            file.hdus[0].read_stored(0, WHOLE, WHOLE)


def test_planes_and_steps_that_are_not_there_are_refused(write_hdus, primary):
    with open_fits(write_hdus((primary(8, 4), b"abcd"))) as file:
        with pytest.raises(IndexError, match="plane 1 asked, the image has 1"):
            file.hdus[0].read_stored(1, WHOLE, WHOLE)
        with pytest.raises(IndexError, match="plane -1"):
            file.hdus[0].read_stored(-1, WHOLE, WHOLE)
        with pytest.raises(ValueError, match="without steps"):
            file.hdus[0].read_stored(0, WHOLE, slice(None, None, 2))
        assert file.hdus[0].read_stored(0, slice(1, 1), WHOLE).shape == (0, 4)


def test_a_part_of_a_huge_sparse_frame_is_read_alone(tmp_path):
    path = tmp_path / "huge.fits"
    lines = ["SIMPLE  = T", "BITPIX  = -64", "NAXIS   = 2", "NAXIS1  = 100000", "NAXIS2  = 100000"]
    header = b"".join(line.encode().ljust(80) for line in [*lines, "END"]).ljust(2880)
    try:
        with path.open("wb") as file:
            file.write(header)
            file.seek(2880 + 8 * (99_999 * 100_000 + 50_000))
            file.write(np.array([1.5], ">f8").tobytes())
            file.truncate(2880 + 8 * 100_000**2)
    except OSError:
        pytest.skip("no room for sparse files")
    with open_fits(path) as opened:
        part = opened.hdus[0].read_stored(0, slice(99_998, 100_000), slice(49_999, 50_002))
    np.testing.assert_array_equal(part, [[0, 0, 0], [0, 1.5, 0]])
