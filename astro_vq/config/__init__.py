"""What a run is made of: data, model and training, as frozen dataclasses with a strict reader.

Field names are the names of the command-line options with underscores. The package loads
neither torch nor numpy, so that a command can check its options at once.
"""

from astro_vq.config.data import DataConfig
from astro_vq.config.model import (
    LikelihoodName,
    ModelConfig,
    ModelName,
    NetworkName,
    QuantizerName,
)
from astro_vq.config.prior import PriorConfig
from astro_vq.config.run import RunConfig
from astro_vq.config.toml import read_toml, write_toml
from astro_vq.config.training import TrainingConfig

__all__ = [
    "DataConfig",
    "LikelihoodName",
    "ModelConfig",
    "ModelName",
    "NetworkName",
    "PriorConfig",
    "QuantizerName",
    "RunConfig",
    "TrainingConfig",
    "read_toml",
    "write_toml",
]
