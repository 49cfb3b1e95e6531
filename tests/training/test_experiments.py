"""The configurations of the experiments in the documentation."""

from pathlib import Path

import pytest
import torch

from astro_vq.config import DataConfig, read_toml
from astro_vq.models import build_model
from astro_vq.training.data import open_data
from astro_vq.training.noise import find_noise, set_noise
from astro_vq.training.settings import change_options

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "experiments"
PATHS = sorted(FOLDER.rglob("*.toml"))
SMALL = {"hidden_channels": 4, "codes": 8, "likelihood_lag": 2, "cutout_size": 16}


@pytest.fixture(scope="module")
def data(images):
    config = DataConfig(fits_dir=(str(images),), cutout_size=16, validation_fraction=0.3)
    return open_data(config, seed=0)


def test_every_experiment_is_on_the_page():
    page = (FOLDER.parent / "experiments.rst").read_text()
    missing = [path.stem for path in PATHS if f"``{path.stem}``" not in page]
    assert not missing
    assert len(PATHS) > 15


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_experiment_trains(path, data):
    config = change_options(read_toml(path), SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(config.model, data.channels).train()
        noise = find_noise(config, data.training.index)
        if noise is not None:
            set_noise(model, noise)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.training.learning_rate)
        batch = next(data.validation_batches(4, limit=4))
        before = [p.detach().clone() for p in model.parameters()]
        for _ in range(2):
            optimizer.zero_grad()
            loss = model.loss(batch)["loss"]
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)
    moved = [not torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True)]
    assert any(moved)
