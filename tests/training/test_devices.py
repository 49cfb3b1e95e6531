"""Where and in which arithmetic networks run."""

import pytest
import torch

from astro_vq.errors import ConfigError
from astro_vq.training.devices import choose_device, choose_precision, reproducible

CPU = torch.device("cpu")


def test_auto_is_a_device_that_is_there():
    device = choose_device("auto")
    assert torch.zeros(1, device=device).device.type == device.type
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_missing_device_is_refused_with_what_would_do():
    with pytest.raises(ConfigError, match="device cuda is not to be had here; use --device auto"):
        choose_device("cuda")


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, None)])
def test_auto_takes_bfloat16_where_the_processor_computes_in_it(monkeypatch, has, dtype):
    monkeypatch.setattr("astro_vq.training.devices.has_bfloat16", lambda: has)
    assert choose_precision("auto", CPU) == dtype
    assert choose_precision("auto", torch.device("mps")) is None
    assert choose_precision("float32", CPU) is None
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


def test_a_version_of_torch_that_cannot_tell_means_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert choose_precision("auto", CPU) is None


def test_within_the_block_torch_is_seeded_and_after_it_as_before():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    draws = []
    for _ in range(2):
        with reproducible(CPU, seed=5, threads=1):
            assert torch.get_num_threads() == 1
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_error_within_the_block_puts_everything_back():
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), reproducible(CPU, seed=0, threads=1):
        raise RuntimeError("stop")
    assert torch.get_num_threads() == threads
