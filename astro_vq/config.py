"""What a run is made of: data, model and training, as frozen dataclasses with a strict reader.

Field names are the names of the command-line options with underscores. The module loads
neither torch nor numpy, so that a command can check its options at once.
"""

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Union

import tomli_w

from astro_vq.errors import ConfigError

FORMAT = 1
"""Format number of a configuration; a number never changes its meaning."""

_LARGEST = {
    "latent_channels": 2**14,
    "hidden_channels": 2**14,
    "residual_blocks": 1000,
    "attention": 1000,
    "image_size": 2**14,
    "likelihood_lag": 2**12,
    "likelihood_rank": 2**12,
    "components": 1000,
    "codes": 2**16,
    "depth": 2**10,
    "stochastic_layers": 100,
}
"""Far beyond any model that can be trained: a damaged description asks for no endless network."""

_MOST_LEVELS = 64

_Section = TypeVar("_Section", bound="_Checked")


def _matches(value: object, hint: Any) -> bool:  # noqa: ANN401
    """Say whether a value is of a field's type (no casts: an int is no bool)."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in typing.get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_matches(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        item = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_matches(v, item) for v in value)
    if hint is float:
        return isinstance(value, float) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:  # noqa: ANN401
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in typing.get_args(hint))
    if origin in (Union, types.UnionType):
        parts = typing.get_args(hint)
        return " or ".join("unset" if p is type(None) else _describe(p) for p in parts)
    if origin is tuple:
        return f"a list, each {_describe(typing.get_args(hint)[0])}"
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    return names.get(hint, str(hint))


def _holds_float(hint: Any) -> bool:  # noqa: ANN401
    return hint is float or float in typing.get_args(hint)


@dataclass(frozen=True)
class _Checked:
    """A section whose fields are checked by their types, then by `_check`."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, hint = getattr(self, f.name), hints[f.name]
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, f.name, value)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if whole and _holds_float(hint) and not _matches(value, hint):
                value = float(value)
                object.__setattr__(self, f.name, value)
            if not _matches(value, hint):
                raise ConfigError(f"{f.name} must be {_describe(hint)}, got {value!r}")
        self._check()

    def _check(self) -> None:
        """Check the ranges of single fields and what they ask of each other."""

    def _need(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}")

    def _need_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._need(value is None or value > 0, name, "positive")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a section from plain values; a name that is not a field is refused."""
        return _build(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and TOML can hold (tuples as lists)."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


@dataclass(frozen=True)
class DataConfig(_Checked):
    """Where cutouts come from and how they are cut.

    Parameters
    ----------
    fits_dir, hdf5 : tuple of str
        Folders of FITS files, and ``FILE`` or ``FILE::DATASET`` of HDF5.
    bands : tuple of str
        Names of the bands that are stacked as channels; empty for single-band images.
    cutout_size : int
        Side of a cutout in pixels.
    validation_fraction : float
        Share of files or objects, in (0, 1), that are kept out of training.
    augment : bool
        Flip and turn cutouts at random.
    saturation : float or None
        Pixels at or above this value (in the image's unit) are masked.
    workers : int
        Processes that read cutouts; 0 reads in the training process.
    noise_covariance : str or None
        FITS file of an autocovariance for the multivariate normal; measured when unset.
    weights : str or None
        Weight maps: an extension of each file, such as ``WHT``; with ``*``, which stands for the
        name of the image, a file beside it, such as ``*.weight.fits``; of HDF5 stacks another
        data set.
    weight_kind : {'inverse-variance', 'relative', 'variance', 'sigma'}
        What weight maps hold, in the unit of the image; 'relative' is an inverse variance up to a
        factor.
    """

    fits_dir: tuple[str, ...] = ()
    hdf5: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    cutout_size: int = 64
    validation_fraction: float = 0.1
    augment: bool = True
    saturation: float | None = None
    workers: int = 0
    noise_covariance: str | None = None
    weights: str | None = None
    weight_kind: Literal["inverse-variance", "relative", "variance", "sigma"] = "inverse-variance"

    def _check(self) -> None:
        self._need_positive("cutout_size")
        self._need(0 < self.validation_fraction < 1, "validation_fraction", "between 0 and 1")
        self._need(self.workers >= 0, "workers", "zero or more")
        self._need(self.weights is None or bool(self.weights.strip()), "weights", "a name")


ModelName = Literal["vqvae", "autoencoder", "vae", "iwae", "hierarchical-vae", "vqvae2", "sparse"]
NetworkName = Literal["compact", "oord", "mlp"]
LikelihoodName = Literal[
    "normal",
    "multivariate-normal",
    "discretized-logistic",
    "discretized-logistic-mixture",
    "bernoulli",
]
QuantizerName = Literal["ema", "vector", "residual", "finite-scalar"]


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """Which model, of which parts. Only the parts that a model has read their fields.

    Parameters
    ----------
    model : {'vqvae', 'autoencoder', 'vae', 'iwae', 'hierarchical-vae', 'vqvae2'}
        Kind of model.
    network : {'compact', 'oord', 'mlp'}
        Encoder and decoder.
    latent_channels : int
        Dimension of the latent vector at each position.
    hidden_channels : int or None
        Width of the network; unset takes the network's own.
    residual_blocks : int
        Residual blocks on each side (`oord`).
    batch_norm : bool
        Batch normalisation after each convolution but the outer two (`compact`, `oord`).
    last_convolution : bool
        End the `oord` decoder with an extra stride-1 convolution (`compact` always has one).
    attention : int
        Reach, in latent positions, of an attention block on each side; 0 for none (`compact`,
        `oord`).
    activation : {'relu', 'leaky-relu', 'tanh'}
        Activation between layers.
    image_size : int or None
        Side of the image in pixels; only, and always, for `mlp`.
    likelihood : str
        Likelihood of pixels, see `astro_vq.likelihoods.LIKELIHOODS`.
    likelihood_scale : {'one', 'given', 'learnt', 'bounded'}
        Scale of `normal`, and of `multivariate-normal` on top of its covariance; 'given' takes
        it from `weights`.
    likelihood_floor : float
        Smallest standard deviation of a bounded, learnt or given scale, network units; for
        'bounded', 0 means the plain tanh bound (variance at least exp(-1)), for 'given' 0.3.
    likelihood_covariance : {'stationary', 'low-rank', 'full'}
        Covariance of `multivariate-normal`; 'full' is the matrix that `noise_covariance` gives.
    likelihood_lag : int
        Largest lag, in pixels, of a stationary covariance.
    likelihood_rank : int
        Rank of the learnt covariance.
    bin_width, lowest, highest : float
        Grid of the discretised likelihoods, network units; `lowest` and `highest` are the
        centres of the outer bins.
    components : int
        Components of the mixture.
    autoregressive : bool
        Condition channels on the channels before them (discretised likelihoods).
    quantizer : {'ema', 'vector', 'residual', 'finite-scalar'}
        How latents become indices; 'ema' and 'vector' differ in how the codebook learns.
    codes : int
        Codes in a codebook.
    commitment : float
        Weight of the commitment loss.
    decay : float
        Decay of the moving averages of the codebook, in [0, 1).
    restart : bool
        Put codes that nothing uses at latents of the batch.
    cosine : bool
        Compare directions rather than positions.
    depth : int
        Most codes per position (`residual`).
    stop : float
        Mean squared residual per latent number at which a position takes no further code
        (`residual`).
    levels : tuple of int
        Levels per latent channel (`finite-scalar`).
    gradient : {'straight-through', 'rotation'}
        How the gradient passes the quantiser.
    reconstruction : {'nll', 'data-variance'}
        Reconstruction term of `vqvae`: negative log-likelihood per dimension, or squared
        error over the variance of the data.
    beta : float
        Weight of the KL term of the variational models.
    samples : int
        Importance samples of `iwae`.
    stochastic_layers : int
        Layers of `hierarchical-vae`.
    flux_weight, spectrum_weight : float
        Weights of the optional terms that match total flux and power spectrum.
    """

    model: ModelName = "vqvae"
    network: NetworkName = "compact"
    latent_channels: int = 16
    hidden_channels: int | None = None
    residual_blocks: int = 2
    batch_norm: bool = False
    last_convolution: bool = False
    attention: int = 0
    activation: Literal["relu", "leaky-relu", "tanh"] = "relu"
    image_size: int | None = None
    likelihood: LikelihoodName = "normal"
    likelihood_scale: Literal["one", "given", "learnt", "bounded"] = "one"
    likelihood_floor: float = 0.0
    likelihood_covariance: Literal["stationary", "low-rank", "full"] = "stationary"
    likelihood_lag: int = 8
    likelihood_rank: int = 4
    bin_width: float = 0.0625
    lowest: float = -8.0
    highest: float = 16.0
    components: int = 5
    autoregressive: bool = False
    quantizer: QuantizerName = "ema"
    codes: int = 256
    commitment: float = 0.25
    decay: float = 0.99
    restart: bool = True
    cosine: bool = False
    depth: int = 1
    stop: float = 0.0
    levels: tuple[int, ...] = ()
    gradient: Literal["straight-through", "rotation"] = "straight-through"
    reconstruction: Literal["nll", "data-variance"] = "nll"
    beta: float = 1.0
    samples: int = 5
    stochastic_layers: int = 2
    flux_weight: float = 0.0
    spectrum_weight: float = 0.0

    def _check(self) -> None:
        self._need_positive(
            "latent_channels",
            "hidden_channels",
            "image_size",
            "likelihood_rank",
            "bin_width",
            "components",
            "depth",
            "samples",
        )
        self._need(self.codes >= 2, "codes", "at least 2")
        self._need(0 <= self.decay < 1, "decay", "at least 0 and below 1")
        self._need(self.highest > self.lowest, "highest", f"above lowest ({self.lowest})")
        self._need(all(n >= 2 for n in self.levels), "levels", "at least 2 each")
        self._need(self.stochastic_layers >= 2, "stochastic_layers", "at least 2")
        for name in (
            "residual_blocks",
            "attention",
            "likelihood_floor",
            "likelihood_lag",
            "commitment",
            "stop",
            "beta",
            "flux_weight",
            "spectrum_weight",
        ):
            self._need(getattr(self, name) >= 0, name, "zero or more")
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            self._need(value is None or value <= most, name, f"at most {most}")
        self._need(len(self.levels) <= _MOST_LEVELS, "levels", f"at most {_MOST_LEVELS}")
        if (self.network == "mlp") != (self.image_size is not None):
            raise ConfigError("image_size goes with network 'mlp', and only with it")

    def identity(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults: what a content hash is over.

        A later version may add fields without changing the hash of an older model; for the
        same reason the defaults here never change.
        """
        return {
            f.name: _plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }


@dataclass(frozen=True)
class TrainingConfig(_Checked):
    """How a model is trained.

    Parameters
    ----------
    steps : int or None
        Optimiser steps.
    time_budget : float or None
        Seconds of wall-clock time; the run ends at whichever of the two comes first.
    batch_size : int
        Cutouts per step.
    learning_rate : float
        Peak learning rate of Adam.
    schedule : {'cosine', 'constant'}
        Course of the learning rate after the warm-up.
    warmup : int
        Steps of linear warm-up.
    clip : float or None
        Largest norm of the gradient.
    noise_warmup : float
        First part of the run, from 0 to 1, in which correlated noise counts as white
        (`multivariate-normal` with a stationary covariance).
    precision : {'auto', 'float32', 'bfloat16'}
        Arithmetic of the networks; 'auto' takes bfloat16 where it helps.
    device : str
        'auto', 'cpu', 'cuda' (or 'cuda:1', ...) or 'mps'.
    seed : int
        Seed of everything random.
    threads : int or None
        CPU threads.
    log_every, validate_every, checkpoint_every : int
        Steps between lines of metrics, validations and checkpoints.
    """

    steps: int | None = None
    time_budget: float | None = None
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 100
    clip: float | None = 1.0
    noise_warmup: float = 0.5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    seed: int = 0
    threads: int | None = None
    log_every: int = 50
    validate_every: int = 500
    checkpoint_every: int = 1000

    def _check(self) -> None:
        self._need_positive("steps", "time_budget", "batch_size", "learning_rate", "clip")
        self._need_positive("threads", "log_every", "validate_every", "checkpoint_every")
        self._need(self.warmup >= 0, "warmup", "zero or more")
        self._need(0 <= self.noise_warmup <= 1, "noise_warmup", "between 0 and 1")
        self._need(self.seed >= 0, "seed", "zero or more")
        kind = self.device.split(":")[0]
        devices = ("auto", "cpu", "cuda", "mps")
        self._need(kind in devices, "device", "auto, cpu, cuda or mps")


@dataclass(frozen=True)
class PriorConfig(_Checked):
    """Size of a PixelCNN over token maps.

    Parameters
    ----------
    width : int
        Channels of each stack.
    layers : int
        Gated layers.
    radius : int
        Positions that each layer looks to each side.
    context : int
        Channels in which a map sees the map above it (models with two levels).
    """

    width: int = 48
    layers: int = 5
    radius: int = 1
    context: int = 32

    def _check(self) -> None:
        self._need_positive("width", "layers", "radius", "context")


@dataclass(frozen=True)
class RunConfig(_Checked):
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
                parts[name] = _build(section, parts[name], f"{name}.")
        return _build(cls, parts, "")


def _plain(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, _Checked):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def _build(cls: type[_Section], values: Mapping[str, Any], prefix: str) -> _Section:
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known are {known}"
            raise ConfigError(f"unknown option {prefix}{name}{hint}")
    try:
        return cls(**values)
    except ConfigError as err:
        raise ConfigError(f"{prefix}{err}") from err


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
