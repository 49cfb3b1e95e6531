"""Priors there and back, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from astro_vq.config import PriorConfig
from astro_vq.errors import FormatError, ModelMismatchError
from astro_vq.priors import TokenPrior, load_prior, save_prior
from astro_vq.priors.pixelcnn import MapShape

HASH = "ab" * 32


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    prior = TokenPrior(MapShape(5, 2), levels=2, config=PriorConfig(width=4, layers=1))
    save_prior(tmp_path, prior, model_name="m", model_hash=HASH, extra={"bits": 3.5})
    return tmp_path


def test_a_prior_comes_back_the_same(folder):
    loaded = load_prior(folder, model_hash=HASH)
    assert (loaded.model_name, loaded.model_hash, loaded.extra) == ("m", HASH, {"bits": 3.5})
    torch.manual_seed(0)
    prior = TokenPrior(MapShape(5, 2), levels=2, config=PriorConfig(width=4, layers=1))
    indices = torch.randint(0, 5, (1, 10, 3, 3))
    assert torch.equal(prior.log_prob(indices), loaded.prior.log_prob(indices))
    assert json.loads((folder / "prior.json").read_text())["model_hash"] == HASH


def test_a_prior_of_another_model_is_refused(folder):
    with pytest.raises(ModelMismatchError, match="train --prior"):
        load_prior(folder, model_hash="cd" * 32)


def test_a_prior_is_not_replaced_unasked(folder):
    prior = load_prior(folder).prior
    with pytest.raises(FileExistsError, match="--overwrite"):
        save_prior(folder, prior, model_name="m", model_hash=HASH)


def test_damage_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no prior here"):
        load_prior(tmp_path / "elsewhere")
    path = folder / "prior.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(FormatError, match="damaged prior"):
        load_prior(folder)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(FormatError, match="not a prior"):
        load_prior(folder)
    about = {"format": 2, "version": "9"}
    save_file({"a": torch.zeros(1)}, path, metadata={"astro_vq_prior": json.dumps(about)})
    with pytest.raises(FormatError, match="upgrade astro-vq"):
        load_prior(folder)
    save_file({"a": torch.zeros(1)}, path, metadata={"astro_vq_prior": '{"format": 1}'})
    with pytest.raises(FormatError, match="lacks 'codes'"):
        load_prior(folder)
