"""The tokenize command: results, bad files, adding to a file, several processes."""

import json
import pickle

import numpy as np
import pytest
import torch
from astro_vq.cli.batch import Job
from astro_vq.cli.main import main
from astro_vq.cli.tokenize import tokenize_one
from astropy.io import fits
from click.testing import CliRunner

from astro_vq.checkpoint import save_model
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.io.token_file import TokenFile
from astro_vq.models import build_model


def run(*arguments):
    return CliRunner().invoke(main, ["tokenize", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a small model that is not trained."""
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=4, latent_channels=4, codes=8)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(folder, build_model(config, 1), RunConfig(model=config))
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(5, 2, (32, 32)).astype(np.float32)
        header = fits.Header({"OBJECT": f"field {seed}"} if seed else {})
        fits.writeto(folder / f"{seed}.fits", noise, header)
    return folder


def test_a_bad_file_is_named_and_the_others_are_kept(images, model, tmp_path):
    (images / "bad.fits").write_text("no image")
    output = tmp_path / "t.h5"
    done = run(images, "-m", model, "-o", output, "--device", "cpu")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["image", "maps", "tokens", "object"]
    assert [line.split(maxsplit=3)[1:] for line in lines[1:]] == [
        ["1", "64", "-"],
        ["1", "64", "field 1"],
        ["1", "64", "field 2"],
    ]
    assert f"1 of 4 files failed: {images / 'bad.fits'}" in done.stderr
    with TokenFile(output) as file:
        assert file.column("source") == [str(images / f"{n}.fits") for n in range(3)]


def test_files_are_added_once(images, model, tmp_path):
    output = tmp_path / "t.h5"
    assert run(images / "0.fits", "-m", model, "-o", output, "-q").exit_code == 0
    again = run(images, "-o", output)
    assert (again.exit_code, "--append" in again.stderr) == (1, True)
    done = run(images, "-m", model, "-o", output, "--append", "--json")
    assert done.exit_code == 0, done.output
    assert f"1 files are in {output} already: left out" in done.stderr
    assert f"{output}: 2 maps added" in done.stderr
    assert [item["objects"] for item in json.loads(done.stdout)] == [["field 1"], ["field 2"]]
    assert len(TokenFile(output)) == 3
    assert run(images, "-o", output, "--append", "--overwrite").exit_code == 2


def test_results_go_from_process_to_process(images, model):
    done = tokenize_one(Job(images / "1.fits"), model=str(model), device="cpu")
    again = pickle.loads(pickle.dumps(done))
    np.testing.assert_array_equal(
        again.result["found"].maps[0].indices, done.result["found"].maps[0].indices
    )
