import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import astro_vq
from astro_vq.errors import DataError, FormatError, ModelMismatchError
from astro_vq.io.checksum import ALL_ONES, sum_bytes


def wcs_header() -> fits.Header:
    header = fits.Header()
    header["OBJECT"] = ("M31", "a comment")
    for axis, (kind, value) in enumerate([("RA---TAN", 10.0), ("DEC--TAN", 41.0)], start=1):
        header[f"CTYPE{axis}"] = kind
        header[f"CRVAL{axis}"] = (value, "reference")
        header[f"CRPIX{axis}"] = (50.5 * axis, "where it is")
        header[f"CDELT{axis}"] = 1e-4
    header["LTV1"] = -3
    header["CRPIX1A"] = 7
    return header


def test_checksums_of_lossy_images_are_made_valid_and_all_else_stays(roundtrip, sky_image):
    hdus = fits.HDUList([fits.PrimaryHDU(sky_image, wcs_header())])
    file = io.BytesIO()
    hdus.writeto(file, checksum=True)
    original = file.getvalue()
    back = roundtrip(original, max_error=0.5)
    assert back != original
    assert sum_bytes(back) == ALL_ONES
    before, after = fits.Header.fromstring(original[:2880]), fits.Header.fromstring(back[:2880])
    assert before.pop("CHECKSUM") != after.pop("CHECKSUM")
    assert before.pop("DATASUM") != after.pop("DATASUM")
    assert before.tostring() == after.tostring()
    comments = [fits.Header.fromstring(text[:2880]).comments for text in (original, back)]
    assert comments[0]["DATASUM"] == comments[1]["DATASUM"]


def test_checksums_of_lossless_images_stay_even_when_they_are_wrong(roundtrip, sky_image):
    hdu = fits.PrimaryHDU(sky_image)
    hdu.header["CHECKSUM"] = "wrong"
    hdu.header["DATASUM"] = "12"
    back = roundtrip(hdu, fidelity="lossless")
    assert back == roundtrip.original


def test_one_hdu_alone(roundtrip, sky_image):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(5))])
    hdus = [fits.PrimaryHDU(sky_image), fits.ImageHDU(sky_image[:9], name="SCI"), table]
    roundtrip(fits.HDUList(hdus), fidelity="lossless")
    primary = roundtrip.unpack(hdu=0)
    assert primary == roundtrip.original[: len(primary)]
    for index in (1, 2):
        with fits.open(io.BytesIO(roundtrip.unpack(hdu=index)), checksum=True) as found:
            found.verify("exception")
            assert len(found) == 2
            assert found[0].data is None
            assert np.array_equal(
                np.asarray(found[1].data), np.asarray(hdus[index].data), equal_nan=index == 1
            )
    with pytest.raises(DataError, match="no HDU 3; the last is 2"):
        roundtrip.unpack(hdu=3)
    with pytest.raises(DataError, match="HDU 2: it is no image"):
        roundtrip.unpack(hdu=2, section=(slice(0, 1), slice(0, 1)))


@pytest.mark.parametrize("fidelity", ["lossless", "max-error"])
def test_a_section_keeps_its_place_on_the_sky(roundtrip, sky_image, fidelity):
    original = fits.PrimaryHDU(sky_image, wcs_header())
    original.add_checksum()
    whole = fits.getdata(io.BytesIO(roundtrip(original, fidelity=fidelity, tile_size=32)))
    back = roundtrip.unpack(section=(slice(20, 70), slice(33, None)))
    with fits.open(io.BytesIO(back), checksum=True) as hdus:
        hdus.verify("exception")
        (hdu,) = hdus
        assert np.array_equal(hdu.data, whole[20:70, 33:], equal_nan=True)
        old, new = WCS(original.header), WCS(hdu.header)
        assert np.allclose(new.wcs_pix2world([[1, 2]], 0), old.wcs_pix2world([[34, 22]], 0))
        assert hdu.header["CRPIX1"] == 50.5 - 33
        assert hdu.header.comments["CRPIX1"] == "where it is"
        assert hdu.header["CRPIX2"] == 101 - 20
        assert hdu.header["CRPIX1A"] == 7 - 33
        assert hdu.header["LTV1"] == -3 - 33
        assert hdu.header["OBJECT"] == "M31"


def test_a_section_of_a_cube_is_of_all_planes(roundtrip):
    cube = np.random.default_rng(0).normal(size=(2, 3, 40, 50))
    roundtrip(fits.PrimaryHDU(cube), fidelity="lossless", tile_size=16)
    back = roundtrip.unpack(section=(slice(7, 20), slice(3, 44)))
    assert np.array_equal(fits.getdata(io.BytesIO(back)), cube[..., 7:20, 3:44])


@pytest.mark.parametrize(
    "section",
    [
        (slice(0, 101), slice(0, 5)),
        (slice(50, 50), slice(0, 5)),
        (slice(100, 120), slice(0, 5)),
        (slice(0, 9), slice(0, 9, 2)),
    ],
)
def test_a_section_that_is_empty_or_outside_is_refused(roundtrip, sky_image, section):
    roundtrip(fits.PrimaryHDU(sky_image), fidelity="lossless")
    with pytest.raises(DataError, match="empty or outside"):
        roundtrip.unpack(section=section)


