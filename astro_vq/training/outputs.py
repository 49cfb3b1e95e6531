"""What a run writes at its end or when it is interrupted: plots, card, model with its figures."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from astro_vq.checkpoint import content_hash, save_model
from astro_vq.config import RunConfig
from astro_vq.layers import count_weights
from astro_vq.models import Model
from astro_vq.plotting import (
    Curve,
    CurvePanel,
    Example,
    draw_curves,
    draw_reconstructions,
    draw_usage,
    save_figure,
)
from astro_vq.training.card import ModelSummary, write_card
from astro_vq.training.data import TrainingData
from astro_vq.training.folder import RunFolder
from astro_vq.training.metrics_log import Row, read_metrics, read_series
from astro_vq.training.noise import card_of_noise
from astro_vq.training.reports import ValidationReport
from astro_vq.training.state import Position

EXAMPLES = 8
"""Cutouts shown with their reconstructions."""

CANDIDATES = 512
"""Cutouts among which they are chosen."""


def figures_of(
    position: Position, config: RunConfig, validation: ValidationReport | None
) -> dict[str, Any]:
    """Return the figures that are kept with a model; JSON values."""
    figures: dict[str, Any] = {
        "steps": position.step,
        "cutouts": position.step * config.training.batch_size,
        "is_complete": position.progress >= 1,
    }
    if validation is not None:
        figures["validation"] = {
            "step": validation.step,
            "cutouts": validation.cutouts,
            "terms": dict(validation.terms),
            "sky": dict(validation.sky),
        }
        if validation.counts:
            figures["validation"] |= {
                "codes": len(validation.counts),
                "codes_used": validation.codes_used,
                "perplexity": validation.perplexity,
            }
    return figures


def write_outputs(
    folder: RunFolder,
    model: Model,
    config: RunConfig,
    data: TrainingData,
    position: Position,
    validation: ValidationReport | None,
    *,
    device: torch.device,
) -> None:
    """Write plots, model card, and the model with its figures.

    Parameters
    ----------
    folder : RunFolder
        Where to write; files there are replaced.
    model : Model
        The trained model.
    config : RunConfig
        Of the run.
    data : TrainingData
        What it was trained on.
    position : Position
        Where the run stands.
    validation : ValidationReport or None
        Figures on images kept out of training.
    device : torch.device
        Where the model is.
    """
    name = folder.path.resolve().name
    card = write_card(
        config,
        data.summary,
        ModelSummary(
            name=name,
            hash=content_hash(model, config.model),
            channels=model.channels,
            weights=count_weights(model),
            stride=model.stride,
            codes=getattr(model, "codes", 0),
            depth=getattr(model, "depth", 1),
            noise=card_of_noise(model, config),
        ),
        step=position.step,
        is_complete=position.progress >= 1,
        validation=validation,
    )
    figures = figures_of(position, config, validation)
    save_model(folder.path, model, config, name=name, card=card, extra=figures)
    panels = choose_panels(read_metrics(folder.metrics))
    if panels:
        save_figure(draw_curves(panels), folder.plots / "curves.png")
    examples = choose_examples(model, data, device)
    save_figure(draw_reconstructions(examples), folder.plots / "reconstructions.png")
    if validation is not None and validation.counts and validation.perplexity is not None:
        usage = draw_usage(
            validation.counts, perplexity=validation.perplexity, title="validation images"
        )
        save_figure(usage, folder.plots / "codebook_usage.png")


def choose_panels(rows: Sequence[Row]) -> list[CurvePanel]:
    """Return the panels of the plot of curves: loss, other terms, codes, learning rate."""
    if not rows:
        return []

    def curve(label: str, column: str, split: str, style: str = "line") -> Curve:
        return Curve(label, *read_series(rows, split, column), style)

    def pair(column: str) -> list[Curve]:
        return [
            curve("training", column, "train"),
            curve("validation", column, "validation", "points"),
        ]

    panels = [
        CurvePanel(
            "loss",
            [*pair("loss"), curve("sky level alone (validation)", "sky_loss", "validation",
                                  "level")],
        ),
        CurvePanel(
            "mean squared error, network units",
            [*pair("mse"), curve("sky level alone (validation)", "sky_mse", "validation",
                                 "level")],
        ),
        CurvePanel(
            "other terms of the loss, training",
            [curve(n, n, "train") for n in ("codebook", "commitment", "kl") if _has(rows, n)],
            log=True,
        ),
        CurvePanel(
            "perplexity and codes in use",
            [
                curve("perplexity, training batches", "perplexity", "train"),
                curve("perplexity, validation", "perplexity", "validation", "points"),
                curve("codes used, validation", "codes_used", "validation", "points"),
            ],
        ),
        CurvePanel("learning rate", [curve("learning rate", "learning_rate", "train")]),
        CurvePanel(
            "norm of the gradient before clipping",
            [curve("gradient", "gradient_norm", "train")],
            log=True,
        ),
    ]  # fmt: skip
    return [panel for panel in panels if any(len(c.x) for c in panel.curves)]


def _has(rows: Sequence[Row], column: str) -> bool:
    return any(float(row[column] or 0) != 0 for row in rows if column in row)


@torch.no_grad()
def choose_examples(model: Model, data: TrainingData, device: torch.device) -> list[Example]:
    """Return validation cutouts, from bright and crowded to empty, with reconstructions.

    Parameters
    ----------
    model : Model
        In any mode; put back into it.
    data : TrainingData
        Where cutouts come from.
    device : torch.device
        Where the model is.
    """
    batches = list(data.validation_batches(64, limit=CANDIDATES))
    images = data.validation_images(limit=CANDIDATES)
    pixels = torch.cat([batch.pixels for batch in batches])
    mask = torch.cat([batch.mask for batch in batches])
    chosen = spread_by_brightness(pixels, mask, [group for _, group in images], EXAMPLES)
    was_training = model.training
    model.eval()
    shown = torch.where(mask, pixels, 0.0)[chosen]
    means = torch.cat([model.reconstruct(image[None].to(device)).cpu() for image in shown])
    model.train(was_training)
    return [
        Example(
            images[i][0].rpartition("/")[2],
            shown[n, 0].numpy(),
            means[n, 0].float().numpy(),
            mask[i, 0].numpy(),
        )
        for n, i in enumerate(chosen)
    ]


def spread_by_brightness(
    pixels: Tensor, mask: Tensor, groups: Sequence[int], count: int
) -> list[int]:
    """Return indices of cutouts evenly spread in brightness, brightest first.

    Brightness is the mean over valid pixels of what lies three sigma or more above the sky, in
    network units. Groups are shown as evenly as can be.
    """
    above = torch.where(mask, pixels, 0.0).sub(1.8).clamp_min(0)  # asinh(3) = 1.8
    brightness = above.flatten(1).sum(1) / mask.flatten(1).sum(1).clamp_min(1)
    order = brightness.argsort(descending=True, stable=True).tolist()
    free = dict(enumerate(order))  # by rank
    used = Counter[int]()
    ranks = []
    for number in range(min(count, len(order))):
        wanted = number * (len(order) - 1) / max(count - 1, 1)
        rank = min(free, key=lambda r: (used[groups[free[r]]], abs(r - wanted)))
        used[groups[free.pop(rank)]] += 1
        ranks.append(rank)
    return [order[rank] for rank in sorted(ranks)]
