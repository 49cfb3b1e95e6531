"""astro-vq demo: files, promises kept, refusal to overwrite."""

import json

import numpy as np
import pytest
from astro_vq.cli.demo_figure import Panel, draw_demo
from astro_vq.cli.demo_run import measure_error
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

FILES = {"sky.fits", "demo.png"} | {
    f"{fidelity}{ending}"
    for fidelity in ("tokens", "max-error", "lossless")
    for ending in (".fits", ".fits.avq")
}


def run(*arguments):
    return CliRunner().invoke(main, ["demo", *map(str, arguments)])


def test_the_demo_writes_its_files_and_keeps_its_promises(tmp_path):
    folder = tmp_path / "new"
    done = run("-o", folder, "--size", "128", "--json")
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == FILES
    tokens, bounded, lossless = json.loads(done.stdout)
    assert tokens["promised_error_sigma"] is None
    assert tokens["output_bytes"] < bounded["output_bytes"] < lossless["output_bytes"]
    assert 0 < bounded["max_error_sigma"] <= bounded["promised_error_sigma"] < 0.04
    assert bounded["rms_error_sigma"] < bounded["max_error_sigma"]
    assert lossless["identical"]
    assert lossless["max_error_sigma"] == 0
    assert (folder / "lossless.fits").read_bytes() == (folder / "sky.fits").read_bytes()
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_row_for_each_fidelity(tmp_path):
    done = run("-o", tmp_path, "--size", "64", "--seed", "5", "-q")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == (
        ["fidelity", "tokens", "max-error", "lossless", "errors"]
    )
    assert fits.getdata(tmp_path / "sky.fits").shape == (64, 64)


def test_files_of_an_earlier_demo_are_kept(tmp_path):
    (tmp_path / "tokens.fits").write_bytes(b"mine")
    done = run("-o", tmp_path, "--size", "64")
    assert done.exit_code == 1
    assert "tokens.fits is already there; use --overwrite" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.fits"]


def test_errors_are_measured_in_units_of_the_noise():
    original = np.zeros((2, 2), np.float32)
    decoded = np.array([[0, 2], [-4, 0]], np.float32)
    measured = measure_error(original, decoded, sigma=2.0, promised=5.0)
    assert measured == {
        "sigma": 2.0,
        "promised_error_sigma": 2.5,
        "max_error_sigma": 2.0,
        "rms_error_sigma": pytest.approx(np.sqrt(5) / 2),
        "median_error_sigma": 0.5,
        "identical": False,
    }


def test_the_picture_has_a_column_for_each_fidelity_beside_the_original():
    original = np.random.default_rng(0).normal(0, 1, (32, 32)).astype(np.float32)
    panels = [Panel("tokens", np.zeros_like(original), 0.1), Panel("lossless", original, 20.0)]
    figure = draw_demo(original, panels, level=0.0, sigma=1.0, original_bits=32)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:6] == [
        "original\n32 bits/pixel",
        "tokens\n0.1 bits/pixel",
        "lossless\n20 bits/pixel",
        "",
        "residual",
        "residual: none",
    ]
