"""The model card: what a model was trained on, how, and how well it does."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import tomli_w

from astro_vq import __version__
from astro_vq.config import RunConfig
from astro_vq.training.reports import ValidationReport

MOST_NAMES = 20
"""Names of files listed in full before the rest is only counted."""


@dataclass(frozen=True)
class SourceSummary:
    """One folder or HDF5 file of the data.

    Parameters
    ----------
    name : str
        Without the folders above it.
    files, images, pixels : int
        How many are used.
    sigmas : sequence of float
        Noise of each image, in the unit of the image.
    """

    name: str
    files: int
    images: int
    pixels: int
    sigmas: Sequence[float]


@dataclass(frozen=True)
class DataSummary:
    """What the card says of the data.

    Parameters
    ----------
    sources : sequence of SourceSummary
        Folders and HDF5 files.
    rejects : mapping of str to sequence of str
        Names of what was left out, by reason.
    training, validation : sequence of str
        Names of images in each part, without the folders above them.
    source_fraction : float
        Share of cutouts that are chosen to hold something.
    """

    sources: Sequence[SourceSummary]
    rejects: Mapping[str, Sequence[str]]
    training: Sequence[str]
    validation: Sequence[str]
    source_fraction: float


@dataclass(frozen=True)
class ModelSummary:
    """What the card says of the model.

    Parameters
    ----------
    name, hash : str
        What it is called, and its content hash.
    channels, weights, stride, codes, depth : int
        Bands, learnt weights, pixels per token along each axis, codes (0 without a codebook)
        and indices per position.
    noise : str
        What its likelihood takes noise for; empty where it is white.
    """

    name: str
    hash: str
    channels: int
    weights: int
    stride: int
    codes: int
    depth: int
    noise: str = ""


def write_card(
    config: RunConfig,
    data: DataSummary,
    model: ModelSummary,
    *,
    step: int,
    is_complete: bool,
    validation: ValidationReport | None,
) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Parameters
    ----------
    config : RunConfig
        Of the run.
    data : DataSummary
        What it was trained on.
    model : ModelSummary
        What it is.
    step : int
        Optimiser steps done.
    is_complete : bool
        Whether the run came to its end.
    validation : ValidationReport or None
        Figures on images kept out of training.
    """
    parts = [
        f"# {model.name}",
        _describe_model(config, model),
        "## Figures",
        _describe_figures(validation, step, is_complete=is_complete),
        "## Data",
        _describe_data(config, data),
        "## Noise and normalisation",
        _describe_scaling(config, data) + (f"\n\n{model.noise}" if model.noise else ""),
        "## Training",
        _describe_training(config, step, is_complete=is_complete),
        "## Limits",
        _describe_limits(model),
        "## Configuration",
        _describe_config(config),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _describe_model(config: RunConfig, model: ModelSummary) -> str:
    parts = config.model
    lines = [
        f"A `{parts.model}` of astro-vq {__version__} with the `{parts.network}` network, "
        f"{model.channels} channel(s), {model.weights:,} weights, likelihood `{parts.likelihood}`.",
    ]
    if model.codes:
        bits = model.depth * math.log2(model.codes) / model.stride**2
        lines.append(
            f"Images become tokens: {model.depth} of {model.codes} codes (`{parts.quantizer}`) for "
            f"each {model.stride} x {model.stride} pixels, {_number(bits)} bits per pixel before "
            "entropy coding."
        )
    lines.append(f"Content hash: `{model.hash}`.")
    return "\n".join(lines)


def _describe_figures(validation: ValidationReport | None, step: int, *, is_complete: bool) -> str:
    if validation is None:
        return "None: the run was not validated."
    names = [
        *(name for name in ("loss", "nll_per_dim", "bits_per_dim", "mse") if name in
          validation.terms),
    ]  # fmt: skip
    names += [n for n in validation.terms if n not in (*names, "nll", "perplexity", "dead_codes")]
    sky = dict(validation.sky)
    if "nll_per_dim" in sky:
        sky["bits_per_dim"] = sky["nll_per_dim"] / math.log(2)
    rows = [
        [name, _number(validation.terms[name]), _number(sky[name]) if name in sky else ""]
        for name in names
    ]
    text = (
        f"On {validation.cutouts} cutouts of images kept out of training, after {step} steps"
        f"{'' if is_complete else ' (the run was interrupted)'}. The sky level alone is an image "
        "that is its sky and nothing else. Units are network units (see below), nats unless "
        "called bits, per valid pixel.\n\n"
    )
    text += _table(["term", "model", "sky level alone"], rows)
    if validation.counts and validation.perplexity is not None:
        used, codes = validation.codes_used, len(validation.counts)
        text += (
            f"\n\nCodes used: {used} of {codes} ({used / codes:.0%}); perplexity "
            f"{validation.perplexity:.1f}. Plots: `plots/curves.png`, "
            "`plots/reconstructions.png`, `plots/codebook_usage.png`."
        )
    return text


def _describe_data(config: RunConfig, data: DataSummary) -> str:
    rows = [
        [s.name, str(s.files), str(s.images), f"{s.pixels / 1e6:.3g}", _spread(s.sigmas)]
        for s in data.sources
    ]
    header = ["source", "files", "images", "megapixels", "noise (16, 50, 84 %)"]
    size = config.data.cutout_size
    text = _table(header, rows)
    turned = "; flipped and turned at random for training" if config.data.augment else ""
    text += (
        f"\n\nCutouts of {size} x {size} pixels at random places, {data.source_fraction:.0%} of "
        "them chosen to hold something above the noise where there is anything"
        f"{turned}. Training: {len(data.training)} images. Validation: {len(data.validation)} "
        "images, whole files or objects that training never sees:\n\n"
    )
    text += _list_names(data.validation)
    count = sum(len(names) for names in data.rejects.values())
    text += f"\n\nLeft out: {count}."
    for reason, names in sorted(data.rejects.items()):
        text += f"\n\n* {reason} ({len(names)}): {_list_inline(names)}"
    return text


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    if not ordered:
        return ""
    last = len(ordered) - 1
    return ", ".join(f"{ordered[round(share * last)]:.3g}" for share in (0.16, 0.5, 0.84))


def _list_names(names: Sequence[str]) -> str:
    shown = [f"* `{name}`" for name in names[:MOST_NAMES]]
    if len(names) > MOST_NAMES:
        shown.append(f"* and {len(names) - MOST_NAMES} more")
    return "\n".join(shown)


def _list_inline(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _describe_scaling(config: RunConfig, data: DataSummary) -> str:
    saturation = config.data.saturation
    above = "" if saturation is None else f" and pixels at or above {saturation:g}"
    return (
        "Each image is brought to network units by `asinh((value - sky) / sigma)`, sky level and "
        "noise measured on the image itself (median and median absolute deviation, clipped). So "
        "0 is the sky and the noise is about 1, in any unit and at any gain. Missing (NaN, inf) "
        f"and saturated pixels{above} are masked: they add nothing to the loss."
    )


def _describe_training(config: RunConfig, step: int, *, is_complete: bool) -> str:
    options = config.training
    end = "" if is_complete else ", interrupted before its end"
    return (
        f"{step} steps of {options.batch_size} cutouts with Adam{end}; peak learning rate "
        f"{options.learning_rate:g}, {options.schedule} schedule, {options.warmup} steps of "
        f"warm-up, gradient norm clipped at {options.clip}, seed {options.seed}."
    )


def _describe_limits(model: ModelSummary) -> str:
    lossy = (
        "Tokens are a lossy summary: noise is not kept, sources near the noise may be lost, and "
        "very bright ones are bounded by what the training images held. A bound on the error "
        "needs the pixel layer (`--max-error`, `--lossless`)."
    )
    return (
        f"For images of {model.channels} channel(s) like those above. {lossy} Check images of "
        "other instruments with `astro-vq verify` or by eye before relying on tokens alone."
    )


def _describe_config(config: RunConfig) -> str:
    values: dict[str, Any] = config.to_dict()
    for name in ("fits_dir", "hdf5"):  # where data lay on one machine is nobody's business
        values["data"][name] = [PurePath(path).name for path in values["data"][name]]
    if config.data.noise_covariance is not None:
        values["data"]["noise_covariance"] = PurePath(config.data.noise_covariance).name
    for field in dataclasses.fields(config):
        part = values[field.name]
        if isinstance(part, dict):
            values[field.name] = {k: v for k, v in part.items() if v is not None}
    return f"```toml\n{tomli_w.dumps(values)}```"
