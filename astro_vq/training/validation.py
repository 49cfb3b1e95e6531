"""How a model does on images kept out of training, beside the simplest thing that could be done.

The baseline is an image that is nothing but its sky level: zero everywhere in network units. A
model that does not beat it has learnt nothing.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch

from astro_vq.data.datasets import Batch
from astro_vq.likelihoods import MultivariateNormal, Normal
from astro_vq.models import Model
from astro_vq.quantizers import usage_of_counts
from astro_vq.training.reports import ValidationReport

VALIDATION_SEED = 1_000_003
"""Seed of whatever a model draws while it is validated: every validation draws the same."""


@torch.no_grad()
def validate(
    model: Model,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    step: int,
) -> ValidationReport:
    """Return the loss terms of a model over batches, and those of the sky level alone.

    In float32, as models are used; neither weights nor codebook nor random number generators
    change.

    Parameters
    ----------
    model : Model
        In any mode; evaluated in evaluation mode and put back.
    batches : iterable of Batch
        Validation data.
    device : torch.device
        Where the model is.
    step : int
        Optimiser steps done.

    Returns
    -------
    ValidationReport
        Terms of the model are means of batches, weighted by valid pixels.
    """
    was_training = model.training
    model.eval()
    sums: dict[str, float] = {}
    pixels = squares = sky_nll = 0.0
    cutouts = 0
    counts = torch.zeros(getattr(model, "codes", 0), dtype=torch.int64)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(VALIDATION_SEED)
            for batch in batches:
                moved = batch.to(device)
                valid = float(moved.mask.sum())
                terms = model.loss(moved)
                if len(counts):
                    counts += _count_codes(model, moved)
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + valid * float(value)
                sky_nll -= float(_sky_log_prob(model, moved))
                pixels += valid
                squares += float((moved.pixels * moved.mask).square().sum())
                cutouts += len(moved.pixels)
    finally:
        model.train(was_training)
    usage = usage_of_counts(counts) if len(counts) else None
    means = {name: value / max(pixels, 1.0) for name, value in sums.items()}
    if usage is not None:  # those of all batches together, not means over batches
        means |= {"perplexity": float(usage.perplexity), "dead_codes": float(usage.dead)}
    return ValidationReport(
        step=step,
        cutouts=cutouts,
        terms=means,
        sky=sky_terms(model, squares / max(pixels, 1.0), nll_per_dim=sky_nll / max(pixels, 1.0)),
        counts=tuple(counts.tolist()),
        perplexity=None if usage is None else float(usage.perplexity),
    )


def _count_codes(model: Any, batch: Batch) -> torch.Tensor:  # noqa: ANN401
    indices = model.encode_indices(torch.where(batch.mask, batch.pixels, 0.0))
    counts = torch.bincount(indices[indices >= 0].reshape(-1), minlength=model.codes)
    return counts.cpu()


def _has_known_noise(model: Model) -> bool:
    """Say whether the decoder has no say in the noise, but for the plain one of variance one."""
    likelihood = model.likelihood
    if isinstance(likelihood, MultivariateNormal):
        return likelihood.kind != "low-rank" and likelihood.independent.scale in ("one", "given")
    return isinstance(likelihood, Normal) and likelihood.scale == "given"


def _sky_log_prob(model: Model, batch: Batch) -> torch.Tensor:
    """Return the sum () of log-likelihoods of the sky level under known noise, or 0."""
    if not _has_known_noise(model):
        return torch.zeros(())
    zero = model.likelihood(torch.zeros_like(batch.pixels), batch.scale)
    return model.likelihood.log_prob(batch.pixels, zero, batch.mask).sum()


def sky_terms(
    model: Model, mean_square: float, *, nll_per_dim: float | None = None
) -> dict[str, float]:
    """Return the loss terms of an image that is its sky level, zero in network units.

    Parameters
    ----------
    model : Model
        Says what its loss is.
    mean_square : float
        Mean of the squared pixels, network units.
    nll_per_dim : float, optional
        Of zero everywhere under the model's likelihood: what counts where noise is correlated or
        given.

    Returns
    -------
    dict of str to float
        ``mse``; for continuous likelihoods ``nll_per_dim``, that of a normal distribution of
        variance one where the model's scale is fixed to one, under the model's own covariance
        or weights where noise is known, else of the variance that fits best; and ``loss``,
        where the model's reconstruction term is one of the two.
    """
    terms = {"mse": mean_square}
    if model.likelihood.is_discrete:
        return terms
    likelihood = model.likelihood
    is_unit = isinstance(likelihood, Normal) and likelihood.scale == "one"
    variance = 1.0 if is_unit else max(mean_square, 1e-12)
    terms["nll_per_dim"] = 0.5 * (mean_square / variance + math.log(2 * math.pi * variance))
    if nll_per_dim is not None and _has_known_noise(model):
        terms["nll_per_dim"] = nll_per_dim
    if getattr(model, "reconstruction", "nll") == "data-variance":
        variance = float(getattr(model, "data_variance", 0.0))
        if variance > 0:
            terms["loss"] = mean_square / variance
    else:
        terms["loss"] = terms["nll_per_dim"]
    return terms
