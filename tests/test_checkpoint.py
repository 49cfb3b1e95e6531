"""Saved models: the same after a round trip, known by their content, refused when damaged."""

import json
import struct

import pytest
import torch

from astro_vq import __version__, checkpoint
from astro_vq.checkpoint import (
    content_hash,
    load_model,
    model_from_bytes,
    model_to_bytes,
    save_model,
)
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.errors import FormatError, ModelMismatchError
from astro_vq.models import build_model, zoo

CONFIG = RunConfig(model=ModelConfig(codes=16, latent_channels=4, hidden_channels=4))


def make(seed=0, config=CONFIG, channels=1):
    torch.manual_seed(seed)
    return build_model(config.model, channels)


@pytest.fixture
def saved(tmp_path):
    save_model(tmp_path / "run", make(), CONFIG, card="a card", extra={"loss": 1.5})
    return tmp_path / "run"


def rewrite(path, change):
    """Change the JSON description within a safetensors file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["astro_vq"])
    change(about)
    header["__metadata__"]["astro_vq"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def test_a_saved_model_comes_back_with_every_bit(saved):
    model = make()
    loaded = load_model(saved)
    assert loaded.config == CONFIG
    assert loaded.name == "run"
    assert loaded.extra == {"loss": 1.5}
    assert loaded.hash == content_hash(model, CONFIG.model)
    assert not loaded.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert (saved / "MODEL_CARD.md").read_text() == "a card"
    about = json.loads((saved / "model.json").read_text())
    assert (about["format"], about["version"]) == (1, __version__)
    assert about["hash"] == loaded.hash
    assert sorted(p.name for p in saved.iterdir()) == [
        "MODEL_CARD.md",
        "model.json",
        "model.safetensors",
    ]


def test_a_model_survives_bytes(saved):
    loaded = load_model(saved)
    again = model_from_bytes(model_to_bytes(loaded))
    assert again.hash == loaded.hash
    assert again.config == loaded.config
    assert again.extra == loaded.extra
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(again.model.encode_indices(x), loaded.model.encode_indices(x))


def test_the_hash_is_over_weights_configuration_and_channels():
    base = content_hash(make(), CONFIG.model)
    assert content_hash(make(), CONFIG.model) == base
    assert content_hash(make(seed=1), CONFIG.model) != base
    assert content_hash(make(channels=2), CONFIG.model) != base
    other = ModelConfig(codes=16, latent_channels=4, hidden_channels=4, commitment=0.5)
    assert content_hash(make(), other) != base


def test_the_hash_never_changes_its_meaning():
    model = make()
    with torch.no_grad():
        for i, name in enumerate(sorted(model.state_dict())):
            model.state_dict()[name].fill_(i)
    assert content_hash(model, CONFIG.model) == (
        "89be2ff936a6ebf8a3bc5abafb7a38bc77f52a94d68c5f9bca2bfb8f91759402"
    )


def test_loading_leaves_the_global_generator_alone(saved):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    load_model(saved)
    assert torch.equal(torch.rand(2), expected)


def test_a_missing_model_is_named_with_its_hash_and_the_ways_to_get_it(tmp_path):
    with pytest.raises(ModelMismatchError) as caught:
        load_model("andromeda", expected_hash="ab" * 32)
    message = str(caught.value)
    for part in ("'andromeda'", "ab" * 32, "-m RUN", "--embed-model", "ships it"):
        assert part in message
    with pytest.raises(ModelMismatchError, match=r"the folder has no model\.safetensors"):
        load_model(tmp_path)


def test_another_hash_than_expected_is_refused(saved):
    with pytest.raises(ModelMismatchError, match=r"has hash .* but cdcd"):
        load_model(saved, expected_hash="cd" * 32)
    assert load_model(saved, expected_hash=load_model(saved).hash).name == "run"


def test_every_cut_of_the_file_is_refused(saved):
    path = saved / "model.safetensors"
    data = path.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        with pytest.raises(FormatError, match=r"model\.safetensors"):
            model_from_bytes(data[:size], name=str(path))


def test_every_flipped_byte_is_refused_or_harmless(saved):
    data = bytearray((saved / "model.safetensors").read_bytes())
    model = load_model(saved)
    for place in range(0, len(data), 211):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        try:
            loaded = model_from_bytes(bytes(damaged))
        except FormatError:
            continue
        assert loaded.hash == model.hash  # only what the hash is not about, such as a name


def test_damaged_weights_name_the_model_and_both_hashes(saved):
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"damaged model: its content hash is .* says"):
        load_model(saved)


def test_a_newer_format_asks_for_an_upgrade(saved):
    rewrite(saved / "model.safetensors", lambda about: about.update(format=2, version="9.9"))
    with pytest.raises(FormatError, match=r"written by astro-vq 9\.9 in model format 2.*upgrade"):
        load_model(saved)


def test_an_unknown_option_in_the_configuration_is_refused(saved):
    rewrite(saved / "model.safetensors", lambda about: about["config"]["model"].update(new=1))
    with pytest.raises(FormatError, match=r"configuration cannot be used.*model\.new"):
        load_model(saved)


def test_a_description_without_its_parts_is_refused(saved):
    rewrite(saved / "model.safetensors", lambda about: about.pop("channels"))
    with pytest.raises(FormatError, match="its description lacks 'channels'"):
        load_model(saved)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save

    with pytest.raises(FormatError, match="not a model of astro-vq"):
        model_from_bytes(save({"a": torch.zeros(2)}), name="x")
    with pytest.raises(FormatError, match="not a safetensors file"):
        model_from_bytes(b"\x80\x04pickled" * 10)


def test_a_failed_write_leaves_the_old_model(saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_model(saved, make(seed=3), CONFIG)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_shipped_models_are_found_by_name_and_by_hash(saved, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", saved.parent)
    assert zoo.list_names() == ["run"]
    loaded = load_model("run")
    assert zoo.find_by_hash(loaded.hash) == "run"
    assert zoo.find_by_hash("0" * 64) is None
    assert load_model("elsewhere/trained", expected_hash=loaded.hash).hash == loaded.hash
    with pytest.raises(ValueError, match="at least 8 digits"):
        zoo.find_by_hash("ab")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("format"), "no format number"),
        (lambda about: about.update(channels=0), "damaged model: 0 channels"),
        (lambda about: about.update(channels=2), "content hash is"),
        (lambda about: about.update(config=3), "must be a table of sections"),
        (lambda about: about["config"]["model"].update(codes=17), "content hash is"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, message):
    rewrite(saved / "model.safetensors", change)
    with pytest.raises(FormatError, match=message):
        load_model(saved)


def test_weights_of_another_model_are_refused(saved):
    """A description whose hash is right, of weights that do not fit it."""
    data = (saved / "model.safetensors").read_bytes()
    other = ModelConfig(codes=16, latent_channels=5, hidden_channels=4)
    tensors = load_model(saved).model.state_dict()
    right = checkpoint._hash_tensors(tensors, 1, other)

    def change(about):
        about["config"]["model"]["latent_channels"] = 5
        about["hash"] = right

    rewrite(saved / "model.safetensors", change)
    assert data != (saved / "model.safetensors").read_bytes()
    with pytest.raises(FormatError, match="tensors do not fit the model"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_channels": 2**14}, "numbers, but about"),
        ({"residual_blocks": 10**9}, "residual_blocks must be at most 1000"),
        ({"codes": 2**40}, "codes must be at most 65536"),
    ],
)
def test_a_description_of_a_huge_model_takes_no_memory(saved, change, message):
    path = saved / "model.safetensors"
    rewrite(path, lambda about: about["config"]["model"].update(change))

    def seal(about):
        config = RunConfig.from_dict(about["config"])
        about["hash"] = content_hash(make(), config.model)

    if "hidden_channels" in change:
        rewrite(path, seal)
    with pytest.raises(FormatError, match=message):
        load_model(saved)
