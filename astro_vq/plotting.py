"""Figures of a training run: curves, reconstructions, use of the codebook.

Functions take plain numbers and arrays and return a `matplotlib.figure.Figure`; nothing here
needs a display or touches matplotlib's global state. Colours are those of Okabe & Ito, which
people with any colour vision can tell apart.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_vq.io.atomic import atomic_writer

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Blue, vermilion, green, purple, orange, sky blue, black."""

STYLES: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 1.2},
    "points": {"linewidth": 1.6, "marker": "o", "markersize": 3.5},
    "level": {"linewidth": 1.4, "linestyle": "--"},
}
"""How each style of a curve is drawn."""

RESIDUAL_LIMIT = 5.0
"""Residuals are shown from minus to plus this many sigma."""

LABEL_LENGTH = 32
"""Longest label below an image, in characters."""

BRIGHTEST = 0.998
"""Quantile of an image that is drawn white."""


class Curve(NamedTuple):
    """One line of a panel.

    Attributes
    ----------
    label : str
        Its name in the legend.
    x, y : sequence of float
        Points.
    style : str
        'line', 'points' (a line with a marker at each point) or 'level' (a dashed line).
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "line"


class CurvePanel(NamedTuple):
    """Curves that share their axes.

    Attributes
    ----------
    title : str
        What is shown.
    curves : sequence of Curve
        Empty ones are left out.
    log : bool
        Whether the y axis is logarithmic.
    """

    title: str
    curves: Sequence[Curve]
    log: bool = False


class Example(NamedTuple):
    """An image and what the model makes of it.

    Attributes
    ----------
    label : str
        What it is.
    original, reconstruction : ndarray (H, W)
        Network units: ``asinh((value - sky) / sigma)``.
    mask : ndarray of bool (H, W)
        True where a pixel is valid.
    """

    label: str
    original: NDArray[Any]
    reconstruction: NDArray[Any]
    mask: NDArray[np.bool_]


def draw_curves(panels: Sequence[CurvePanel], *, xlabel: str = "step") -> Figure:
    """Draw panels of curves, two in a row.

    Parameters
    ----------
    panels : sequence of CurvePanel
        At least one.
    xlabel : str
        Label below the panels.
    """
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(10, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, panel in zip(axes, panels, strict=False):
        _draw_panel(ax, panel)
        ax.set_xlabel(xlabel)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def _draw_panel(ax: Axes, panel: CurvePanel) -> None:
    ax.set_title(panel.title, loc="left", fontsize=11)
    positive = True
    for number, curve in enumerate(c for c in panel.curves if len(c.x)):
        settings = STYLES[curve.style]
        colour = COLOURS[-1] if curve.style == "level" else COLOURS[number % (len(COLOURS) - 1)]
        ax.plot(curve.x, curve.y, label=curve.label, color=colour, **settings)
        positive &= min(curve.y) > 0
    if panel.log and positive:
        ax.set_yscale("log")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.margins(x=0.02)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=9)


def draw_reconstructions(examples: Sequence[Example]) -> Figure:
    """Draw originals, their reconstructions in the same stretch, and residuals in sigma.

    The stretch is asinh, white at the brightest pixels of the original; residuals are
    ``(original - reconstruction) / sigma`` in linear units, with their standard deviation.
    Masked pixels are drawn in one flat colour.

    Parameters
    ----------
    examples : sequence of Example
        One row each, two of them side by side where there are more than four.
    """
    sides = 2 if len(examples) > 4 else 1
    rows = -(-max(len(examples), 1) // sides)
    figure = Figure(figsize=(6.6 * sides, 2.05 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, 3 * sides, squeeze=False)
    shown = None
    for row in range(rows):
        for side in range(sides):
            axes = grid[row, 3 * side : 3 * side + 3]
            number = row * sides + side
            if number >= len(examples):
                for ax in axes:
                    ax.set_axis_off()
                continue
            if row == 0:
                titles = ("original", "reconstruction", "residual")
                for ax, title in zip(axes, titles, strict=True):
                    ax.set_title(title, fontsize=11)
            shown = _draw_example(list(axes), examples[number])
    if shown is not None:
        label = r"(original - reconstruction) / $\sigma$"
        figure.colorbar(shown, ax=grid[:, -1], shrink=0.6, label=label, extend="both")
    return figure


def _draw_example(axes: Sequence[Axes], example: Example) -> Any:  # noqa: ANN401
    mask = example.mask & np.isfinite(example.original)
    valid = example.original[mask]
    low, high = np.quantile(valid, (0.01, BRIGHTEST)) if valid.size else (0.0, 1.0)
    high = max(high, low + 3.0)  # empty sky is not stretched until its noise looks like sources
    for ax, image in zip(axes, (example.original, example.reconstruction), strict=False):
        shown = np.ma.masked_array(image, ~mask)
        _show(ax, shown, cmap="gray", vmin=low, vmax=high)
    residual = np.sinh(example.original.astype(np.float64)) - np.sinh(
        example.reconstruction.astype(np.float64)
    )
    limit = RESIDUAL_LIMIT
    last = _show(
        axes[2], np.ma.masked_array(residual, ~mask), cmap="RdBu_r", vmin=-limit, vmax=limit
    )
    axes[0].set_xlabel(shorten(example.label, LABEL_LENGTH), fontsize=8)
    if valid.size:
        spread = 1.4826 * float(np.median(np.abs(residual[mask] - np.median(residual[mask]))))
        axes[2].set_xlabel(rf"{spread:.2f} $\sigma$ (from MAD)", fontsize=8)
    return last


def shorten(text: str, length: int) -> str:
    """Return a text of at most `length` characters, an ellipsis in its middle where it is cut."""
    if len(text) <= length:
        return text
    head = (length - 1) // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _show(ax: Axes, image: Any, **settings: Any) -> Any:  # noqa: ANN401
    shown = ax.imshow(image, origin="lower", interpolation="nearest", **settings)
    ax.set_facecolor("#C8B560")  # masked pixels are transparent
    ax.set_xticks([])
    ax.set_yticks([])
    return shown


def draw_usage(counts: Sequence[int], *, perplexity: float, title: str = "") -> Figure:
    """Draw how often each code is used.

    Left the share of each code, the most used first, against that of even use; right the share
    of all positions that the most used codes cover.

    Parameters
    ----------
    counts : sequence of int
        How often each code was used.
    perplexity : float
        exp of the entropy of the codes.
    title : str
        What the counts are of.
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
    codes, total = len(ordered), max(ordered.sum(), 1.0)
    used = int((ordered > 0).sum())
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    rank = np.arange(1, codes + 1)
    left.bar(rank, ordered / total, width=1.0, color=COLOURS[0], linewidth=0)
    left.axhline(1 / codes, color=COLOURS[1], linewidth=1.4, linestyle="--", label="even use")
    if used:
        left.set_yscale("log")
        left.set_ylim(bottom=0.5 * ordered[used - 1] / total)
    left.set_title("share of positions", loc="left", fontsize=11)
    left.legend(frameon=False)
    right.plot(np.r_[0, rank], np.r_[0, np.cumsum(ordered) / total], color=COLOURS[0])
    right.plot([0, codes], [0, 1], color=COLOURS[1], linestyle="--", linewidth=1.4)
    right.axvline(perplexity, color=COLOURS[-1], linestyle=":", linewidth=1.4)
    right.annotate(
        f"perplexity {perplexity:.1f}",
        (perplexity, 0.04),
        fontsize=9,
        xytext=(4, 0),
        textcoords="offset points",
    )
    right.set_title("share of positions that the first codes cover", loc="left", fontsize=11)
    right.set_ylim(0, 1.02)
    for ax in (left, right):
        ax.set_xlabel("code, most used first")
        ax.set_xlim(0, codes + 0.5)
        ax.grid(color="0.9")
        ax.set_axisbelow(True)
    note = f"{used} of {codes} codes used, {codes - used} dead, perplexity {perplexity:.1f}"
    figure.suptitle(f"{title}: {note}" if title else note, fontsize=11)
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Write a figure as PNG; the file appears whole or not at all.

    Parameters
    ----------
    figure : Figure
        What to write.
    path : Path
        File to write; an existing one is replaced.
    dpi : int
        Pixels per inch.
    """
    figure.set_dpi(dpi)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    with atomic_writer(path, overwrite=True) as file:
        file.write(buffer.getvalue())
