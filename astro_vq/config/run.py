"""The configuration of a run: its sections under one format number."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from astro_vq.config.data import DataConfig
from astro_vq.config.model import ModelConfig
from astro_vq.config.section import Section, build_section
from astro_vq.config.training import TrainingConfig
from astro_vq.errors import ConfigError

FORMAT = 1
"""Format number of a configuration; a number never changes its meaning."""


@dataclass(frozen=True)
class RunConfig(Section):
    """Everything that a training run was told.

    Parameters
    ----------
    data, model, training
        The three sections.
    format : int
        Format number of the configuration.

    Examples
    --------
    >>> config = RunConfig(model=ModelConfig(codes=512))
    >>> RunConfig.from_dict(config.to_dict()) == config
    True
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    format: int = FORMAT

    def _check(self) -> None:
        if self.format != FORMAT:
            raise ConfigError(
                f"configuration format {self.format} is not known, this version reads {FORMAT}; "
                "a newer astro-vq may read it"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from nested plain values.

        Parameters
        ----------
        values : mapping
            Sections ``data``, ``model`` and ``training``; what is left out takes its default.

        Raises
        ------
        ConfigError
            A name is unknown (the nearest known one is named) or a value impossible.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a configuration must be a table of sections, got {values!r}")
        number = values.get("format", FORMAT)
        if number != FORMAT:  # before anything else: a newer format may have other sections
            raise ConfigError(
                f"configuration format {number!r} is not known, this version reads {FORMAT}; "
                "a newer astro-vq may read it"
            )
        sections = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
        parts = dict(values)
        for name, section in sections.items():
            if name in parts:
                if not isinstance(parts[name], Mapping):
                    raise ConfigError(f"[{name}] must be a table of options, got {parts[name]!r}")
                parts[name] = build_section(section, parts[name], f"{name}.")
        return build_section(cls, parts, "")
