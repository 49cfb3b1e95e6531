"""``train --prior``: what goes to the library, what is printed, and what does not go together."""

import json

import numpy as np
import pytest
import torch
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import DataConfig, ModelConfig, RunConfig
from astro_vq.models import build_model
from astro_vq.priors import load_prior


def run(*arguments):
    return CliRunner().invoke(main, ["train", "--prior", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    """Folder of a model that says that it was trained on images which are there."""
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(5, 2, (40, 40)).astype(np.float32)
        fits.writeto(images / f"{seed}.fits", noise)
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=4, latent_channels=4, codes=8)
    data = DataConfig(fits_dir=(str(images),), cutout_size=32, validation_fraction=0.4)
    save_model(tmp_path / "run", build_model(config, 1), RunConfig(data=data, model=config))
    return tmp_path / "run"


def test_a_prior_lies_beside_its_model_unless_another_folder_is_named(model, tmp_path):
    done = run(model, "--steps", 1, "--batch-size", 2, "--device", "cpu")
    assert done.exit_code == 0, done.output
    first, second, third = done.stdout.splitlines()
    assert first == f"prior       {model / 'prior.safetensors'}"
    assert second.startswith("trained     1 steps")
    assert third.startswith("validation  ")
    assert third.endswith("fixed width 3")
    assert load_prior(model).model_hash == load_model(model).hash
    again = run(model, "--steps", 1)
    assert (again.exit_code, "--overwrite" in again.stderr) == (1, True)
    other = ("--cutout-size", 32, "--fits-dir", tmp_path / "images", "-o", tmp_path / "p")
    done = run(model, "--steps", 1, *other, "--json", "-q")
    assert json.loads(done.stdout)["output"] == str(tmp_path / "p" / "prior.safetensors")
    assert done.stderr == ""


def test_what_does_not_go_together_is_wrong_usage(model):
    for arguments, message in (
        (("--codes", 16), "--codes: with --prior the model is trained already"),
        (("--resume",), "--resume does not go with --prior"),
    ):
        done = run(model, *arguments)
        assert (done.exit_code, message in done.stderr) == (2, True)
    done = run("default")
    assert (done.exit_code, "name one with -o DIR" in done.stderr) == (2, True)


def test_images_that_are_gone_are_named(model, tmp_path):
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    done = run(model)
    assert done.exit_code == 1
    assert f"are not here ({tmp_path / 'images'}): name some with --fits-dir" in done.stderr
