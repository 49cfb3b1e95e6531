"""Sizes of models that are not made."""

import subprocess
import sys

import pytest

from astro_vq.config import ModelConfig
from astro_vq.models import MODELS, build_model
from astro_vq.models.shapes import count_numbers

CONFIGS = {
    **{name: ModelConfig(model=name) for name in MODELS},
    "by gradient": ModelConfig(quantizer="vector", codes=12),
    "residual": ModelConfig(quantizer="residual", depth=3),
    "finite": ModelConfig(quantizer="finite-scalar", latent_channels=3, levels=(5, 4, 5)),
    "oord": ModelConfig(network="oord", batch_norm=True, attention=3),
    "mlp": ModelConfig(model="vae", network="mlp", image_size=16),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_is_as_large_as_was_said(name):
    model = build_model(CONFIGS[name], 1)
    due = sum(tensor.numel() for tensor in model.state_dict().values())
    assert count_numbers(CONFIGS[name], 1) == due


def test_an_endless_model_takes_no_memory():
    config = ModelConfig(codes=2**16, latent_channels=2**14)
    assert count_numbers(config, 1) > 2**31


def test_loading_a_model_loads_no_compiler():
    code = (
        "import sys, torch\n"
        "from astro_vq.config import ModelConfig\n"
        "from astro_vq.models.shapes import count_numbers\n"
        "before = set(sys.modules)\n"
        "for model in ('sparse', 'vqvae', 'vae'):\n"
        "    count_numbers(ModelConfig(model=model), 1)\n"
        "print(*{'torch._dynamo', 'sympy'} & (set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")
