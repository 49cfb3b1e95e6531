"""astro-vq decompress: names, sections, refusals, damage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astro_vq.cli.decompress import original_name
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an image of four tiles, and a lossless compressed file of it."""
    folder = tmp_path_factory.mktemp("made")
    pixels = np.random.default_rng(1).normal(100, 8, (512, 512)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(folder / "sky.fits")
    arguments = ("--lossless", "--no-tokens", "--effort", 1)
    assert run("compress", folder / "sky.fits", *arguments).exit_code == 0
    return folder


@pytest.fixture
def image(made, tmp_path):
    """The original under another name, beside a copy of the compressed file."""
    shutil.copy(made / "sky.fits.avq", tmp_path)
    return Path(shutil.copy(made / "sky.fits", tmp_path / "original.fits"))


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("a.fits.avq", "a.fits"),
        ("A.FITS.AVQ", "A.FITS"),
        ("a.fits.gz.avq", "a.fits"),
        ("a.fits.bz2.avq", "a.fits"),
        ("a.fits.fz.avq", "a.fits"),
        ("a.fits", None),
        (".avq", None),
    ],
)
def test_the_name_of_the_output(name, original):
    assert original_name(name) == original


def test_the_file_that_comes_back_is_identical(image, tmp_path):
    done = run("decompress", tmp_path / "sky.fits.avq")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "sky.fits").read_bytes() == image.read_bytes()
    header, row = done.stdout.splitlines()
    assert header.split() == ["file", "output", "size", "seconds"]
    assert row.split()[:2] == [str(tmp_path / "sky.fits.avq"), str(tmp_path / "sky.fits")]


def test_json_names_the_files(image, tmp_path):
    done = run("decompress", tmp_path / "sky.fits.avq", "-o", tmp_path / "new.fits", "--json")
    (result,) = json.loads(done.stdout)
    assert result["input"] == str(tmp_path / "sky.fits.avq")
    assert result["output"] == str(tmp_path / "new.fits")
    assert result["output_bytes"] == image.stat().st_size


def test_a_section_is_rows_then_columns(image, tmp_path):
    target = tmp_path / "corner.fits"
    done = run("decompress", tmp_path / "sky.fits.avq", "--section", "250:300,10:30", "-o", target)
    assert done.exit_code == 0, done.stderr
    expected = fits.getdata(image)[250:300, 10:30]
    assert np.array_equal(fits.getdata(target), expected)


def test_an_image_is_replaced_only_when_told(image, tmp_path):
    (tmp_path / "sky.fits").write_bytes(b"mine")
    refused = run("decompress", tmp_path / "sky.fits.avq")
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "sky.fits").read_bytes() == b"mine"
    assert run("decompress", tmp_path / "sky.fits.avq", "--overwrite").exit_code == 0


def test_a_name_that_does_not_tell_the_output_is_wrong_usage(image):
    done = run("decompress", image)
    assert done.exit_code == 2
    assert "give it with -o" in done.stderr


def test_a_file_that_is_not_compressed_is_refused(image, tmp_path):
    done = run("decompress", image, "-o", tmp_path / "new.fits")
    assert done.exit_code == 1
    assert "original.fits" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new.fits").exists()


def damage(path):
    """Change one byte in the middle of the pixel streams."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_tile_is_named_and_the_rest_decodes_with_keep_going(image, tmp_path):
    packed, target = tmp_path / "sky.fits.avq", tmp_path / "new.fits"
    damage(packed)
    refused = run("decompress", packed, "-o", target)
    assert refused.exit_code == 1
    assert "tile" in refused.stderr
    assert not target.exists()
    kept = run("decompress", packed, "-o", target, "--keep-going")
    assert kept.exit_code == 1
    assert "tile" in kept.stderr
    decoded, original = fits.getdata(target), fits.getdata(image)
    lost = np.isnan(decoded)
    assert 0 < lost.sum() < lost.size
    assert np.array_equal(decoded[~lost], original[~lost])
