"""Flux differences against significance."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_vq.plotting import COLOURS
from astro_vq.report.study import ImageStudy
from astro_vq.report.trial_study import TrialStudy


def draw_fluxes(study: ImageStudy) -> Figure:
    """Draw flux differences against significance, one panel a trial, and their spread."""
    trials = [t for t in study.asked if t.trial.distortion.max_error > 0]
    trials = (trials or study.trials)[:4]
    figure = Figure(figsize=(max(3.4 * len(trials), 6.8), 3.6), layout="constrained")
    axes = figure.subplots(1, len(trials), squeeze=False)[0]
    for index, (ax, item) in enumerate(zip(axes, trials, strict=True)):
        limit = _flux_limit(item)  # tokens alone do a hundred times what a bound does
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
