"""astro-vq codebook: files written, table, errors."""

import json

import h5py
import numpy as np
import pytest
import torch
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

from astro_vq.checkpoint import save_model
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.models import build_model
from astro_vq.training.snapshots import save_snapshot


def save_run(folder, **model):
    config = RunConfig(model=ModelConfig(codes=12, latent_channels=4, **model))
    torch.manual_seed(0)
    save_model(folder, build_model(config.model, 1), config)
    return folder


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    pixels = np.random.default_rng(0).normal(10, 1, (96, 96)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "data" / "a.fits")
    return tmp_path / "data"


def run(*arguments):
    return CliRunner().invoke(main, ["codebook", *map(str, arguments)])


def test_a_page_pictures_json_and_hdf5_are_written(tmp_path, data):
    model = save_run(tmp_path / "run")
    (model / "metrics.csv").write_text(
        "step,split,perplexity,dead_codes\n1,train,3.0,9\n2,train,5.0,\n3,train,6.0,2\n"
    )
    for step, seed in ((1, 1), (3, 2)):
        torch.manual_seed(seed)
        earlier = build_model(ModelConfig(codes=12, latent_channels=4), 1)
        earlier.quantizer.codebook.data.normal_()
        save_snapshot(model, earlier, step)
    out = tmp_path / "out"
    done = run(model, "--data", data, "--image", data / "a.fits", "-o", out)
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert names == {
        "codebook.html", "codebook.json", "codebook.h5", "atlas.png", "usage.png", "examples.png",
        "projection.png", "map.png", "drift.png",
    }  # fmt: skip
    document = json.loads((out / "codebook.json").read_text())
    (level,) = document["levels"]
    assert level["codes"] == 12
    assert sum(level["counts"]) == level["tokens"] > 0
    assert document["history"]["perplexity"] == [3.0, 6.0]
    (drift,) = document["drift"]
    assert (drift["name"], drift["steps"]) == ("codes", [1, 3])
    assert drift["median"][0] > 0
    assert drift["median"][1] == 0
    assert done.stdout.splitlines()[1].split()[:3] == ["codes", "12", str(level["tokens"])]
    with h5py.File(out / "codebook.h5") as file:
        assert file["codes/counts"][()].tolist() == level["counts"]
        assert file["codes/vectors"].shape == (12, 4)
        assert file["drift/codes/median"][()].tolist() == drift["median"]
        assert file["image_codes/codes"].shape == (96 // document["stride"],) * 2
    page = (out / "codebook.html").read_text()
    assert "https://" not in page
    assert page.count("data:image/png") == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "levels"),
    [
        ({"quantizer": "residual", "depth": 2}, ["level 1", "level 2"]),
        ({"model": "vqvae2"}, ["top", "bottom"]),
    ],
)
def test_models_of_several_levels_have_a_part_for_each(tmp_path, data, model, levels):
    done = run(
        save_run(tmp_path / "run", **model), "--data", data, "-o", tmp_path / "out", "--json",
        "--cutout-size", 32,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [level["name"] for level in json.loads(done.stdout)["levels"]] == levels
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"atlas-{level.replace(' ', '-')}.png" for level in levels} <= names


def test_without_data_the_codes_alone_are_shown(tmp_path):
    done = run(save_run(tmp_path / "run"), "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split()[:-1] == ["codes", "12", "0", "-", "-", "-"]


def test_errors_are_one_line(tmp_path, data):
    done = run("nowhere", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "nowhere" in done.stderr
    model = save_run(tmp_path / "run")
    done = run(model, "--data", tmp_path / "none", "-o", tmp_path / "out")
    assert done.exit_code == 1
    autoencoder = save_run(tmp_path / "plain", model="autoencoder")
    done = run(autoencoder, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "no codebook" in done.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "codebook.html").write_text("mine")
    done = run(model, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "--overwrite" in done.stderr
