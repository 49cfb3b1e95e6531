"""Checkpoints: what is saved comes back, and nothing half-written is taken for one."""

import json

import pytest
import torch

from astro_vq.config import ModelConfig, RunConfig
from astro_vq.errors import FormatError
from astro_vq.models import PlainBatch, build_model
from astro_vq.training.folder import RunFolder
from astro_vq.training.state import Position, load_checkpoint, restore, save_checkpoint

CONFIG = RunConfig(model=ModelConfig(hidden_channels=4, latent_channels=3, codes=5))


def make_parts(steps, seed=0):
    torch.manual_seed(seed)
    model = build_model(CONFIG.model, 1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    take_steps(model, optimizer, steps)
    return model, optimizer


def take_steps(model, optimizer, steps):
    for _ in range(steps):
        batch = PlainBatch(torch.randn(2, 1, 8, 8))
        optimizer.zero_grad()
        model.loss(batch)["loss"].backward()
        optimizer.step()


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.start(keep=False)
    return folder


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng():
        yield


def test_training_goes_on_exactly_as_if_it_had_not_stopped(folder):
    model, optimizer = make_parts(3)
    save_checkpoint(folder, model, optimizer, CONFIG, Position(3, 1.5, 0.25, 2))
    take_steps(model, optimizer, 3)

    again, fresh = make_parts(0, seed=1)
    checkpoint = load_checkpoint(folder.last_checkpoint)
    restore(checkpoint, again, fresh)
    assert checkpoint.position == Position(3, 1.5, 0.25, 2)
    assert checkpoint.config == CONFIG
    take_steps(again, fresh, 3)
    expected = model.state_dict()
    assert expected.keys() == again.state_dict().keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_terms_and_data_are_kept(folder):
    model, optimizer = make_parts(1)
    pending = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    save_checkpoint(
        folder,
        model,
        optimizer,
        CONFIG,
        Position(),
        terms=("loss", "kl"),
        pending=pending,
        data={"files": 3},
    )
    checkpoint = load_checkpoint(folder.last_checkpoint)
    assert checkpoint.terms == ("loss", "kl")
    assert torch.equal(checkpoint.pending, pending)
    assert checkpoint.data == {"files": 3}


def test_a_new_checkpoint_takes_the_place_of_the_old(folder):
    model, optimizer = make_parts(1)
    for step in (1, 2):
        save_checkpoint(folder, model, optimizer, CONFIG, Position(step))
    assert [p.name for p in folder.checkpoints.iterdir()] == ["last"]
    assert load_checkpoint(folder.last_checkpoint).position.step == 2


def test_an_interrupted_save_leaves_the_checkpoint_before(folder, monkeypatch):
    model, optimizer = make_parts(1)
    save_checkpoint(folder, model, optimizer, CONFIG, Position(1))
    monkeypatch.setattr("astro_vq.training.state._write", _full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(folder, model, optimizer, CONFIG, Position(2))
    assert load_checkpoint(folder.last_checkpoint).position.step == 1


def _full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_damaged_checkpoint_is_refused(folder):
    model, optimizer = make_parts(1)
    save_checkpoint(folder, model, optimizer, CONFIG, Position(1))
    path = folder.last_checkpoint
    about = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(FormatError, match="checkpoint format 99 is not known"):
        load_checkpoint(path)
    (path / "state.json").write_text(json.dumps(about | {"position": {"stp": 1}}))
    with pytest.raises(FormatError, match="damaged checkpoint"):
        load_checkpoint(path)
    (path / "state.json").write_text(json.dumps(about)[:50])
    with pytest.raises(FormatError, match="damaged checkpoint"):
        load_checkpoint(path)
    (path / "state.json").write_text(json.dumps(about))
    tensors = (path / "state.safetensors").read_bytes()
    (path / "state.safetensors").write_bytes(tensors[: len(tensors) // 2])
    with pytest.raises(FormatError, match="damaged checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_model_is_refused(folder):
    model, optimizer = make_parts(1)
    save_checkpoint(folder, model, optimizer, CONFIG, Position(1))
    other = build_model(ModelConfig(hidden_channels=8, latent_channels=3, codes=5), 1)
    with pytest.raises(FormatError, match="does not fit its model"):
        restore(
            load_checkpoint(folder.last_checkpoint),
            other,
            torch.optim.Adam(other.parameters()),
        )
