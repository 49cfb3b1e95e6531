"""Figures of the pages on models and experiments, from the figures kept in docs/data.

python tests/benchmarks/draw_models.py docs/data -o docs/figures
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from astro_vq.plotting import COLOURS

PUBLISHED = {"k = 5, Burda et al. 2016": -85.54, "k = 1": -86.76}
"""Bounds of 5,000 samples, nats."""

LINEAR_ERRORS = 3.0
"""Flux differences, in errors, up to which their axis is linear."""


def draw_experiments(runs: list[dict[str, Any]]) -> Figure:
    """Draw bits per pixel and flux errors of each experiment, the best likelihood first."""
    runs = sorted(runs, key=lambda run: run["bits_per_dim"])
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    bits, fluxes = figure.subplots(1, 2, sharey=True)
    for row, run in enumerate(runs):
        bits.plot(run["bits_per_dim"], row, "o", color=COLOURS[0])
        if run["bound_bits_per_dim"] is not None:
            bits.plot(run["bound_bits_per_dim"], row, "D", color=COLOURS[1], mfc="none")
        fluxes.errorbar(
            run["flux_bias"], row, xerr=run["flux_scatter"], fmt="o", color=COLOURS[0], lw=1
        )
    names = [run["name"] + (f" (seed {run['seed']})" if run["seed"] else "") for run in runs]
    bits.set_yticks(range(len(runs)), names, fontsize="small")
    bits.invert_yaxis()
    bits.set_xlabel("bits per pixel (diamond: importance bound)")
    fluxes.axvline(0, color="0.6", linewidth=0.8)
    fluxes.set_xlabel("flux difference, errors (bar: scatter)")
    for axes in (bits, fluxes):
        axes.grid(axis="y", color="0.9")
    return figure


def draw_mnist(runs: list[dict[str, Any]]) -> Figure:
    """Draw the importance bound on test images as training goes on."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    shown = [run for run in runs if any("bound_100" in row for row in run["curve"])]
    for run, colour in zip(shown, COLOURS, strict=False):
        seen = [(row["epoch"], row["bound_100"]) for row in run["curve"] if "bound_100" in row]
        label = f"k = {run['config'].get('samples', 5)}" if run["run"] == "iwae" else "VAE, k = 1"
        axes.plot(*zip(*seen, strict=True), "o-", ms=3, color=colour, label=f"{label}, 100 samples")
        final = run["test"].get("bound")
        if final is not None:
            end = run["curve"][-1]["epoch"]
            samples = run["test"]["bound_samples"]
            name = f"{label}, {samples:,.0f} samples"
            axes.plot(end, final, "*", ms=11, color=colour, label=name)
    for (label, value), style in zip(PUBLISHED.items(), ("-", ":"), strict=True):
        axes.axhline(value, color="0.5", linewidth=1, linestyle=style, label=label)
    axes.set_ylim(-92, -84.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("bound on test images, nats")
    axes.legend(fontsize="small")
    return figure


def draw_fluxes(figures: list[dict[str, Any]]) -> Figure:
    """Draw fluxes against the truth, for each set-up and each way to measure them."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, found in zip(
        figure.subplots(1, len(figures), squeeze=False)[0], figures, strict=True
    ):
        _draw_set_up(axes, found)
    return figure


def _draw_set_up(axes: Axes, found: dict[str, Any]) -> None:
    names, kind = found["drawn"], found["kind"]
    lows = [part["low"] for part in found["frames"][kind]["bins"]]
    is_share = found.get("shown") == "found"
    for number, name in enumerate(names):
        for run in (run for run in found["runs"] if run["variant"] == name):
            bins = run[kind]["bins"]
            shift = 0.2 * (number - (len(names) - 1) / 2) + 0.05 * run["seed"]
            axes.errorbar(
                [lows.index(part["low"]) + shift for part in bins],
                [part["found" if is_share else "bias"] for part in bins],
                yerr=None if is_share else [part["scatter"] for part in bins],
                fmt="o",
                ms=3.5,
                lw=1,
                color=COLOURS[number],
                label=name if run["seed"] == 0 else None,
            )
    ends = [*lows[1:], None]
    ticks = [
        f"{low:g}-{end:g}" if end else f"> {low:g}" for low, end in zip(lows, ends, strict=True)
    ]
    axes.set_xticks(range(len(lows)), ticks, fontsize="small")
    axes.set_xlabel("significance of the source")
    axes.set_title(found["title"], fontsize="medium")
    if is_share:
        axes.set_ylim(0, 1)
        axes.set_ylabel("found at 1 % false alarms")
    else:
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=LINEAR_ERRORS, linscale=1.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel("flux less truth, errors")
    axes.legend(fontsize="small", loc="upper left" if is_share else "lower left")


def main() -> None:
    """Draw all figures whose data are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of JSON files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    for name, key, draw in (
        ("experiments", "optical", draw_experiments),
        ("mnist", "runs", draw_mnist),
        ("true-fluxes", "sets", draw_fluxes),
    ):
        path = options.data / f"{name}.json"
        if path.exists():
            figure = draw(json.loads(path.read_text())[key])
            figure.savefig(options.output / f"{name}.png", dpi=90)


if __name__ == "__main__":
    main()
