"""Flat options, and what may change when a run is resumed."""

import pytest

from astro_vq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from astro_vq.errors import ConfigError
from astro_vq.training.settings import (
    DEFAULT_STEPS,
    change_options,
    find_changes,
    section_of,
    with_an_end,
)


def test_flat_options_go_to_their_sections():
    changed = change_options(RunConfig(), {"fits_dir": ["a"], "codes": 16, "time_budget": 5})
    assert changed == RunConfig(
        data=DataConfig(fits_dir=("a",)),
        model=ModelConfig(codes=16),
        training=TrainingConfig(time_budget=5.0),
    )


def test_options_may_come_by_section_as_in_toml():
    base = RunConfig(model=ModelConfig(codes=16, decay=0.5))
    changed = change_options(base, {"model": {"codes": 32}, "training": {"seed": 3}})
    assert changed.model == ModelConfig(codes=32, decay=0.5)
    assert changed.training.seed == 3


def test_model_is_a_section_and_a_name():
    assert change_options(RunConfig(), {"model": "autoencoder"}).model.model == "autoencoder"


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown option learning_rat; did you mean learning_ra"):
        section_of("learning_rat")
    with pytest.raises(ConfigError, match=r"unknown option zzzz$"):
        change_options(RunConfig(), {"zzzz": 1})


def test_no_option_stands_in_two_sections():
    parts = (DataConfig, ModelConfig, TrainingConfig)
    names = [name for part in parts for name in part().to_dict()]
    assert len(names) == len(set(names))


def test_a_run_without_an_end_gets_one():
    assert with_an_end(RunConfig()).training.steps == DEFAULT_STEPS
    timed = RunConfig(training=TrainingConfig(time_budget=1.0))
    assert with_an_end(timed) == timed


def test_a_resumed_run_may_be_longer_but_not_of_another_model():
    stored = change_options(RunConfig(), {"steps": 10})
    longer = change_options(stored, {"steps": 20, "threads": 1})
    assert find_changes(stored, longer) == {"steps": (10, 20), "threads": (None, 1)}
    assert find_changes(stored, stored) == {}
    for other in ({"codes": 2}, {"cutout_size": 32}, {"seed": 1}, {"batch_size": 1}):
        with pytest.raises(ConfigError, match=f"keeps its {next(iter(other))}: it was started"):
            find_changes(stored, change_options(longer, other))
