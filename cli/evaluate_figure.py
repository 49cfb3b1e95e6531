"""The plot that ``astro-vq evaluate`` writes: models side by side."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from astro_vq.metrics.likelihood import Evaluation
from astro_vq.metrics.source_fluxes import FluxBin
from astro_vq.plotting import COLOURS

LINEAR_ERRORS = 3.0
"""Flux differences, in errors, up to which their axis is linear."""


def draw_evaluations(results: Sequence[Evaluation]) -> Figure:
    """Draw bits per dimension, correlation of residuals, and flux errors by significance.

    Parameters
    ----------
    results : sequence of Evaluation
        One colour each.
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    bits, white, fluxes = figure.subplots(1, 3)
    _draw_bits(bits, results)
    _draw_whiteness(white, results)
    _draw_fluxes(fluxes, results)
    return figure


def _label(axes: Axes, results: Sequence[Evaluation]) -> None:
    axes.set_yticks(range(len(results)), [result.name for result in results])
    axes.invert_yaxis()


def _draw_bits(axes: Axes, results: Sequence[Evaluation]) -> None:
    for row, result in enumerate(results):
        error = result.bits_per_dim * result.nll_error / result.nll if result.nll else 0.0
        colour = COLOURS[row % len(COLOURS)]
        axes.errorbar(result.bits_per_dim, row, xerr=abs(error), fmt="o", color=colour)
        if result.bound_bits_per_dim is not None:
            axes.plot(result.bound_bits_per_dim, row, "D", color=colour, mfc="none")
    _label(axes, results)
    axes.margins(0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("bits per pixel and channel (diamond: importance bound)")
    axes.set_title("negative log-likelihood")


def _draw_whiteness(axes: Axes, results: Sequence[Evaluation]) -> None:
    for row, result in enumerate(results):
        if result.whiteness is None:
            continue
        colour = COLOURS[row % len(COLOURS)]
        axes.plot(result.whiteness.lag_one, row, "o", color=colour)
        if result.whiteness.whitened_lag_one is not None:
            axes.plot(result.whiteness.whitened_lag_one, row, "D", color=colour, mfc="none")
    axes.axvline(0, color="0.6", linewidth=0.8)
    _label(axes, results)
    axes.margins(0.2)
    axes.set_xlabel("correlation of neighbours (diamond: whitened)")
    axes.set_title("residuals on the sky")


def _draw_fluxes(axes: Axes, results: Sequence[Evaluation]) -> None:
    lows = sorted({b.low for r in results if r.fluxes for b in r.fluxes.bins})
    ends = {b.low: b for r in results if r.fluxes for b in r.fluxes.bins}
    for number, result in enumerate(results):
        if result.fluxes is None:
            continue
        shift = 0.6 * ((number + 0.5) / len(results) - 0.5)
        places = [lows.index(b.low) + shift for b in result.fluxes.bins]
        axes.errorbar(
            places,
            [b.bias for b in result.fluxes.bins],
            yerr=[b.scatter for b in result.fluxes.bins],
            fmt="o",
            color=COLOURS[number % len(COLOURS)],
            label=result.name,
        )
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(range(len(lows)), [_name_bin(ends[low]) for low in lows])
    axes.set_xlabel("significance of the source")
    # linear within a few errors, logarithmic beyond: bright sources may be off by hundreds
    axes.set_yscale("symlog", linthresh=LINEAR_ERRORS, linscale=1.5)
    axes.set_ylabel("flux difference, errors (bar: scatter)")
    axes.set_title("fluxes of sources")
    if lows:
        axes.legend(loc="best", framealpha=0.7)


def _name_bin(flux: FluxBin) -> str:
    return f"{flux.low:g}-{flux.high:g}" if math.isfinite(flux.high) else f"above {flux.low:g}"
