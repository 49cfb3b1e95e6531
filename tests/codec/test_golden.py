"""Files of earlier versions decode for ever."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_vq

FOLDER = Path(__file__).resolve().parents[1] / "golden"


def load_maker():
    spec = importlib.util.spec_from_file_location("make_golden", FOLDER / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()


def unpack(name: str) -> bytes:
    target = io.BytesIO()
    astro_vq.decompress(FOLDER / f"{name}.avq", target)
    return target.getvalue()


def test_every_golden_file_has_a_case():
    assert {path.stem for path in FOLDER.glob("*.avq")} == set(MAKER.CASES)


@pytest.mark.parametrize("original", ["floats", "several"])
def test_lossless_files_decode_to_the_same_bytes(original):
    assert unpack(f"{original}-lossless") == MAKER.ORIGINALS[original]()


@pytest.mark.parametrize(("original", "bound"), [("floats", 0.5), ("several", 2.0)])
def test_bounded_files_decode_within_their_bound(original, bound, tmp_path):
    path = tmp_path / "original.fits"
    path.write_bytes(MAKER.ORIGINALS[original]())
    packed = FOLDER / f"{original}-max-error.avq"
    report = astro_vq.verify(packed, against=path)
    assert report.problems == ()
    with astro_vq.open(packed) as file:
        assert file.info()["hdus"][0]["max_error"] in (bound, 0.0)


def test_tokens_and_their_image_are_what_they_were():
    with astro_vq.open(FOLDER / "floats-tokens.avq") as file:
        tokens, image = file.tokens, file.data
    expected = np.load(FOLDER / "floats-tokens.npz")
    assert np.array_equal(tokens, expected["tokens"])
    assert np.allclose(image, expected["image"], rtol=1e-4, equal_nan=True)
    original = fits.getdata(io.BytesIO(MAKER.ORIGINALS["floats"]()))
    assert np.array_equal(np.isfinite(image), np.isfinite(original))
