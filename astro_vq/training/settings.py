"""Configurations from flat options, and what may change when a run is resumed.

Loads no torch, so that a command can check its options at once.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from astro_vq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from astro_vq.errors import ConfigError

SECTIONS: dict[str, type[DataConfig] | type[ModelConfig] | type[TrainingConfig]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
}
"""The sections of a configuration, in order."""

DEFAULT_STEPS = 10_000
"""Length of a run that was given neither steps nor a time budget."""

CHANGEABLE = frozenset(
    {
        *("steps", "time_budget", "learning_rate", "schedule", "warmup", "clip"),
        *("precision", "device", "threads", "workers"),
        *("fits_dir", "hdf5"),  # the images in them are checked to be the same
        *("log_every", "validate_every", "checkpoint_every"),
    }
)
"""Options that may differ when a run is resumed; the others would make it another run."""


def section_of(name: str) -> str:
    """Return the section that an option belongs to.

    Raises
    ------
    ConfigError
        No section has it; the nearest known name is given.
    """
    known: dict[str, str] = {}
    for section, cls in SECTIONS.items():
        for f in dataclasses.fields(cls):
            known[f.name] = section
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"unknown option {name}{hint}")
    return known[name]


def change_options(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """Return a configuration with some options changed.

    Parameters
    ----------
    config : RunConfig
        Where to start from.
    options : mapping
        Values by the name of the field, whatever its section; or by section, as in TOML.

    Raises
    ------
    ConfigError
        An option is unknown or its value impossible.

    Examples
    --------
    >>> change_options(RunConfig(), {"codes": 512, "steps": 100}).model.codes
    512
    """
    values = config.to_dict()
    for name, value in options.items():
        if name in SECTIONS and isinstance(value, Mapping):
            values[name] |= value
        else:
            values[section_of(name)][name] = value
    return RunConfig.from_dict(values)


def with_an_end(config: RunConfig) -> RunConfig:
    """Return the configuration with `DEFAULT_STEPS` where it says nothing on the run's length."""
    if config.training.steps is None and config.training.time_budget is None:
        return change_options(config, {"steps": DEFAULT_STEPS})
    return config


def find_changes(stored: RunConfig, wanted: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return name and (stored, wanted) value of each option that differs, if a resumed run may.

    Raises
    ------
    ConfigError
        An option differs that would make it another run.
    """
    changes: dict[str, tuple[Any, Any]] = {}
    for section, cls in SECTIONS.items():
        before, after = getattr(stored, section), getattr(wanted, section)
        for f in dataclasses.fields(cls):
            pair = getattr(before, f.name), getattr(after, f.name)
            if pair[0] != pair[1]:
                changes[f.name] = pair
    fixed = [name for name in changes if name not in CHANGEABLE]
    if fixed:
        old, new = changes[fixed[0]]
        raise ConfigError(
            f"a resumed run keeps its {fixed[0]}: it was started with {old!r}, not {new!r}; leave "
            "the option out, or start another run in another folder"
        )
    return changes
