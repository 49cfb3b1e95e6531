"""Train the prior of a model's tokens: from a model and images to ``prior.safetensors``."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.checkpoint import LoadedModel
from astro_vq.config import DataConfig, PriorConfig, TrainingConfig
from astro_vq.data.datasets import Batch
from astro_vq.errors import ConfigError, ModelMismatchError
from astro_vq.io.atomic import refuse_existing
from astro_vq.metrics.token_rate import TokenMap, TokenRate, measure_token_rate
from astro_vq.priors import TokenPrior, build_prior, save_prior
from astro_vq.priors.storage import PRIOR_FILE
from astro_vq.training.batches import BatchOrder, train_batches
from astro_vq.training.data import TrainingData, open_data
from astro_vq.training.devices import choose_device, choose_precision, reproducible
from astro_vq.training.interrupt import Interruption
from astro_vq.training.launch import Launch
from astro_vq.training.meter import Meter
from astro_vq.training.reports import DivergenceError, Note, Progress, StepReport
from astro_vq.training.schedule import Schedule

DEFAULTS = {"steps": 2000, "batch_size": 8, "learning_rate": 2e-3}
"""Training options of a prior where none are given."""

MAP_TOKENS = 32
"""Side of the maps that a prior is trained on, in tokens, where no size is given."""

VALIDATION_CUTOUTS = 512
"""Cutouts, at most, that bits per token are measured on at the end."""

_FREQUENCY_BATCHES = 4  # that the frequencies of codes are counted on at the start
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class PriorResult:
    """What came of training a prior.

    Attributes
    ----------
    output : Path
        ``prior.safetensors``.
    step : int
        Optimiser steps done.
    seconds : float
        Training time.
    interrupted : bool
        Whether a signal ended the run early.
    rate : TokenRate
        Bits per token on images kept out of training.
    """

    output: Path
    step: int
    seconds: float
    interrupted: bool
    rate: TokenRate

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {
            "output": str(self.output),
            "steps": self.step,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "bits_per_token": self.rate.to_dict(),
        }


def train_prior(
    loaded: LoadedModel,
    output: str | Path,
    *,
    data: DataConfig | None = None,
    training: TrainingConfig | None = None,
    prior: PriorConfig | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PriorResult:
    """Train a prior on the tokens that a model gives, and write it into a folder.

    The split into training and validation images is that of the run that trained the model, if
    the images are. SIGINT and SIGTERM end the run early; the prior is written all the same.

    Parameters
    ----------
    loaded : LoadedModel
        A VQ-VAE or VQ-VAE-2; it does not change.
    output : str or Path
        Folder to write to: that of the model, so that ``astro-vq sample`` finds the prior.
    data : DataConfig, optional
        Images; those of the model's own configuration when left out.
    training : TrainingConfig, optional
        Length, batch size, learning rate, device, seed; `DEFAULTS` when left out.
    prior : PriorConfig, optional
        Size of the network.
    overwrite : bool
        Replace a prior that is there.
    progress : callable, optional
        Is called with every `Note` and `StepReport`.

    Returns
    -------
    PriorResult

    Raises
    ------
    ModelMismatchError
        The model has no tokens, or takes other channels than the images have.
    FileExistsError
        There is a prior already, and `overwrite` is false.
    DivergenceError
        The loss is no longer finite.
    """
    started = time.monotonic()
    if Launch.from_environment().size > 1:
        raise ConfigError("a prior is trained in one process; start it without torchrun")
    tell = progress or _ignore
    path = Path(output) / PRIOR_FILE
    refuse_existing(path, overwrite=overwrite)
    options = training or TrainingConfig(**DEFAULTS)  # type: ignore[arg-type]
    if options.steps is None and options.time_budget is None:
        raise ValueError("a prior needs an end of its training: give steps or time_budget")
    device = choose_device(options.device)
    with reproducible(device, seed=options.seed, threads=options.threads):
        network = build_prior(loaded.model, prior).to(device)
        images = _open_images(loaded, data or default_data(loaded), seed=options.seed)
        for note in images.notes:
            tell(Note(note))
        tokens = _Tokenizer(loaded.model.to(device))
        with Interruption() as interruption:
            run = _PriorRun(network, tokens, images, options, device, tell, started)
            interrupted = run.train(interruption)
        network.eval()
        held_out = images.validation_batches(8, limit=VALIDATION_CUTOUTS)
        rate = measure_token_rate(network, _maps(held_out, tokens, device))
    seconds = time.monotonic() - started
    extra = {"steps": run.step, "seconds": round(seconds, 1), "bits_per_token": rate.to_dict()}
    save_prior(
        output,
        network,
        model_name=loaded.name,
        model_hash=loaded.hash,
        extra=extra,
        overwrite=overwrite,
    )
    return PriorResult(path, run.step, seconds, interrupted, rate)


def _ignore(report: object) -> None:
    """Take a report and do nothing."""


def default_data(loaded: LoadedModel) -> DataConfig:
    """Return the images that a model was trained on, cut into maps of at least `MAP_TOKENS`."""
    config = loaded.config.data
    stride, halo = loaded.model.stride, loaded.model.halo
    tokens = max(config.cutout_size // stride, MAP_TOKENS + 2 * halo)
    return dataclasses.replace(config, cutout_size=tokens * stride)


def _open_images(loaded: LoadedModel, config: DataConfig, *, seed: int) -> TrainingData:
    stride = loaded.model.stride
    if config.cutout_size % stride:
        raise ModelMismatchError(
            f"cutouts of {config.cutout_size} pixels hold no whole tokens of {stride} pixels; "
            f"try --cutout-size {config.cutout_size // stride * stride or stride}"
        )
    images = open_data(config, seed=loaded.config.training.seed)
    if images.channels != loaded.model.channels:
        raise ModelMismatchError(
            f"model {loaded.name!r} takes {loaded.model.channels} channel(s), the images have "
            f"{images.channels}; choose with --bands"
        )
    images.training.seed = seed
    images.training.source_fraction = 0.0  # the sky as it is, and not half of it bright
    images.validation.source_fraction = 0.0
    return images


class _Tokenizer:
    """Gives the tokens of cutouts as those of a large image, without the margin of a cutout."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a `TokenModel` that is a module
        self._model = model.eval()

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TokenMap:
        pixels = torch.where(batch.mask, batch.pixels, 0.0)
        indices = self._model.encode_indices(pixels)
        stride = batch.pixels.shape[-1] // indices.shape[-1]
        counts = F.max_pool2d(batch.mask.any(1, keepdim=True).float(), stride) > 0
        halo = self._model.halo
        if indices.shape[-1] >= 4 * halo:  # else little would be left
            inside = slice(halo, indices.shape[-1] - halo)
            indices, counts = indices[..., inside, inside], counts[..., inside, inside]
        return TokenMap(indices.contiguous(), counts)


