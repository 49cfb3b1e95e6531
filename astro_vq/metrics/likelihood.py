"""How well models explain images: likelihood, whiteness of what they leave, fluxes of sources.

Everything is in network units, ``asinh((value - sky) / sigma)``, on the same cutouts for each
model. Likelihoods of continuous pixels are densities per network unit, those of discretised ones
masses of bins: the two are not to be compared.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from astro_vq.checkpoint import LoadedModel
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.datasets import Batch, CutoutDataset, collate
from astro_vq.data.noise import source_mask
from astro_vq.errors import DataError
from astro_vq.likelihoods import Likelihood, MultivariateNormal, Normal
from astro_vq.metrics.residuals import Whiteness, WhitenessSums, chi_squared, whiten
from astro_vq.metrics.source_fluxes import FluxErrors, Frame, choose_frames, measure_fluxes
from astro_vq.models import Model
from astro_vq.models.vae import VAE
from astro_vq.models.vqvae import VQVAE
from astro_vq.models.vqvae2 import VQVAE2

CHUNK_NUMBERS = 2**20
"""Pixels, over cutouts and draws, that the importance bound holds at a time."""


class Cutouts(NamedTuple):
    """A batch of cutouts, and which of their pixels are sky.

    Attributes
    ----------
    batch : Batch
        Pixels and masks.
    sky : Tensor of bool (B, C, H, W)
        Valid pixels without any source.
    """

    batch: Batch
    sky: Tensor


@dataclass(frozen=True)
class EvaluationData:
    """Cutouts and frames that models are evaluated on, measured once for all of them.

    Attributes
    ----------
    cutouts : list of Cutouts
        For likelihood and residuals.
    frames : list of Frame
        For fluxes.
    channels : int
        Bands.
    """

    cutouts: list[Cutouts]
    frames: list[Frame]
    channels: int

    @property
    def has_scale(self) -> bool:
        """Whether weight maps tell the noise of each pixel."""
        return all(batch.scale is not None for batch, _ in self.cutouts)

    @classmethod
    def prepare(
        cls,
        index: CutoutIndex,
        *,
        cutout_size: int = 64,
        max_cutouts: int = 512,
        max_frames: int = 8,
        batch_size: int = 32,
        seed: int = 0,
    ) -> "EvaluationData":
        """Choose cutouts and frames, spread over the images of an index.

        Parameters
        ----------
        index : CutoutIndex
            The images; best those that training did not see.
        cutout_size : int
            Side of the cutouts, a multiple of every model's stride.
        max_cutouts, max_frames : int
            Most cutouts, and most pieces of images for fluxes (0 leaves fluxes out).
        batch_size : int
            Cutouts looked at together.
        seed : int
            Of the places of cutouts.
        """
        dataset = CutoutDataset(index, size=cutout_size, seed=seed)
        count = min(max_cutouts, len(dataset))
        chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)).tolist()
        cutouts = []
        for start in range(0, len(chosen), batch_size):
            part = [dataset.item(i, epoch=0) for i in chosen[start : start + batch_size]]
            batch = collate(part)
            cutouts.append(Cutouts(batch, _sky_of(batch)))
        return cls(cutouts, choose_frames(index, max_frames), index.channels)


def _sky_of(batch: Batch) -> Tensor:
    """Return where pixels are valid and hold no source (B, C, H, W)."""
    sky = batch.mask.clone()
    for b, c in np.ndindex(*sky.shape[:2]):
        valid = batch.mask[b, c].numpy()
        if valid.any():
            found = source_mask(batch.pixels[b, c].numpy(), mask=valid)
            sky[b, c] &= torch.from_numpy(~found)
    return sky


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model.

    Attributes
    ----------
    name, hash, model, likelihood : str
        Name and content hash; kind of model and of likelihood.
    cutouts, pixels : int
        Cutouts, and valid pixels in them over all channels.
    is_discrete : bool
        Whether likelihoods are of bins rather than densities.
    nll, nll_error : float
        Negative log-likelihood of the pixels given their latents or codes, nats per cutout, and
        the standard error of this mean. Variational models: at one draw from the posterior.
    bits_per_dim : float
        The same in bits per valid pixel and channel.
    code : float or None
        Nats per cutout that the latents cost: the Kullback-Leibler divergence from the prior, or
        the logarithm of the number of codes for every token; None for a plain autoencoder, whose
        latents have no prior.
    samples : int
        Draws of the importance bound; 0 without.
    bound, bound_error, bound_bits_per_dim : float or None
        Importance-sampled bound of the negative log-likelihood of pixels, latents integrated out:
        nats per cutout, standard error, and bits per valid pixel and channel.
    whiteness : Whiteness or None
        Of residuals; None where nothing is sky.
    chi_squared : float or None
        Mean over all valid pixels, sources too, of squared residuals in units of the likelihood's
        covariance: 1 where the likelihood is right. None for likelihoods that are not normal.
    fluxes : FluxErrors or None
        Of sources; None where there is none, or the model takes one size of image only.
    """

    name: str
    hash: str
    model: str
    likelihood: str
    cutouts: int
    pixels: int
    is_discrete: bool
    nll: float
    nll_error: float
    bits_per_dim: float
    code: float | None
    samples: int
    bound: float | None
    bound_error: float | None
    bound_bits_per_dim: float | None
    whiteness: Whiteness | None
    chi_squared: float | None
    fluxes: FluxErrors | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self) | {
            "whiteness": None if self.whiteness is None else self.whiteness._asdict(),
            "fluxes": None if self.fluxes is None else self.fluxes.to_dict(),
        }


