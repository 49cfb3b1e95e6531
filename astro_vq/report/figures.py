"""Figures of a report: images and residuals, rate against error, fluxes, spectra, times.

Each function returns a `matplotlib.figure.Figure`.  Colours are those of Okabe & Ito, lines and
markers differ in shape as well, so that figures can be read in print and with any colour vision.
"""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from astro_vq.metrics.distortion import residual_in_sigma
from astro_vq.plotting import COLOURS
from astro_vq.report.limits import effects_of
from astro_vq.report.study import ImageStudy, TrialStudy

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_LINES = ("-", "--", "-.", ":")
_SHOWN = 480  # pixels on a side of a drawn image
_ZOOM = 72  # pixels on a side of the enlarged piece
_BAD = "#C8B560"


def to_data_uri(figure: Figure, *, dpi: int = 110, photograph: bool = False) -> str:
    """Return a figure as a data URI, to be put inline.

    Parameters
    ----------
    figure : Figure
        What to draw.
    dpi : int
        Pixels per inch.
    photograph : bool
        Whether it is full of noise: WebP of high quality, a fifth of the size of the PNG.
    """
    buffer = io.BytesIO()
    if photograph:
        figure.savefig(buffer, format="webp", dpi=dpi, pil_kwargs={"quality": 90, "method": 2})
    else:
        figure.savefig(buffer, format="png", dpi=dpi)
    kind = "webp" if photograph else "png"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_images(study: ImageStudy, number: int) -> Figure:
    """Draw original, decoded and residual of one trial, whole and enlarged.

    The stretch is asinh of the value over the sky in noise units, the same for both images;
    residuals are decoded - original in units of the noise.

    Parameters
    ----------
    study : ImageStudy
        The image.
    number : int
        Which trial.
    """
    subject = study.subject
    sigma = subject.noise or subject.sigma or 1.0
    decoded = study.trials[number].trial.decoded
    residual = residual_in_sigma(subject.pixels, decoded, sigma)
    wide = subject.pixels.shape[1] / subject.pixels.shape[0]
    top, left = _zoom_corner(study)
    rows = 2 if min(subject.pixels.shape) > 1.5 * _ZOOM else 1
    height = min(max(3.1 / wide, 0.9), 4.2)
    heights = [height, 3.1][:rows]
    figure = Figure(figsize=(10.6, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False, height_ratios=heights)
    low, high = _stretch_limits(study)
    limit = _residual_limit(residual)
    pieces = [np.s_[:, :], np.s_[top : top + _ZOOM, left : left + _ZOOM]][:rows]
    for row, piece in enumerate(pieces):
        whole = row == 0
        originals = [
            _stretch(image[piece], subject.sky, sigma) for image in (subject.pixels, decoded)
        ]
        for ax, image in zip(axes[row], originals, strict=False):
            _show(ax, image, whole=whole, cmap="gray", vmin=low, vmax=high)
        shown = _show(
            axes[row, 2], residual[piece], whole=whole, cmap="RdBu_r", vmin=-limit, vmax=limit
        )
    for ax, title in zip(axes[0], ("original", "decoded", "decoded - original"), strict=True):
        ax.set_title(title, fontsize=11)
    if rows == 2:
        for ax in axes[0, :2]:
            ax.add_patch(
                Rectangle(
                    (left, top), _ZOOM, _ZOOM, fill=False, edgecolor=COLOURS[4], linewidth=1.2
                )
            )
        axes[1, 0].set_ylabel(f"{_ZOOM} x {_ZOOM} pixels", fontsize=9)
    figure.colorbar(
        shown, ax=axes[:, 2], label="residual / noise", shrink=0.8, extend="both", aspect=30
    )
    return figure


def _stretch(image: NDArray[np.float64], sky: float, sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.arcsinh((image - sky) / sigma / 2), dtype=np.float64)


def _stretch_limits(study: ImageStudy) -> tuple[float, float]:
    subject = study.subject
    sigma = subject.noise or subject.sigma or 1.0
    finite = subject.pixels[np.isfinite(subject.pixels)]
    values = _stretch(finite[:: max(finite.size // 500_000, 1)], subject.sky, sigma)
    if values.size == 0:
        return 0.0, 2.0
    low, high = np.quantile(values, (0.005, 0.998))
    return float(low), float(max(high, low + 2.0))


def _residual_limit(residual: NDArray[np.float64]) -> float:
    values = np.abs(residual[np.isfinite(residual)])
    values = values[:: max(values.size // 500_000, 1)]
    high = float(np.quantile(values, 0.995)) if values.size else 0.0
    return high or 1.0


def _zoom_corner(study: ImageStudy) -> tuple[int, int]:
    """Return the corner of the enlarged piece: around a source of middling brightness."""
    height, width = study.subject.pixels.shape
    found, usable = study.catalogue.found, np.isfinite(study.catalogue.measured.flux)
    y, x = height / 2, width / 2
    if usable.any():
        order = np.flatnonzero(usable)
        chosen = order[min(len(order) // 4, len(order) - 1)]
        y, x = float(found.y[chosen]), float(found.x[chosen])
    top = int(min(max(y - _ZOOM / 2, 0), max(height - _ZOOM, 0)))
    left = int(min(max(x - _ZOOM / 2, 0), max(width - _ZOOM, 0)))
    return top, left


def colour_map(name: str, bad: str = _BAD) -> Colormap:
    """Return a colour map that draws missing pixels in a colour of their own."""
    return colormaps[name].with_extremes(bad=bad)


def _show(ax: Axes, image: NDArray[Any], *, whole: bool, cmap: str, **settings: Any) -> Any:  # noqa: ANN401
    step = -(-max(image.shape) // _SHOWN) if whole else 1
    height, width = image.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    aspect: Literal["auto", "equal"] = (
        "auto" if max(width, height) > 8 * min(width, height) else "equal"
    )
    shown = ax.imshow(
        np.ma.masked_invalid(_reduce(image, step)),
        origin="lower",
        interpolation="nearest",
        extent=extent,
        aspect=aspect,
        cmap=colour_map(cmap),
        **settings,
    )
    ax.set_xticks([])
    ax.set_yticks([])
    return shown


def _reduce(image: NDArray[Any], step: int) -> NDArray[Any]:
    """Return means of blocks; of narrow images every step-th pixel."""
    if step <= 1 or min(image.shape) < step:
        return image[::step, ::step] if step > 1 else image
    rows, columns = (n // step for n in image.shape)
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    valid = np.isfinite(blocks)
    sums = np.where(valid, blocks, 0.0).sum((1, 3))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.where(valid.any((1, 3)), valid.sum((1, 3)), np.nan))


def draw_rates(study: ImageStudy) -> Figure:
    """Draw bits per pixel against the error: our trials, other codecs, and the noise floor."""
    sigma = study.subject.noise or study.subject.sigma or 1.0
    figure = Figure(figsize=(9.4, 4.8), layout="constrained")
    ax = figure.subplots()
    ours = sorted(
        (t for t in study.trials if t.trial.distortion.rms_error > 0),
        key=lambda t: t.trial.distortion.rms_error,
    )
    bounded = [t for t in ours if t.trial.bound is not None]
    errors = [float(t.record["max_error_sigma"]) for t in bounded]
    rates = [t.trial.rate.bits_per_pixel() for t in bounded]
    layers = [t.trial.rate.bits_per_pixel("pixel") for t in bounded]
    if bounded:
        ax.plot(errors, rates, "o-", color=COLOURS[0], label="astro-vq, whole file", zorder=5)
        ax.plot(
            errors, layers, "o", color=COLOURS[0], fillstyle="none", zorder=5,
            label="astro-vq, pixel layer",
        )  # fmt: skip
    for trial in ours:
        if trial.trial.bound is None:
            error = float(trial.record["max_error_sigma"])
            ax.plot(
                [error], [trial.trial.rate.bits_per_pixel()], "*", markersize=13, color=COLOURS[1],
                label="astro-vq, tokens only", zorder=5,
            )  # fmt: skip
    names = list(dict.fromkeys(p.name for t in study.trials for p in t.peers if p.bytes))
    for index, name in enumerate(names):
        points = [
            (p.max_error / sigma * study.subject.scale, p.bits_per_pixel)
            for t in study.trials
            for p in t.peers
            if p.name == name and p.max_error and p.bits_per_pixel
        ]
        if points:
            x, y = zip(*sorted(points), strict=True)
            colour = COLOURS[1 + index % (len(COLOURS) - 1)]
            ax.plot(
                x, y, MARKERS[(index + 1) % len(MARKERS)], color=colour, label=name,
                markersize=6, alpha=0.9,
            )  # fmt: skip
    _draw_floor(ax, study, errors)
    lossless = [t for t in study.trials if t.trial.fidelity == "lossless"]
    ax.set_ylim(0, 1.15 * max([*_rates_drawn(ax), 1.0]))
    for trial in lossless[:1]:
        rate = trial.trial.rate.bits_per_pixel()
        if rate > ax.get_ylim()[1] and rates:
            ax.set_title(f"lossless: {rate:.3g} bits per pixel, above", loc="right", fontsize=9)
            continue
        ax.set_ylim(top=max(ax.get_ylim()[1], 1.1 * rate))
        ax.axhline(rate, color=COLOURS[0], linestyle=":", linewidth=1.4)
        ax.annotate(
            "lossless", (0.99, rate), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            color=COLOURS[0], fontsize=9,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel("largest error / pixel noise")
    ax.set_ylabel("bits per pixel")
    _finish(ax, outside=True)
    return figure


def _draw_floor(ax: Axes, study: ImageStudy, errors: Sequence[float]) -> None:
    if study.noise is None or not study.subject.noise:
        return
    low, high = (min(errors) / 1.6, max(errors) * 1.6) if errors else (1 / 64, 4.0)
    factors = np.geomspace(max(low, 1e-4), max(high, low * 4), 40)
    if study.subject.is_integer:
        factors = factors[factors * study.subject.noise >= study.subject.scale / 2]
    if factors.size < 2:
        return
    floors = [study.noise.floor(2 * factor * study.subject.noise) for factor in factors]
    correlated = [floor.correlated_bits for floor in floors]
    ax.fill_between(factors, 0, correlated, color="0.9", zorder=0)
    ax.plot(factors, correlated, color="0.25", linewidth=1.3, label="noise floor")
    ax.plot(
        factors, [f.white_bits for f in floors], color="0.25", linewidth=1.1, linestyle="--",
        label="noise floor, were it uncorrelated",
    )  # fmt: skip


def draw_fluxes(study: ImageStudy) -> Figure:
    """Draw flux differences against significance, one panel a trial, and their spread."""
    trials = [t for t in study.trials if not t.swept and t.trial.distortion.max_error > 0]
    trials = (trials or study.trials)[:4]
    figure = Figure(figsize=(max(3.4 * len(trials), 6.8), 3.6), layout="constrained")
    axes = figure.subplots(1, len(trials), squeeze=False, sharey=len(trials) > 1)[0]
    limit = max(_flux_limit(t) for t in trials)
    for index, (ax, item) in enumerate(zip(axes, trials, strict=True)):
        values = item.photometry.differences["flux"]
        good = np.isfinite(values)
        clipped = np.clip(values[good], -limit, limit)
        ax.axhspan(-1, 1, color="0.93", zorder=0)
        ax.axhline(0, color="0.5", linewidth=0.8)
        ax.plot(
            item.photometry.snr[good], clipped, ".", markersize=4, alpha=0.6,
            color=COLOURS[index % 6], rasterized=True,
        )  # fmt: skip
        _draw_quantiles(ax, item.photometry.snr[good], values[good])
        ax.set_xscale("log")
        ax.set_ylim(-1.05 * limit, 1.05 * limit)
        ax.set_title(item.trial.choice.label, loc="left", fontsize=10)
        ax.set_xlabel("S/N on the original")
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    axes[0].set_ylabel("flux difference / flux error")
    return figure


def _flux_limit(item: TrialStudy) -> float:
    values = item.photometry.differences["flux"]
    values = np.abs(values[np.isfinite(values)])
    return max(float(np.quantile(values, 0.99)) * 1.15, 0.02) if values.size else 1.0


def _draw_quantiles(ax: Axes, snr: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw the median and the 10th and 90th percentile in ranges of significance."""
    if snr.size < 20:
        return
    order = np.argsort(snr)
    groups = np.array_split(order, min(8, snr.size // 10))
    centres = [float(np.median(snr[group])) for group in groups]
    for quantile, style in ((0.1, "--"), (0.5, "-"), (0.9, "--")):
        line = [float(np.quantile(values[group], quantile)) for group in groups]
        ax.plot(centres, line, style, color="black", linewidth=1.1)


def draw_residuals(study: ImageStudy) -> Figure:
    """Draw histograms of the residuals and power spectra of residuals and image."""
    trials = [t for t in study.trials if not t.swept and t.trial.distortion.max_error > 0]
    trials = trials or [t for t in study.trials if t.trial.distortion.max_error > 0]
    sigma = study.subject.noise or study.subject.sigma or 1.0
    figure = Figure(figsize=(10.6, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, item in enumerate(trials[:6]):
        residual = residual_in_sigma(study.subject.pixels, item.trial.decoded, sigma)
        values = residual[np.isfinite(residual)]
        values = values[:: max(values.size // 500_000, 1)]
        edge = max(float(np.quantile(np.abs(values), 0.999)), 1e-12) if values.size else 1.0
        heights, edges = np.histogram(values, 121, (-1.1 * edge, 1.1 * edge), density=True)
        middles = (edges[1:] + edges[:-1]) / 2
        style = _LINES[index % len(_LINES)]
        label = item.trial.choice.label
        # each in units of its own width, so that all shapes are seen in one panel
        left.plot(
            middles / edge, heights * edge, style, color=COLOURS[index % 6],
            label=f"{label} (widest {edge:.2g})",
        )  # fmt: skip
        spectrum = item.spectrum
        if spectrum.power.size:
            right.plot(
                spectrum.frequency, spectrum.power, style, color=COLOURS[index % 6], label=label
            )
    if study.spectrum.power.size:
        right.plot(
            study.spectrum.frequency, study.spectrum.power, color="black", linewidth=1.6,
            label="original",
        )  # fmt: skip
    left.set_xlabel("residual / its 99.9 % quantile (in noise units: legend)")
    left.set_ylabel("density")
    left.set_yticks([])
    right.set_xlabel("cycles per pixel")
    right.set_ylabel("power / white noise")
    if any(line.get_ydata().size and np.max(line.get_ydata()) > 0 for line in right.lines):
        right.set_yscale("log")
    for ax in (left, right):
        _finish(ax)
    return figure


def draw_times(study: ImageStudy) -> Figure:
    """Draw the time of compressing and decompressing, ours and that of other codecs."""
    rows: list[tuple[str, float, float, bool]] = []
    pixels = study.subject.pixels.size
    first = next((t for t in study.trials if any(p.bytes for p in t.peers)), None)
    for item in (t for t in study.trials if not t.swept):
        whole = item.trial.rate.pixels / 1e6
        label = item.trial.choice.label
        rows.append(
            (f"astro-vq, {label}", whole / item.trial.compress_seconds,
             whole / item.trial.decompress_seconds, True)
        )  # fmt: skip
        rows += [
            (
                f"{p.name}, {label}",
                pixels / 1e6 / p.encode_seconds,
                pixels / 1e6 / p.decode_seconds,
                False,
            )
            for p in item.peers
            if item is first and p.bytes and p.encode_seconds and p.decode_seconds
        ]
    figure = Figure(figsize=(9.4, 0.27 * len(rows) + 1.2), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(rows))[::-1]
    ax.barh(places + 0.2, [r[1] for r in rows], 0.38, color=COLOURS[0], label="compress")
    ax.barh(places - 0.2, [r[2] for r in rows], 0.38, color=COLOURS[5], label="decompress",
            edgecolor=COLOURS[0], linewidth=0.5)  # fmt: skip
    ax.set_yticks(places, [row[0] for row in rows], fontsize=8)
    for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row[3] else "normal")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("million pixels per second (files for astro-vq, memory for the others)")
    ax.margins(y=0.02)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize=9)
    return figure


def draw_sweep(study: ImageStudy) -> Figure:
    """Draw effects over their limits against the bound, and where the recommendation lies."""
    limits = study.record["limits"]
    swept = sorted(
        (t.record for t in study.trials if t.record.get("factor") and t.trial.bound),
        key=lambda record: float(record["factor"]),
    )
    figure = Figure(figsize=(9.4, 4.8), layout="constrained")
    ax = figure.subplots()
    for index, name in enumerate(limits):
        points = [
            (float(record["factor"]), effects_of(record)[name] / limits[name])
            for record in swept
            if limits[name] > 0 and name in effects_of(record)
        ]
        points = [(x, max(y, 1e-3)) for x, y in points]
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(
                x, y, marker=MARKERS[index % len(MARKERS)], markersize=4, label=name,
                linestyle=_LINES[index // 6 % len(_LINES)], color=COLOURS[index % 6],
            )  # fmt: skip
    ax.axhspan(1, 1e9, color=COLOURS[1], alpha=0.08, zorder=0)
    ax.axhline(1, color=COLOURS[1], linewidth=1.4)
    if study.recommendation is not None and study.recommendation.factor is not None:
        ax.axvline(study.recommendation.factor, color=COLOURS[2], linewidth=2, linestyle="--")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    top = max((y for line in ax.lines for y in np.atleast_1d(line.get_ydata())), default=1.0)
    ax.set_ylim(1e-3, max(10.0, min(top * 1.5, 1e3)))
    ax.xaxis.set_major_formatter(FuncFormatter(_format_fraction))
    ax.set_xlabel("bound / pixel noise")
    ax.set_ylabel("effect / its limit")
    _finish(ax, outside=True)
    return figure


def _format_fraction(value: float, _: int) -> str:
    if value >= 1 or value <= 0:
        return f"{value:g}"
    inverse = 1 / value
    return (
        f"1/{inverse:.0f}"
        if math.isclose(inverse, round(inverse), rel_tol=1e-3)
        else f"{value:.3g}"
    )


def _rates_drawn(ax: Axes) -> list[float]:
    """Return the largest ordinate of each line that has one."""
    tops = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.lines]
    return [float(values.max()) for values in tops if values.size]


def _finish(ax: Axes, *, outside: bool = False) -> None:
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if ax.get_legend_handles_labels()[1]:
        handles, labels = ax.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        where: dict[str, Any] = (
            {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if outside else {}
        )
        ax.legend(unique.values(), unique.keys(), frameon=False, fontsize=8.5, **where)
