"""astro-vq info: what stands in the table and in the JSON object."""

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
    """A file of a float image with a unit, an integer image and a table."""
    rng = np.random.default_rng(2)
    image = fits.PrimaryHDU(rng.normal(0, 1, (40, 300)).astype(np.float32))
    image.header["BUNIT"] = "Jy"
    mask = fits.ImageHDU(rng.integers(0, 4, (40, 300)).astype(np.uint8), name="MASK")
    table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])], name="STARS")
    fits.HDUList([image, mask, table]).writeto(tmp_path / "sky.fits")
    arguments = ("--max-error", "0.5", "--no-tokens", "--effort", 1)
    assert run("compress", tmp_path / "sky.fits", *arguments).exit_code == 0
    return tmp_path / "sky.fits.avq"


def test_the_table_has_a_row_for_each_hdu(packed):
    done = run("info", packed)
    assert done.exit_code == 0, done.stderr
    top, _, table = done.stdout.partition("\n\n")
    header, *rows = table.splitlines()
    assert header.split()[:6] == ["hdu", "kind", "name", "shape", "type", "unit"]
    assert "40 x 300" in rows[0]
    assert {"image", "float32", "Jy", "max-error", "0.5"} <= set(rows[0].split())
    assert {"image", "MASK", "uint8"} <= set(rows[1].split())
    assert {"other", "STARS", "lossless"} <= set(rows[2].split())
    assert len(rows) == 3
    size, original = packed.stat().st_size, (packed.parent / "sky.fits").stat().st_size
    assert f"{8 * size / (2 * 40 * 300):.4g} bits/pixel" in top
    assert f"sky.fits ({original / 1000:.3g} kB), ratio {original / size:.4g}" in top
    assert "model     none" in top


def test_json_is_one_object(packed):
    about = json.loads(run("info", packed, "--json").stdout)
    assert about["file"] == str(packed)
    assert about["bytes"] == packed.stat().st_size
    assert [hdu["fidelity"] for hdu in about["hdus"]][:2] == ["max-error", "lossless"]


def test_the_model_is_named_with_its_hash(packed):
    image = packed.parent / "sky.fits"
    assert run("compress", image, "--tokens", "--embed-model", "--overwrite").exit_code == 0
    done = run("info", packed)
    about = json.loads(run("info", packed, "--json").stdout)
    assert f"default (embedded, {about['model']['bytes'] / 1000:.3g} kB)" in done.stdout
    assert about["model"]["hash"] in done.stdout
    assert "measured  HDU 0: rms error" in done.stdout


def test_tokens_are_counted_on_demand(packed):
    image = packed.parent / "sky.fits"
    assert run("compress", image, "--tokens", "-m", "dense", "--overwrite").exit_code == 0
    about = json.loads(run("info", packed, "--tokens", "--json").stdout)["hdus"][0]
    bits = about["tokens"]["bits"]
    assert bits["count"] == 10 * 75  # 4 x 4 pixels each
    assert bits["fixed_width"] == 8
    assert bits["coded"] == 8 * about["token_bytes"] / 750
    assert 0 < bits["order_0"] < 8
    line = f"750, of {bits['coded']:.3g} bits (fixed width 8, order-0 entropy {bits['order_0']:.3g}"
    assert line in run("info", packed, "--tokens").stdout
    assert "fixed width" not in run("info", packed).stdout


def test_a_file_that_is_not_compressed_is_refused(packed):
    done = run("info", packed.parent / "sky.fits")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "sky.fits" in done.stderr
    assert len(done.stderr.splitlines()) == 1
