import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import astro_vq
from astro_vq.errors import DataError, FormatError


def packed_file(source, **choices) -> io.BytesIO:
    packed = io.BytesIO()
    choices = {"tokens": False, "effort": 1, "tile_size": 16} | choices
    astro_vq.compress(source, packed, **choices)
    return packed


def axis_keys(length: int):
    bound = st.one_of(st.none(), st.integers(-length - 2, length + 2))
    step = st.sampled_from([None, 1, 2, -1, -3])
    return st.one_of(st.integers(-length, length - 1), st.builds(slice, bound, bound, step))


@st.composite
def keys(draw, shape):
    parts = [draw(axis_keys(length)) for length in shape[: draw(st.integers(0, len(shape)))]]
    if draw(st.booleans()):
        kept = len(shape) - len(parts)
        parts.insert(draw(st.integers(0, len(parts))), Ellipsis)
        position = parts.index(Ellipsis)
        tail = shape[position + kept :]
        parts[position + 1 :] = [draw(axis_keys(length)) for length in tail]
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


CUBE = np.random.default_rng(0).normal(100, 3, (2, 3, 37, 29)).astype("f4")
CUBE_FILE = astro_vq.open(packed_file(CUBE, max_error=0.1))
CUBE_DATA = CUBE_FILE.data
LINE = np.arange(700)
LINE_FILE = astro_vq.open(packed_file(LINE))


@given(keys(CUBE.shape))
@settings(deadline=None, max_examples=60)
def test_a_section_is_that_part_of_the_whole(key):
    part = CUBE_FILE.section[key]
    expected = CUBE_DATA[key]
    assert part.dtype == expected.dtype
    assert part.shape == expected.shape
    assert np.array_equal(part, expected)


@given(keys(LINE.shape))
@settings(deadline=None, max_examples=40)
def test_a_section_of_a_line_is_that_part_of_it(key):
    assert np.array_equal(LINE_FILE.section[key], LINE[key])


def test_the_whole_is_within_its_bound():
    assert np.abs(CUBE_DATA - CUBE).max() <= 0.1
    assert CUBE_FILE.shape == CUBE.shape
    assert CUBE_FILE.dtype == np.float32


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ((0, 0, 0, 0, 0), IndexError, "too many indices: 5 for an image with 4 axes"),
        ((..., ...), IndexError, "one ellipsis"),
        (5, IndexError, "index 5 is out of range for an axis of 2"),
        (1.5, TypeError, "integers and slices, got float"),
        (True, TypeError, "truth value"),
    ],
)
def test_impossible_sections_are_refused(key, error, message):
    with pytest.raises(error, match=message):
        CUBE_FILE.section[key]


def test_a_section_reads_only_the_rows_that_it_needs():
    class Counting(io.BytesIO):
        bytes_read = 0

        def read(self, size=-1):
            data = super().read(size)
            self.bytes_read += len(data)
            return data

    image = np.random.default_rng(0).normal(size=(512, 512))
    counted = Counting(packed_file(image, tile_size=64, fidelity="lossless").getvalue())
    file = astro_vq.open(counted)
    counted.bytes_read = 0
    part = file.section[70:100, 130:190]
    assert np.array_equal(part, image[70:100, 130:190])
    assert counted.bytes_read < 1.2 * 64 * 64 * 8


@pytest.mark.parametrize(
    ("dtype", "cards"),
    [
        ("u1", {}),
        ("i2", {}),
        ("i4", {}),
        ("i8", {}),
        ("f4", {}),
        ("f8", {}),
        ("i1", {}),
        ("u2", {}),
        ("u4", {}),
        ("u8", {}),
        ("i2", {"BSCALE": 0.5, "BZERO": 10.0}),
        ("i4", {"BSCALE": 0.5, "BZERO": 10.0}),
        ("i2", {"BLANK": 7}),
        ("i4", {"BLANK": 7, "BZERO": 3.0}),
        ("f4", {"BSCALE": 2.0}),
    ],
)
def test_data_are_those_of_astropy(dtype, cards, tmp_path):
    values = np.random.default_rng(0).integers(0, 100, (30, 20)).astype(dtype)
    hdu = fits.PrimaryHDU(values)
    path = tmp_path / "a.fits"
    hdu.writeto(path)
    for name, value in cards.items():
        fits.setval(path, name, value=value)
    with fits.open(path) as hdus:
        expected = np.asarray(hdus[0].data)
    with astro_vq.open(packed_file(path, fidelity="lossless")) as file:
        assert file.data.dtype == expected.dtype.newbyteorder("=") == file.dtype
        assert np.array_equal(file.data, expected, equal_nan=expected.dtype.kind == "f")


def hdus() -> fits.HDUList:
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(5))], name="T")
    image = fits.ImageHDU(np.ones((20, 30), "f4") * np.arange(30, dtype="f4"), name="SCI")
    image.header["BUNIT"] = "Jy"
    return fits.HDUList([fits.PrimaryHDU(), image, table])


def test_hdus_are_those_of_the_original():
    original = hdus()
    with astro_vq.open(packed_file(original, fidelity="lossless")) as file:
        assert len(file) == 3
        assert [hdu.is_image for hdu in file] == [False, True, False]
        assert [hdu.name for hdu in file] == ["", "SCI", "T"]
        assert file.image.index == 1
        assert file.shape == (20, 30)
        assert file.header["BUNIT"] == "Jy"
        for one, other in zip(file, original, strict=True):
            assert one.header_bytes == other.header.tostring().encode()
        assert file[0].shape == ()
        with pytest.raises(DataError, match="HDU 2 is no image"):
            file[2].data  # noqa: B018
        assert repr(file).endswith(": lossless, 3 HDUs>")


