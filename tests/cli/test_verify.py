"""astro-vq verify: states, problems, exit status."""

import json

import numpy as np
import pytest
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def packed(tmp_path):
    pixels = np.random.default_rng(3).normal(100, 8, (300, 40)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "sky.fits")
    image = tmp_path / "sky.fits"
    arguments = ("--max-error", "0.5", "--no-tokens", "--effort", 1)
    assert run("compress", image, *arguments).exit_code == 0
    return tmp_path / "sky.fits.avq"


def damage(path):
    """Change one byte near the end of the last tile's stream."""
    content = bytearray(path.read_bytes())
    place = len(content.rstrip(b"\0")) - 10
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_a_good_file_is_ok(packed):
    done = run("verify", packed)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    cells = dict(zip(*(line.replace("max error", "bound").split() for line in
                     done.stdout.splitlines()), strict=True))  # fmt: skip
    tiles = cells.pop("tiles")
    assert int(tiles) >= 1
    assert cells == {
        "file": str(packed),
        "state": "ok",
        "fidelity": "max-error",
        "hdus": "1",
        "damaged": "0",
        "bound": "0.5",
        "found": "-",
    }


def test_against_the_original_the_largest_error_is_measured(packed):
    done = run("verify", packed, "--against", packed.parent / "sky.fits", "--json")
    (report,) = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["ok"]
    assert 0.4 < report["hdus"][0]["largest_error"] <= 0.5
    assert report["hdus"][0]["header_identical"]


def test_another_original_is_a_problem(packed, tmp_path):
    other = tmp_path / "other.fits"
    pixels = fits.getdata(packed.parent / "sky.fits")
    pixels[7, 7] += 100
    fits.PrimaryHDU(pixels).writeto(other)
    done = run("verify", packed, "--against", other)
    assert done.exit_code == 1
    assert "where at most 0.5 is promised" in done.stderr
    assert "damaged" in done.stdout.splitlines()[1]


def test_a_damaged_tile_is_named_and_other_files_are_still_checked(packed, tmp_path):
    good = tmp_path / "good.fits.avq"
    good.write_bytes(packed.read_bytes())
    damage(packed)
    missing = tmp_path / "missing.avq"
    done = run("verify", packed, missing, good)
    assert done.exit_code == 1
    states = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}
    assert states == {str(packed): "damaged", str(good): "ok"}
    assert "tile" in done.stderr
    assert f"{missing}: No such file or directory" in done.stderr
    assert f"2 of 3 files failed: {packed}, {missing}" in done.stderr


def test_against_is_for_one_file(packed):
    done = run("verify", packed, "other.avq", "--against", "x.fits")
    assert done.exit_code == 2
    assert "--against is for one file" in done.stderr
