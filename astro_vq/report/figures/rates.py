"""Bits per pixel against the error."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from astro_vq.plotting import COLOURS
from astro_vq.report.figures.style import MARKERS, finish_axes
from astro_vq.report.study import ImageStudy


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
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=16))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("largest error / pixel noise")
    ax.set_ylabel("bits per pixel")
    finish_axes(ax, outside=True)
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


def _rates_drawn(ax: Axes) -> list[float]:
    """Return the largest ordinate of each line that has one."""
    tops = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.lines]
    return [float(values.max()) for values in tops if values.size]
