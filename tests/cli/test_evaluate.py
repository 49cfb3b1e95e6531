"""The evaluate command."""

import json

import numpy as np
import pytest
import torch
from astro_vq.cli.evaluate_figure import short_names
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

from astro_vq.checkpoint import save_model
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.models import build_model

SMALL = {"hidden_channels": 4, "latent_channels": 3, "codes": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with two images, the same with maps of their noise, and four models."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "sky").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    for number in range(2):
        image = rng.normal(0, 1, (48, 48)) + 90 * np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 4)
        fits.writeto(folder / "sky" / f"{number}.fits", image.astype(np.float32))
        (folder / "maps").mkdir(exist_ok=True)
        for name, values in ((f"{number}.fits", image), (f"{number}_rms.fits", np.ones((48, 48)))):
            fits.writeto(folder / "maps" / name, values.astype(np.float32))
    for name, changes in {
        "one": {"model": "vqvae"},
        "two": {"model": "vae", "likelihood": "multivariate-normal"},
        "given": {"model": "autoencoder", "likelihood_scale": "given"},
        "bins": {"model": "autoencoder", "likelihood": "discretized-logistic"},
    }.items():
        config = RunConfig(model=ModelConfig(**(SMALL | changes)))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            save_model(folder / name, build_model(config.model, 1), config)
    return folder


def run(place, *arguments, models=("one", "two")):
    names = [str(place / name) for name in models]
    options = ["--data", str(place / "sky"), "--cutout-size", "16", "--device", "cpu"]
    return CliRunner().invoke(main, ["evaluate", *names, *options, *map(str, arguments)])


def test_models_stand_side_by_side_in_a_table(place):
    done = run(place)
    assert done.exit_code == 0, done.stderr
    header, one, two = done.stdout.splitlines()
    assert header.split()[:4] == ["model", "likelihood", "NLL", "+-"]
    assert one.startswith(str(place / "one"))
    assert "multivariate-normal" in two
    assert "2 images" in done.stderr


def test_json_has_every_figure_and_the_plot_is_written(place, tmp_path):
    plot = tmp_path / "plot.png"
    done = run(place, "--json", "--samples", 5, "-o", plot)
    assert done.exit_code == 0, done.stderr
    one, two = json.loads(done.stdout)
    assert one["bound"] is None
    assert two["samples"] == 5
    assert two["bound"] > 0
    assert one["fluxes"]["sources"] >= 1
    assert one["pixels"] == two["pixels"] == one["cutouts"] * 16 * 16
    assert plot.read_bytes().startswith(b"\x89PNG")
    again = run(place, "-o", plot)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_names_in_the_plot_are_short_where_that_tells_them_apart():
    assert short_names(["runs/a", "/tmp/b/", "c"]) == ["a", "b", "c"]
    assert short_names(["one/run", "two/run"]) == ["one/run", "two/run"]
    assert short_names(["run", "run"]) == ["run", "run"]
    assert short_names([".", "a"]) == [".", "a"]


def test_one_file_will_do_and_bins_are_not_compared_with_densities(place):
    names = [str(place / name) for name in ("one", "bins")]
    file = str(place / "sky" / "0.fits")
    arguments = ["evaluate", *names, "--data", file, "--cutout-size", "16", "--frames", "0"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    assert "not to be compared" in done.stderr
    assert done.stdout.splitlines()[1].endswith("-        -      -")


def test_models_of_given_noise_need_weight_maps_and_take_them(place):
    done = run(place, models=("given",))
    assert done.exit_code == 1
    assert "say where those of these images are, with --weights" in done.stderr
    maps = ["--data", str(place / "maps"), "--cutout-size", "16", "--device", "cpu"]
    maps += ["--weights", "*_rms.fits", "--weight-kind", "sigma", "--json"]
    done = CliRunner().invoke(main, ["evaluate", str(place / "given"), *maps])
    assert done.exit_code == 0, done.stderr
    assert "2 images of 2 files" in done.stderr
    assert json.loads(done.stdout)[0]["chi_squared"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--cutout-size", "18"], 2, "is no multiple of 4"),
        (["-o", "plot.txt"], 2, "must end in .png"),
        (["--data", "nowhere"], 1, "nowhere does not exist"),
        (["--weights", "WHT"], 1, "2 no weight map"),
        (["--weight-kind", "weight"], 2, "'weight' is not one of"),
    ],
)
def test_wrong_usage_is_one_line(place, arguments, status, message):
    done = run(place, *arguments)
    assert done.exit_code == status
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_model_that_is_not_there_is_named(place):
    done = run(place, models=("three",))
    assert done.exit_code == 1
    assert "three" in done.stderr