def _maps(batches: Iterator[Batch], tokens: _Tokenizer, device: torch.device) -> Iterator[TokenMap]:
    for batch in batches:
        indices, counts = tokens(batch.to(device))
        assert counts is not None  # cutouts have a mask
        for one, inside in zip(indices, counts, strict=True):
            yield TokenMap(one[None], inside[None])


class _PriorRun:
    """The optimiser's part."""

    def __init__(
        self,
        network: TokenPrior,
        tokens: _Tokenizer,
        images: TrainingData,
        options: TrainingConfig,
        device: torch.device,
        tell: Progress,
        started: float,
    ) -> None:
        self._network = network
        self._tokens = tokens
        self._options = options
        self._device = device
        self._tell = tell
        self._started = started
        self._schedule = Schedule.from_config(options)
        # small convolutions on a CPU were 1.4 times slower in bfloat16, even where it has that
        is_slow = options.precision == "auto" and device.type == "cpu"
        self._autocast = None if is_slow else choose_precision(options.precision, device)
        order = BatchOrder(len(images.training), options.batch_size, seed=options.seed)
        self._batches = train_batches(images.training, order, workers=0, device=device)
        self.step = 0

    def train(self, interruption: Interruption) -> bool:
        """Train to the end, or until a signal (then return True)."""
        network, options = self._network, self._options
        network.set_frequencies(
            torch.cat([self._next().indices for _ in range(_FREQUENCY_BATCHES)])
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        network.train()
        meter, reported = Meter(("bits_per_token",)), 0.0
        while not interruption.is_wanted:
            seconds = time.monotonic() - self._started
            progress = self._schedule.progress(self.step, seconds)
            if progress >= 1:
                return False
            rate = self._schedule.rate(self.step, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
            begun = time.monotonic()
            loss = self._loss(self._next())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            limit = torch.inf if options.clip is None else options.clip
            nn.utils.clip_grad_norm_(network.parameters(), limit)
            optimizer.step()
            self.step += 1
            now = time.monotonic()
            bits = loss.detach() / torch.log(torch.tensor(2.0))
            if not torch.isfinite(bits):
                raise DivergenceError(
                    f"the loss is not finite at step {self.step}; a smaller --learning-rate or "
                    "--clip may help"
                )
            meter.add([bits], cutouts=options.batch_size, seconds=now - begun)
            if now - reported > _REPORT_SECONDS:
                reported = now
                self._report(meter, progress, rate)
        return True

    def _next(self) -> TokenMap:
        return self._tokens(next(self._batches).to(self._device, non_blocking=True))

    def _loss(self, item: TokenMap) -> Tensor:
        """Return nats per token that counts."""
        enabled = self._autocast is not None
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=enabled):
            parts = self._network.log_probs(item.indices)
        assert item.counts is not None
        total, count = torch.zeros((), device=self._device), 0
        for part in parts:
            finer = part.shape[-1] // item.counts.shape[-1]
            inside = item.counts.repeat_interleave(finer, 2).repeat_interleave(finer, 3)
            total = total - torch.where(inside, part, 0.0).sum()
            count += int(inside.sum()) * part.shape[1]
        return total / max(count, 1)

    def _report(self, meter: Meter, progress: float, rate: float) -> None:
        report = StepReport(
            step=self.step,
            progress=progress,
            seconds=time.monotonic() - self._started,
            terms=meter.end_line(),
            learning_rate=rate,
            images_per_second=meter.images_per_second,
        )
        self._tell(report)
