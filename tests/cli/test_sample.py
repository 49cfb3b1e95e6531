"""Drawing images: what the file says, that seeds repeat, and what is refused."""

import json

import numpy as np
import pytest
import torch
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

import astro_vq
from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import ModelConfig, PriorConfig, RunConfig
from astro_vq.models import build_model
from astro_vq.priors import build_prior, save_prior

TINY = {"hidden_channels": 4, "latent_channels": 4, "codes": 8}


def run(*arguments):
    return CliRunner().invoke(main, ["sample", *map(str, arguments)])


def make(folder, channels=1, **options):
    torch.manual_seed(0)
    config = ModelConfig(**TINY, **options)
    save_model(folder, build_model(config, channels), RunConfig(model=config), name="tiny")
    return load_model(folder)


def give_prior(folder, loaded):
    prior = build_prior(loaded.model, PriorConfig(width=4, layers=1, context=4))
    save_prior(folder, prior, model_name=loaded.name, model_hash=loaded.hash)


@pytest.mark.parametrize("kind", ["vqvae", "vqvae2"])
def test_images_of_tokens_come_from_the_prior_beside_the_model(kind, tmp_path):
    loaded = make(tmp_path / "run", model=kind)
    give_prior(tmp_path / "run", loaded)
    path = tmp_path / "s.fits"
    done = run(tmp_path / "run", "-n", 3, "--size", 16, "--seed", 5, "-o", path)
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        f"{path}: 3 x 16 x 16 from tiny ({kind}), prior pixelcnn, seed 5, temperature 1\n"
    )
    with fits.open(path, checksum=True) as hdus:
        images, tokens, header = hdus[0].data, hdus["TOKENS"].data, hdus[0].header
    assert header["AVQHASH"] == loaded.hash
    assert (header["OBJECT"], header["AVQSEED"]) == ("generated", 5)
    assert "nothing here was observed" in str(header["COMMENT"])
    mean = loaded.model.decode_indices(torch.from_numpy(tokens.astype(np.int64)))
    np.testing.assert_allclose(np.arcsinh(images), mean[:, 0].detach(), rtol=1e-4, atol=1e-5)
    again = astro_vq.sample(tmp_path / "run", 3, size=16, seed=5)
    np.testing.assert_array_equal(again.images, images)
    other = astro_vq.sample(tmp_path / "run", 3, size=16, seed=6)
    assert (other.tokens != tokens).any()


@pytest.mark.parametrize("kind", ["vae", "iwae", "hierarchical-vae"])
def test_variational_models_draw_from_their_own_prior(kind, tmp_path):
    make(tmp_path / "run", channels=2, model=kind)
    done = run(tmp_path / "run", "-n", 2, "--seed", 1, "-o", tmp_path / "s.fits", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["shape"] == [2, 2, 64, 64]
    assert (document["kind"], document["prior"], document["seed"]) == (kind, "normal", 1)
    images = fits.getdata(tmp_path / "s.fits")
    np.testing.assert_array_equal(images, astro_vq.sample(tmp_path / "run", 2, seed=1).images)
    assert (images != astro_vq.sample(tmp_path / "run", 2, seed=2).images).any()
    cold = astro_vq.sample(tmp_path / "run", 2, seed=1, temperature=1e-6)
    if kind != "hierarchical-vae":  # there lower layers keep their own spread
        np.testing.assert_allclose(cold.images[0], cold.images[1], atol=1e-3)


def test_a_model_without_a_prior_is_told_how_to_get_one(tmp_path):
    make(tmp_path / "run")
    done = run(tmp_path / "run", "-o", tmp_path / "s.fits")
    assert done.exit_code == 1
    assert f"train one: astro-vq train --prior {tmp_path / 'run'}\n" in done.stderr
    assert not (tmp_path / "s.fits").exists()


def test_autoencoders_other_priors_and_wrong_sizes_are_refused(tmp_path):
    make(tmp_path / "plain", model="autoencoder")
    done = run(tmp_path / "plain", "-o", tmp_path / "s.fits")
    assert (done.exit_code, "Autoencoder has no prior" in done.stderr) == (1, True)
    give_prior(tmp_path / "run", make(tmp_path / "run"))
    make(tmp_path / "other", commitment=0.5)
    arguments = ("--prior", tmp_path / "run", "-o", tmp_path / "s.fits")
    done = run(tmp_path / "other", *arguments)
    assert (done.exit_code, "this prior is for model 'tiny'" in done.stderr) == (1, True)
    done = run(tmp_path / "run", "--size", 30, "-o", tmp_path / "s.fits")
    assert (done.exit_code, "try 32 x 32" in done.stderr) == (2, True)
    (tmp_path / "s.fits").touch()
    done = run(tmp_path / "run", "-o", tmp_path / "s.fits")
    assert (done.exit_code, "--overwrite" in done.stderr) == (1, True)
