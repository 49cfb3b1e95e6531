"""Configurations as TOML files."""

import tomllib
from pathlib import Path

import tomli_w

from astro_vq.config.run import RunConfig
from astro_vq.errors import ConfigError


def read_toml(path: str | Path) -> RunConfig:
    """Read a configuration from a TOML file.

    Parameters
    ----------
    path : str or Path
        File with tables ``[data]``, ``[model]`` and ``[training]``, each optional.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        The file is not TOML, names an unknown option, or gives an impossible value.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not a TOML file: {err}") from err
    try:
        return RunConfig.from_dict(values)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from err


def write_toml(config: RunConfig, path: str | Path) -> None:
    """Write a configuration as TOML; options that are unset are left out.

    Parameters
    ----------
    config : RunConfig
        What to write.
    path : str or Path
        File to write; an existing one is replaced.
    """
    values = {
        name: {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else part
        for name, part in config.to_dict().items()
    }
    Path(path).write_text(tomli_w.dumps(dict(sorted(values.items()))), encoding="utf-8")
