"""Effects over their limits against the bound."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from astro_vq.plotting import COLOURS
from astro_vq.report.figures.style import LINES, MARKERS, finish_axes
from astro_vq.report.limits import effects_of
from astro_vq.report.study import ImageStudy


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
                linestyle=LINES[index // 6 % len(LINES)], color=COLOURS[index % 6],
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
    finish_axes(ax, outside=True)
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