class _Explained(NamedTuple):
    """Log-likelihood (B,) of a batch, cost of its latents (B,), parameters at the mean latents."""

    log_prob: Tensor
    code: Tensor | None
    parameters: tuple[Tensor, ...]


@torch.no_grad()
def evaluate(
    loaded: LoadedModel,
    data: EvaluationData,
    *,
    samples: int = 0,
    seed: int = 0,
    name: str | None = None,
) -> Evaluation:
    """Evaluate a model.

    Parameters
    ----------
    loaded : LoadedModel
        The model, on any device.
    data : EvaluationData
        What to evaluate it on.
    samples : int
        Draws of the importance bound for variational models, in memory that does not depend on
        it; 0 leaves the bound out.
    seed : int
        Of draws from posteriors.
    name : str, optional
        What to call the model; its own name when left out.

    Raises
    ------
    DataError
        The images have another number of channels than the model, or there is no valid pixel.
    ValueError
        The cutout size is no multiple of the model's stride, or `samples` is negative.
    """
    model = loaded.model
    if samples < 0:
        raise ValueError(f"samples must not be negative, got {samples}")
    if data.channels != model.channels:
        raise DataError(
            f"model {name or loaded.name} takes {model.channels} channel(s), the images have "
            f"{data.channels}; choose them with --bands"
        )
    if not data.has_scale and _takes_scale(model.likelihood):
        raise DataError(
            f"model {name or loaded.name} takes the noise of each pixel from weight maps; say "
            "where those of these images are, with --weights"
        )
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    nll, code, bound, pixels = [], [], [], 0
    whiteness, squares = WhitenessSums(), 0.0
    is_normal = isinstance(model.likelihood, (Normal, MultivariateNormal))
    for batch, sky in _moved(data.cutouts, device):
        explained = _explain(model, batch, generator)
        nll.append(-explained.log_prob.double().cpu())
        if explained.code is not None:
            code.append(explained.code.double().cpu())
        if samples and isinstance(model, VAE):
            bound.append(-_bound(model, batch, samples, generator).double().cpu())
        pixels += int(batch.mask.sum())
        mean = model.likelihood.mean(explained.parameters)
        white = whiten(model.likelihood, batch.pixels, explained.parameters, batch.mask)
        whiteness.add((batch.pixels - mean).cpu(), None if white is None else white.cpu(), sky)
        if is_normal:
            parameters = explained.parameters
            squares += chi_squared(model.likelihood, batch.pixels, parameters, batch.mask)
    if not pixels:
        raise DataError("no pixel of the cutouts is valid, so that there is nothing to evaluate")
    is_mlp = loaded.config.model.network == "mlp"
    mean_nll, nll_error = _mean_and_error(nll)
    count = sum(len(values) for values in nll)
    per_dim = count / pixels / math.log(2)
    mean_bound, bound_error = _mean_and_error(bound) if bound else (None, None)
    return Evaluation(
        name=name or loaded.name,
        hash=loaded.hash,
        model=loaded.config.model.model,
        likelihood=loaded.config.model.likelihood,
        cutouts=count,
        pixels=pixels,
        is_discrete=model.likelihood.is_discrete,
        nll=mean_nll,
        nll_error=nll_error,
        bits_per_dim=mean_nll * per_dim,
        code=float(torch.cat(code).mean()) if code else None,
        samples=samples if bound else 0,
        bound=mean_bound,
        bound_error=bound_error,
        bound_bits_per_dim=None if mean_bound is None else mean_bound * per_dim,
        whiteness=whiteness.result(),
        chi_squared=squares / pixels if is_normal else None,
        fluxes=None if is_mlp else measure_fluxes(model, data.frames),
    )


