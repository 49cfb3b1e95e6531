import io
import json

import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.errors import FormatError


@pytest.fixture
def pair(tmp_path, sky_image):
    """An original file and its compressed form, by fidelity."""

    def make(**choices):
        table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(500))])
        counts = np.random.default_rng(0).integers(0, 99, (40, 40)).astype("u2")
        hdus = [fits.PrimaryHDU(sky_image), fits.ImageHDU(counts, name="CTS"), table]
        original, packed = tmp_path / "a.fits", tmp_path / "a.avq"
        fits.HDUList(hdus).writeto(original, overwrite=True)
        choices = {"tokens": False, "effort": 1, "tile_size": 32} | choices
        astro_vq.compress(original, packed, overwrite=True, **choices)
        return original, packed

    return make


@pytest.mark.parametrize("choices", [{"fidelity": "lossless"}, {"max_error": 0.5}, {}])
def test_a_good_file_has_no_problems(pair, choices):
    original, packed = pair(**choices)
    assert astro_vq.verify(packed).ok
    report = astro_vq.verify(packed, against=original)
    assert report.ok
    assert report.against == str(original)
    json.dumps(report.to_dict(), allow_nan=False)
    image, counts, table = report.hdus
    assert image["header_identical"]
    assert image["missing_identical"]
    assert image["tiles"] == 9
    assert image["damaged_tiles"] == 0
    assert image["pixels_identical"] == (choices.get("fidelity") == "lossless")
    assert image["largest_error"] <= image["max_error"]
    assert counts["pixels_identical"]
    assert counts["name"] == "CTS"
    assert table["pixels_identical"]


def test_a_file_of_tokens_is_verified_with_its_model(pair, token_model):
    original, packed = pair(fidelity="tokens", tokens=True, model=token_model)
    assert astro_vq.verify(packed).ok
    report = astro_vq.verify(packed, against=original, model=token_model)
    assert report.ok
    assert report.hdus[0]["max_error"] is None
    assert 0 < report.hdus[0]["largest_error"] < 1e4


def test_another_original_is_found_out(pair, tmp_path):
    original, packed = pair(max_error=0.5)
    with fits.open(original) as hdus:
        hdus[0].data[50, 50] += 2
        hdus[0].header["OBJECT"] = "another"
        hdus[1].data[3, 3] += 1
        hdus[2].data["A"][7] = -1
        hdus.writeto(tmp_path / "other.fits")
    report = astro_vq.verify(packed, against=tmp_path / "other.fits")
    text = "\n".join(report.problems)
    assert not report.ok
    assert "HDU 0: the header is not that of the original" in text
    assert "HDU 0: an error of" in text
    assert "HDU 1: lossless, but its pixels are not identical" in text
    assert "HDU 2 is not that of the original" in text


def test_a_nan_that_moved_is_found_out(pair, tmp_path):
    original, packed = pair(max_error=0.5)
    with fits.open(original) as hdus:
        hdus[0].data[50, 50] = np.nan
        hdus.writeto(tmp_path / "other.fits")
    report = astro_vq.verify(packed, against=tmp_path / "other.fits")
    assert report.problems == ("HDU 0: missing pixels are not where they were",)


def test_an_original_with_other_hdus_is_found_out(pair, tmp_path):
    _, packed = pair()
    other = tmp_path / "other.fits"
    fits.PrimaryHDU(np.ones((3, 3))).writeto(other)
    report = astro_vq.verify(packed, against=other)
    assert "the original has 1 HDUs, the file 3" in report.problems


def test_damage_is_told_tile_by_tile(pair):
    original, packed = pair(fidelity="lossless")
    content = bytearray(packed.read_bytes())
    with astro_vq.open(io.BytesIO(content)) as file:
        heap = file[0]._hdu.offset + 10 * 32
    content[heap + 3] ^= 1
    report = astro_vq.verify(io.BytesIO(content), against=original)
    assert report.hdus[0]["damaged_tiles"] == 1
    text = "\n".join(report.problems)
    assert "HDU 0: tile 0 is damaged (plane 0, rows 0:40, columns 0:32)" in text
    assert "DATASUM is wrong" in text


def test_what_is_no_avq_file_is_an_error(pair):
    original, _ = pair()
    with pytest.raises(FormatError, match=r"not an \.avq file"):
        astro_vq.verify(original)