def test_a_file_without_an_image_of_two_axes_has_no_section(roundtrip):
    roundtrip(fits.PrimaryHDU(np.arange(9.0)))
    with pytest.raises(DataError, match="two axes"):
        roundtrip.unpack(section=(slice(0, 1), slice(0, 1)))


def test_names_of_files(tmp_path, sky_image):
    packed = tmp_path / "a.fits.avq"
    astro_vq.compress(sky_image, packed, fidelity="lossless", tokens=False)
    result = astro_vq.decompress(packed)
    assert result.output == str(tmp_path / "a.fits")
    assert result.input_bytes == packed.stat().st_size
    assert result.output_bytes == (tmp_path / "a.fits").stat().st_size
    assert result.ok
    assert result.to_dict()["damaged"] == []
    with pytest.raises(FileExistsError, match="overwrite"):
        astro_vq.decompress(packed)
    with pytest.raises(ValueError, match="name the output"):
        astro_vq.decompress(packed.rename(tmp_path / "b.x"))


def test_pixels_need_neither_model_nor_torch(tmp_path, sky_image, token_model):
    import subprocess
    import sys

    packed = tmp_path / "a.fits.avq"
    astro_vq.compress(sky_image, packed, model=token_model)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import astro_vq\n"
        f"astro_vq.decompress({str(packed)!r})\n"
        f"print(astro_vq.open({str(packed)!r}).section[3:5, 4:6].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 2)"


def test_tokens_decode_to_the_mean_of_the_model_with_missing_pixels_in_place(
    roundtrip, sky_image, token_model
):
    integers = np.rint(np.nan_to_num(sky_image, nan=0, posinf=0, neginf=0) + 100).astype("i2")
    integers[3:5, 6:9] = -99
    image = fits.ImageHDU(integers)
    image.header["BLANK"] = -99
    hdus = fits.HDUList([fits.PrimaryHDU(sky_image), image])
    back = roundtrip(hdus, fidelity="tokens", tokens=True, model=token_model)
    assert roundtrip.result.notes == ()
    with fits.open(io.BytesIO(back), do_not_scale_image_data=True) as found:
        assert found[0].header.tostring() == fits.PrimaryHDU(sky_image).header.tostring()
        lost = ~np.isfinite(sky_image)
        assert found[0].data.astype("f4")[lost].tobytes() == sky_image[lost].tobytes()
        assert np.isfinite(found[0].data[~lost]).all()
        assert np.array_equal(found[1].data == -99, integers == -99)
    with astro_vq.open(io.BytesIO(roundtrip.packed), model=token_model) as file:
        preview = file.preview
        assert np.array_equal(file.data[~lost], preview[~lost])
        assert preview.dtype == np.float32


def test_a_file_of_tokens_without_its_model_says_which(
    roundtrip, sky_image, token_model, other_model
):
    roundtrip(fits.PrimaryHDU(sky_image), fidelity="tokens", tokens=True, model=token_model)
    with pytest.raises(ModelMismatchError, match=r"'tiny' \(hash [0-9a-f]{64}\).*--embed-model"):
        roundtrip.unpack()
    with pytest.raises(ModelMismatchError, match=r"hash [0-9a-f]{64}, but [0-9a-f]{64} is needed"):
        roundtrip.unpack(model=other_model)


def test_an_embedded_model_decodes_anywhere(roundtrip, sky_image, token_model):
    choices = {"fidelity": "tokens", "tokens": True, "embed_model": True}
    expected = roundtrip(fits.PrimaryHDU(sky_image), model=token_model, **choices)
    assert roundtrip.unpack() == expected
    assert roundtrip.result.model_bytes > 1000
    assert astro_vq.open(io.BytesIO(roundtrip.packed)).info()["model"]["embedded"]


@pytest.mark.parametrize("content", [b"", b"short", b"no FITS at all" * 1000])
def test_what_is_no_fits_file_is_refused(content):
    with pytest.raises(FormatError, match="not a FITS file"):
        astro_vq.decompress(io.BytesIO(content), io.BytesIO())


def test_an_ordinary_fits_file_is_refused(sky_image):
    file = io.BytesIO()
    fits.PrimaryHDU(sky_image).writeto(file)
    with pytest.raises(FormatError, match=r"not an \.avq file"):
        astro_vq.decompress(file, io.BytesIO())


def test_a_write_that_fails_leaves_nothing(tmp_path, sky_image, monkeypatch):
    packed = tmp_path / "a.fits.avq"
    astro_vq.compress(sky_image, packed, tokens=False)

    def fail(*_, **__):
        raise OSError(28, "no room")

    monkeypatch.setattr("astro_vq.codec.decompress._write_block", fail)
    with pytest.raises(OSError, match="no room"):
        astro_vq.decompress(packed)
    assert list(tmp_path.iterdir()) == [packed]


def test_a_file_is_not_written_over_itself(tmp_path, sky_image):
    path = tmp_path / "a.fits.avq"
    astro_vq.compress(sky_image, path, tokens=False)
    for work in (astro_vq.compress, astro_vq.decompress):
        with pytest.raises(ValueError, match="is the input"):
            work(path, path, overwrite=True)