def _takes_scale(likelihood: Likelihood[Any]) -> bool:
    """Say whether the noise of each pixel is to be given."""
    if isinstance(likelihood, MultivariateNormal):
        likelihood = likelihood.independent
    return isinstance(likelihood, Normal) and likelihood.scale == "given"


def _moved(cutouts: list[Cutouts], device: torch.device) -> Iterator[Cutouts]:
    for batch, sky in cutouts:
        yield Cutouts(batch.to(device), sky)


def _mean_and_error(values: list[Tensor]) -> tuple[float, float]:
    """Return the mean over cutouts and its standard error (0 for one cutout)."""
    each = torch.cat(values)
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return float(each.mean()), error


def _explain(model: Model, batch: Batch, generator: torch.Generator) -> _Explained:
    parameters = parameters_of(model, batch.pixels, batch.scale)
    if isinstance(model, VAE):
        drawn = model.draw(batch.pixels, 1, generator)
        decoded = model.decode(drawn.latents, scale=batch.scale)
        log_prob = _log_prob(model.likelihood, batch, decoded)
        return _Explained(log_prob, torch.stack(drawn.divergences).sum(0), parameters)
    code = None
    if isinstance(model, (VQVAE, VQVAE2)):
        indices = model.encode_indices(batch.pixels)
        code = (indices >= 0).flatten(1).sum(1) * math.log(model.codes)
    return _Explained(_log_prob(model.likelihood, batch, parameters), code, parameters)


def _log_prob(likelihood: Likelihood[Any], batch: Batch, parameters: tuple[Tensor, ...]) -> Tensor:
    return likelihood.log_prob(batch.pixels, parameters, batch.mask)


def parameters_of(model: Model, pixels: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return the parameters of the likelihood behind ``model.reconstruct(pixels)``.

    Parameters
    ----------
    model : Model
        Any.
    pixels : Tensor (B, C, H, W)
        Network units, zero where masked.
    scale : Tensor (B, C, H, W), optional
        Standard deviation of each pixel, for likelihoods that take it.
    """
    found: list[tuple[Tensor, ...]] = []
    hook = model.likelihood.register_forward_pre_hook(lambda _module, given: found.append(given))
    try:
        model.reconstruct(pixels)
    finally:
        hook.remove()
    parameters: tuple[Tensor, ...] = model.likelihood(found[-1][0], scale)
    return parameters


def _bound(model: VAE, batch: Batch, samples: int, generator: torch.Generator) -> Tensor:
    chunk = max(1, CHUNK_NUMBERS // batch.pixels.numel())
    return model.importance_bound(batch, samples=samples, chunk=chunk, generator=generator)
