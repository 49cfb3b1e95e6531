"""What is written is decoded before it is there, and an input deleted only after that."""

import io
import os

import numpy as np
import pytest
from astropy.io import fits

import astro_vq
from astro_vq.codec.loaded_models import load_once
from astro_vq.errors import DataError, VerificationError


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "raw.fits"
    pixels = np.random.default_rng(0).normal(100, 8, (40, 48)).astype(np.int16)
    fits.PrimaryHDU(pixels).writeto(path)
    return path


@pytest.fixture
def wrong_bits(monkeypatch):
    """Let one pixel of each block of an image come back wrong."""
    from astro_vq.codec.stored_image import StoredImage

    right = StoredImage.iter_blocks

    def wrong(self, **options):
        for place, values in right(self, **options):
            values = values.copy()
            values[0, 0] += 100
            yield place, values

    monkeypatch.setattr(StoredImage, "iter_blocks", wrong)


@pytest.mark.parametrize(
    ("options", "checked"),
    [
        ({}, False),
        ({"verify": True}, True),
        ({"verify": "lossless"}, True),
        ({"verify": "lossless", "max_error": 2}, False),
        ({"verify": True, "max_error": 2}, True),
        ({"verify": True, "fidelity": "tokens", "tokens": True}, True),
    ],
)
def test_a_file_is_verified_when_asked(image, options, checked):
    result = astro_vq.compress(image, **({"tokens": False} | options))
    assert (result.verify_seconds is not None) == checked
    assert (result.model is None) == (not options.get("tokens", False))
    assert result.to_dict()["verify_seconds"] == result.verify_seconds


def test_what_does_not_come_back_is_not_kept(image, wrong_bits):
    with pytest.raises(VerificationError, match=r"not give back .*raw.fits.*not identical"):
        astro_vq.compress(image, tokens=False, verify="lossless", delete_input=True)
    assert [path.name for path in image.parent.iterdir()] == ["raw.fits"]
    with pytest.raises(VerificationError, match=r"an error of \d+ where at most 3 is"):
        astro_vq.compress(image, io.BytesIO(), tokens=False, verify=True, max_error=3)


def test_an_input_is_deleted_when_its_file_is_there(image):
    before = image.read_bytes()
    astro_vq.compress(image, tokens=False, delete_input=True)
    packed = image.with_name("raw.fits.avq")
    assert [path.name for path in image.parent.iterdir()] == [packed.name]
    astro_vq.decompress(packed)
    assert image.read_bytes() == before


def test_an_input_is_kept_when_anything_is_amiss(image, monkeypatch):
    image.with_name("raw.fits.avq").write_bytes(b"there")
    with pytest.raises(FileExistsError):
        astro_vq.compress(image, tokens=False, delete_input=True)
    with pytest.raises(ValueError, match="tokens have none"):
        astro_vq.compress(image, fidelity="tokens", delete_input=True)
    with pytest.raises(ValueError, match="that are files"):
        astro_vq.compress(image, io.BytesIO(), tokens=False, delete_input=True)
    with pytest.raises(ValueError, match="that are files"):
        astro_vq.compress(np.ones((9, 9)), image.with_name("x"), tokens=False, delete_input=True)
    with pytest.raises(ValueError, match="verify must be"):
        astro_vq.compress(image, tokens=False, verify="yes")
    assert image.exists()

    def touch(*_, **__):
        os.utime(image, (1, 1))

    monkeypatch.setattr("astro_vq.codec.compress.check_written", touch)
    with pytest.raises(DataError, match="was changed while it was compressed, so it is not"):
        astro_vq.compress(image, tokens=False, delete_input=True, overwrite=True)
    assert image.exists()


def test_a_model_is_loaded_once_until_its_file_changes(tmp_path):
    shipped = load_once("default", device="cpu")
    assert load_once("default", device="cpu") is shipped
    from astro_vq.checkpoint import model_to_bytes

    path = tmp_path / "model.safetensors"
    path.write_bytes(model_to_bytes(shipped.loaded))
    first = load_once(tmp_path, device="cpu")
    assert load_once(tmp_path, device="cpu") is first
    os.utime(path, (1, 1))
    again = load_once(tmp_path, device="cpu")
    assert again is not first
    assert again.loaded.hash == first.loaded.hash
