"""The plot that ``astro-vq evaluate`` writes: models side by side."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

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
    height = 3.6 + 0.25 * len(results)
    figure = Figure(figsize=(13, height), layout="constrained")
    bits, white, fluxes = figure.subplots(1, 3, width_ratios=[1, 1, 1.6])
    names = short_names([result.name for result in results])
    _draw_bits(bits, results)
    _draw_whiteness(white, results)
    _draw_fluxes(fluxes, results)
    for axes in (bits, white):
        axes.set_yticks(range(len(results)), names if axes is bits else [""] * len(results))
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.grid(axis="y", color="0.9")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=_colour(row), label=name)
        for row, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 4))
    return figure


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last parts of names that are paths, if these still tell them apart."""
    ends = [Path(name).name for name in names]
    return ends if all(ends) and len(set(ends)) == len(set(names)) else list(names)


def _colour(row: int) -> str:
    return COLOURS[row % len(COLOURS)]


def _draw_bits(axes: Axes, results: Sequence[Evaluation]) -> None:
    for row, result in enumerate(results):
        error = result.bits_per_dim * result.nll_error / result.nll if result.nll else 0.0
        colour = _colour(row)
        axes.errorbar(result.bits_per_dim, row, xerr=abs(error), fmt="o", color=colour)
        if result.bound_bits_per_dim is not None:
            axes.plot(result.bound_bits_per_dim, row, "D", color=colour, mfc="none")
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("bits per pixel and channel\n(diamond: importance bound)")
    axes.set_title("negative log-likelihood")


def _draw_whiteness(axes: Axes, results: Sequence[Evaluation]) -> None:
    for row, result in enumerate(results):
        if result.whiteness is None:
            continue
        colour = _colour(row)
        axes.plot(result.whiteness.lag_one, row, "o", color=colour)
        if result.whiteness.whitened_lag_one is not None:
            axes.plot(result.whiteness.whitened_lag_one, row, "D", color=colour, mfc="none")
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.margins(x=0.2)
    axes.set_xlabel("correlation of neighbours\n(diamond: whitened)")
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
            color=_colour(number),
        )
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(range(len(lows)), [_name_bin(ends[low]) for low in lows])
    axes.set_xlabel("significance of the source")
    # linear within a few errors, logarithmic beyond: bright sources may be off by hundreds
    axes.set_yscale("symlog", linthresh=LINEAR_ERRORS, linscale=1.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("flux difference, errors (bar: scatter)")
    axes.set_title("fluxes of sources")


def _name_bin(flux: FluxBin) -> str:
    return f"{flux.low:g}-{flux.high:g}" if math.isfinite(flux.high) else f"above {flux.low:g}"
