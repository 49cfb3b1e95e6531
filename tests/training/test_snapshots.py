"""Snapshots of codebooks: what is kept, what is dropped, and that runs write them."""

import numpy as np
import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.errors import FormatError
from astro_vq.metrics.codebook_levels import code_vectors, find_levels
from astro_vq.models import build_model
from astro_vq.training.loop import train
from astro_vq.training.snapshots import MOST, drop_snapshots, read_snapshots, save_snapshot


def make_model(**config):
    torch.manual_seed(0)
    model = build_model(ModelConfig(codes=8, latent_channels=4, **config), 1)
    for module in model.modules():
        if hasattr(module, "codebook"):
            module.codebook.data.normal_()
    return model


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ["codes"]),
        ({"quantizer": "residual", "depth": 2}, ["level 1", "level 2"]),
        ({"model": "vqvae2"}, ["bottom", "top"]),
    ],
)
def test_the_codes_of_every_level_are_kept(tmp_path, config, names):
    model = make_model(**config)
    save_snapshot(tmp_path, model, 7)
    (snapshot,) = read_snapshots(tmp_path)
    assert snapshot.step == 7
    assert sorted(snapshot.vectors) == names
    for level in find_levels(model):
        np.testing.assert_allclose(
            snapshot.vectors[level.name], code_vectors(level), rtol=1e-6, atol=1e-7
        )


def test_models_without_codes_that_learn_leave_nothing(tmp_path):
    save_snapshot(tmp_path, make_model(model="autoencoder"), 1)
    scalar = ModelConfig(quantizer="finite-scalar", latent_channels=3, levels=(3, 3, 2))
    save_snapshot(tmp_path, build_model(scalar, 1), 1)
    assert read_snapshots(tmp_path) == []
    assert not (tmp_path / "checkpoints").exists()


def test_long_runs_keep_few_the_first_and_last_among_them(tmp_path):
    model = make_model()
    for step in range(1, 3 * MOST):
        save_snapshot(tmp_path, model, step)
    steps = [snapshot.step for snapshot in read_snapshots(tmp_path)]
    assert MOST // 2 <= len(steps) <= MOST
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 3 * MOST - 1)


def test_snapshots_after_the_checkpoint_are_dropped(tmp_path):
    for step in (2, 4, 6):
        save_snapshot(tmp_path, make_model(), step)
    drop_snapshots(tmp_path, 4)
    assert [snapshot.step for snapshot in read_snapshots(tmp_path)] == [2, 4]


def test_damage_is_named(tmp_path):
    save_snapshot(tmp_path, make_model(), 1)
    (path,) = (tmp_path / "checkpoints" / "codebooks").iterdir()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FormatError, match="damaged snapshot"):
        read_snapshots(tmp_path)


def test_a_run_leaves_snapshots_from_its_first_step_to_its_last(tmp_path, options, monkeypatch):
    monkeypatch.setattr("astro_vq.training.trainer.write_outputs", lambda *_, **__: None)
    train(options, tmp_path / "run")
    snapshots = read_snapshots(tmp_path / "run")
    steps = [snapshot.step for snapshot in snapshots]
    assert {1, 2, 4, 8, 16, 20} <= set(steps)
    assert not np.array_equal(snapshots[0].vectors["codes"], snapshots[-1].vectors["codes"])