def test_a_damaged_header_can_be_looked_at():
    raw = io.BytesIO()
    fits.PrimaryHDU(np.ones((4, 4)), fits.Header({"OBJECT": "M31", "GOOD": 1})).writeto(raw)
    damaged = io.BytesIO(raw.getvalue().replace(b"OBJECT  = 'M31", b"OBJ\xffCT  = 'M\0x"))
    with astro_vq.open(packed_file(damaged)) as file:
        assert file[0].header_bytes == damaged.getvalue()[:2880]
        assert file.header["GOOD"] == 1
        assert file.info()["hdus"][0]["name"] == ""


def test_info_says_what_is_inside():
    with astro_vq.open(packed_file(hdus(), max_error=0.5)) as file:
        info = file.info()
    assert info["fidelity"] == "max-error"
    assert info["format"] == 1
    assert info["model"] is None
    assert info["original_bytes"] % 2880 == 0
    assert [hdu["kind"] for hdu in info["hdus"]] == ["header", "image", "other"]
    image = info["hdus"][1]
    assert image["shape"] == [20, 30]
    assert image["dtype"] == "float32"
    assert image["unit"] == "Jy"
    assert image["max_error"] == 0.5
    assert image["tile"] == [20, 16]
    assert image["tiles"] == 2
    assert image["token_bytes"] == 0
    assert image["bits_per_pixel"] == 8 * image["bytes"] / 600


def test_tokens_are_those_that_the_model_gives_for_the_whole_image(token_model, sky_image):
    import torch

    from astro_vq.checkpoint import load_model
    from astro_vq.data.scaling import Scaling

    with astro_vq.open(packed_file(sky_image, tokens=True, model=token_model)) as file:
        tokens = file.tokens
        about = file.info()["hdus"][0]["tokens"]
    network = Scaling.measure(sky_image).forward(sky_image)
    network[~np.isfinite(network)] = 0
    network = np.pad(network, [(0, 0), (0, 2)], mode="edge")
    with torch.inference_mode():
        whole = load_model(token_model).model.encode_indices(torch.from_numpy(network)[None, None])
    assert tokens.shape == (1, 25, 23)
    assert tokens.dtype == np.int32
    assert np.mean(tokens == whole[0].numpy()) > 0.999  # rounding may differ at a tie
    assert about == {
        "shape": [1, 1, 25, 23], "stride": 4, "halo": 1, "channels": 1, "codes": 16, "depth": 1,
    }  # fmt: skip


def test_tokens_do_not_depend_on_the_windows(token_model, monkeypatch):
    image = np.random.default_rng(3).normal(0, 1, (150, 170)).astype("f4")
    found = []
    for window in (512, 32):
        monkeypatch.setattr("astro_vq.codec.windows.WINDOW", window)
        packed = packed_file(image, fidelity="tokens", tokens=True, model=token_model)
        with astro_vq.open(packed, model=token_model) as file:
            found.append((file.tokens, file.data))
    assert np.mean(found[0][0] == found[1][0]) > 0.999
    assert np.allclose(found[0][1], found[1][1], atol=1e-4)


def test_the_section_of_a_file_of_tokens_is_that_part_of_the_whole(token_model, sky_image):
    packed = packed_file(sky_image, fidelity="tokens", tokens=True, model=token_model)
    with astro_vq.open(packed, model=token_model) as file:
        whole = file.data
        for key in [np.s_[3:50, 17:], np.s_[99, 89], np.s_[40:41, 20:21]]:
            assert np.allclose(file.section[key], whole[key], atol=1e-4, equal_nan=True)


def test_a_cube_has_a_token_map_for_each_plane(token_model):
    cube = np.random.default_rng(0).normal(size=(3, 21, 18)).astype("f4")
    cube[1] = 100 + 5 * cube[1]
    with astro_vq.open(
        packed_file(cube, tokens=True, model=token_model), model=token_model
    ) as file:
        assert file.tokens.shape == (3, 1, 6, 5)
        assert file.preview.shape == cube.shape
        assert abs(file.preview[1].mean() - 100) < 10


def test_a_file_without_tokens_says_so():
    with pytest.raises(DataError, match="no tokens"):
        LINE_FILE.tokens  # noqa: B018
    with pytest.raises(DataError, match="no tokens"):
        LINE_FILE.preview  # noqa: B018


def test_the_masks_of_a_file_of_tokens_need_no_model(token_model, sky_image):
    packed = packed_file(sky_image, fidelity="tokens", tokens=True, model=token_model)
    assert astro_vq.open(packed).info()["fidelity"] == "tokens"
    assert astro_vq.open(packed).tokens.shape == (1, 25, 23)
    assert astro_vq.verify(packed).ok


def test_a_file_opens_by_name_and_closes(tmp_path):
    path = tmp_path / "a.avq"
    path.write_bytes(packed_file(LINE).getvalue())
    with astro_vq.open(path) as file:
        assert file.shape == (700,)
    with pytest.raises(ValueError, match="closed"):
        file.section[:5]
    with pytest.raises(FileNotFoundError):
        astro_vq.open(tmp_path / "none.avq")
    path.write_bytes(b"x" * 5000)
    with pytest.raises(FormatError, match="not a FITS file"):
        astro_vq.open(path)


def test_a_file_object_stays_open():
    packed = packed_file(LINE)
    with astro_vq.open(packed) as file:
        assert file.shape == (700,)
    assert not packed.closed


def test_a_file_of_headers_alone_has_no_image():
    packed = packed_file(fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((0, 3)))]))
    with astro_vq.open(packed) as file:
        assert file.shape == (0, 3)
        assert file.data.shape == (0, 3)
