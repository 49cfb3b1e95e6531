"""Options of models, and the names of their parts."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from astro_vq.config.section import Section, plain_value
from astro_vq.errors import ConfigError

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
class ModelConfig(Section):
    """Which model, of which parts. Only the parts that a model has read their fields.

    Parameters
    ----------
    model : {'vqvae', 'autoencoder', 'vae', 'iwae', 'hierarchical-vae', 'vqvae2', 'sparse'}
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
            f.name: plain_value(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }
