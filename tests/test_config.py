"""Configuration: strict, versioned, the same after a round trip."""

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    read_toml,
    write_toml,
)
from astro_vq.errors import ConfigError


def test_defaults_are_those_of_the_contract():
    config = RunConfig()
    assert (config.model.model, config.model.network) == ("vqvae", "compact")
    assert (config.model.latent_channels, config.model.codes) == (16, 256)
    assert (config.model.quantizer, config.model.commitment) == ("ema", 0.25)
    assert config.data.cutout_size == 64
    assert config.training.learning_rate == 1e-3
    assert config.format == 1


@settings(deadline=None)
@given(
    directories=st.lists(st.text(max_size=8), max_size=3),
    size=st.integers(1, 4096),
    rate=st.floats(1e-8, 1.0),
    budget=st.none() | st.floats(0.1, 1e6),
    levels=st.lists(st.integers(2, 20), max_size=4),
)
def test_a_configuration_survives_toml_and_dict(
    tmp_path_factory, directories, size, rate, budget, levels
):
    config = RunConfig(
        data=DataConfig(fits_dir=tuple(directories), cutout_size=size),
        model=ModelConfig(levels=tuple(levels)),
        training=TrainingConfig(learning_rate=rate, time_budget=budget),
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write_toml(config, path)
    assert read_toml(path) == config
    assert RunConfig.from_dict(config.to_dict()) == config


def test_an_unknown_option_names_the_nearest_known():
    with pytest.raises(ConfigError, match=r"unknown option model\.code; did you mean model\.codes"):
        RunConfig.from_dict({"model": {"code": 12}})
    with pytest.raises(ConfigError, match="unknown option trainin; did you mean training"):
        RunConfig.from_dict({"trainin": {}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"codes": 1}}, r"model\.codes must be at least 2, got 1"),
        ({"model": {"codes": 2.5}}, "codes must be a whole number"),
        ({"model": {"codes": True}}, "codes must be a whole number"),
        ({"model": {"quantizer": "emma"}}, "quantizer must be one of 'ema'"),
        ({"model": {"decay": 1.0}}, "decay must be at least 0 and below 1"),
        ({"model": {"network": "mlp"}}, "image_size goes with network 'mlp'"),
        ({"model": 3}, r"\[model\] must be a table"),
        ({"data": {"validation_fraction": 0}}, "validation_fraction must be between 0 and 1"),
        ({"data": {"fits_dir": "a"}}, "fits_dir must be a list, each text"),
        ({"training": {"learning_rate": float("nan")}}, "learning_rate must be a finite number"),
        ({"training": {"device": "tpu"}}, "device must be auto, cpu, cuda or mps"),
        ({"training": {"steps": 0}}, "steps must be positive"),
        ({"format": 2, "new": 1}, "configuration format 2 is not known"),
    ],
)
def test_impossible_values_are_refused_with_what_would_do(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(values)


def test_a_whole_number_stands_for_a_float():
    assert RunConfig.from_dict({"model": {"commitment": 1}}).model.commitment == 1.0


def test_a_file_that_is_not_toml_is_named(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("codes = = 3")
    with pytest.raises(ConfigError, match=r"run\.toml: not a TOML file"):
        read_toml(path)


def test_identity_holds_only_what_differs_from_the_defaults():
    assert ModelConfig().identity() == {}
    assert ModelConfig(codes=64, levels=(3, 5)).identity() == {"codes": 64, "levels": [3, 5]}


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().model.codes = 3


def test_reading_a_configuration_loads_no_torch():
    code = "import sys, astro_vq.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
