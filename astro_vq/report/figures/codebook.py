"""Figures of a codebook: what codes draw, how they are used, and how alike they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_vq.metrics.codebook import CodebookStudy, LevelStudy, iterate_usage
from astro_vq.metrics.codebook_drift import Drift
from astro_vq.plotting import COLOURS
from astro_vq.report.figures.style import MARKERS, colour_map

_SHOWN_EXAMPLES = 24
_COLOUR_MAP = "cividis"  # even for all colour vision, and in grey


def draw_atlas(level: LevelStudy) -> Figure:
    """Draw what every code draws, similar ones beside each other, dead ones framed.

    All drawings of a level share one stretch, symmetric about its background.
    """
    count = len(level.drawn)
    columns = min(32, max(8, int(np.ceil(np.sqrt(2 * count)))))
    rows = -(-count // columns)
    side = level.drawings.shape[-1]
    images = level.drawings[:, 0]
    level_of_sky = float(np.median(images))
    limit = max(float(np.quantile(np.abs(images - level_of_sky), 0.995)), 1e-6)
    gap = max(side // 12, 1)
    sheet = np.full((rows * (side + gap) + gap, columns * (side + gap) + gap), np.nan)
    dead = level.counts[level.drawn] == 0 if level.counts.any() else np.zeros(count, dtype=bool)
    figure = Figure(figsize=(10.6, 10.6 * rows / columns + 0.7), layout="constrained")
    ax = figure.subplots()
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = gap + row * (side + gap), gap + column * (side + gap)
        sheet[top : top + side, left : left + side] = image - level_of_sky
        if dead[number]:
            x, y = [left, left + side], [top, top + side]
            ax.plot(x, y, color=COLOURS[4], linewidth=0.7)
            ax.plot(x, y[::-1], color=COLOURS[4], linewidth=0.7)
    # faint codes are seen beside those of star cores
    norm = AsinhNorm(linear_width=0.03 * limit, vmin=-limit, vmax=limit)
    shown = ax.imshow(
        np.ma.masked_invalid(sheet),
        cmap=colour_map("RdBu_r", "white"),
        norm=norm,
        interpolation="nearest",
    )
    ax.set_axis_off()
    figure.colorbar(shown, ax=ax, label="network units", shrink=0.7, aspect=30, pad=0.01)
    return figure


def draw_projection(level: LevelStudy) -> Figure:
    """Draw codes on their first two principal components, the size of a point its use."""
    figure = Figure(figsize=(10.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    share = level.counts / max(int(level.counts.max()), 1)
    used = level.counts > 0 if level.counts.any() else np.ones(len(share), dtype=bool)
    rank = np.empty(len(share))
    rank[level.order] = np.arange(len(share))
    left.scatter(
        *level.projection[used].T, s=6 + 130 * np.sqrt(share[used]), c=rank[used],
        cmap=_COLOUR_MAP, alpha=0.75, linewidths=0,
    )  # fmt: skip
    if not used.all():
        left.plot(*level.projection[~used].T, "x", color=COLOURS[1], markersize=4, label="dead")
        left.legend(frameon=False)
    left.set_xlabel("first principal component")
    left.set_ylabel("second principal component")
    left.set_title(f"{100 * level.explained:.0f} % of the variance", loc="left", fontsize=10)
    right.hist(level.nearest, bins=40, color=COLOURS[0])
    right.set_xlabel("distance to the nearest other code")
    right.set_ylabel("codes")
    for ax in (left, right):
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    return figure


def draw_map(study: CodebookStudy) -> Figure:
    """Draw an image beside the codes of each level, coloured by their place in the order."""
    if study.image is None:
        raise ValueError("there is no image to map codes over")
    panels = 1 + len(study.image_codes)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    shape = study.image.shape
    height = min(max(3.5 * shape[0] / shape[1], 1.2), 6.0)
    figure = Figure(figsize=(10.6, rows * (height + 0.4)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = np.quantile(study.image, (0.005, 0.998))
    axes[0].imshow(
        study.image, origin="lower", cmap="gray", vmin=low, vmax=max(high, low + 2),
        interpolation="nearest",
    )  # fmt: skip
    axes[0].set_title("image (network units)", loc="left", fontsize=10)
    for ax, level, codes in zip(axes[1:], study.levels, study.image_codes, strict=False):
        rank = np.empty(len(level.order))
        rank[level.order] = np.arange(len(level.order))
        ax.imshow(rank[codes], origin="lower", cmap=_COLOUR_MAP, interpolation="nearest")
        ax.set_title(f"{level.name}: {np.unique(codes).size} codes", loc="left", fontsize=10)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure


def draw_examples(level: LevelStudy) -> Figure:
    """Draw the most used codes beside pieces of the data that use them."""
    codes = [code for code, count, _ in iterate_usage(level) if count and code in level.examples]
    # some of the most used, then some of the less used ones
    spread = np.linspace(0, len(codes) - 1, min(len(codes), _SHOWN_EXAMPLES)).astype(int)
    chosen = [codes[i] for i in np.unique(spread)]
    columns = 6
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(10.6, 2.0 * max(rows, 1)), layout="constrained")
    grid = figure.subplots(max(rows, 1), columns, squeeze=False).ravel()
    place = {int(code): number for number, code in enumerate(level.drawn)}
    for ax in grid:
        ax.set_axis_off()
    for ax, code in zip(grid, chosen, strict=False):
        pieces = list(level.examples[code][:3])
        if code in place:
            pieces.insert(0, level.drawings[place[code], 0])
        _draw_row(ax, pieces)
        share = level.counts[code] / level.counts.sum()
        ax.set_title(f"{code}: {100 * share:.2g} %", fontsize=8)
    return figure


def _draw_row(ax: Axes, pieces: Sequence[NDArray[Any]]) -> None:
    """Draw up to four pieces in a square, each in its own stretch; the first is the code."""
    side = 24
    sheet = np.full((2 * side + 2, 2 * side + 2), np.nan)
    for number, piece in enumerate(pieces[:4]):
        step = np.linspace(0, piece.shape[0] - 1, side).round().astype(int)
        small = piece[np.ix_(step, step)]
        low, high = np.quantile(small, (0.01, 0.99))
        row, column = divmod(number, 2)
        top, left = row * (side + 2), column * (side + 2)
        sheet[top : top + side, left : left + side] = (small - low) / max(high - low, 1.0)
    ax.imshow(
        np.ma.masked_invalid(np.clip(sheet, 0, 1)),
        cmap=colour_map("gray", "white"),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )


def draw_drift(history: Mapping[str, Sequence[float]], drift: Sequence[Drift]) -> Figure:
    """Draw how perplexity and dead codes went during training, and how codes moved.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``step``, ``perplexity`` and ``dead_codes``; may be empty.
    drift : sequence of Drift
        Of each level; may be empty.
    """
    rows = bool(history) + bool(drift)
    figure = Figure(figsize=(10.6, 3.2 * max(rows, 1)), layout="constrained")
    grid = figure.subplots(max(rows, 1), 2, squeeze=False)
    if history:
        for ax, name, title in zip(
            grid[0], ("perplexity", "dead_codes"), ("perplexity", "dead codes"), strict=True
        ):
            ax.plot(history["step"], history[name], "o-", markersize=3, color=COLOURS[0])
            ax.set_ylabel(title)
            ax.set_ylim(bottom=0)
    if drift:
        _draw_movement(grid[-1, 0], grid[-1, 1], drift)
    for ax in grid.ravel():
        ax.set_xlabel("step")
        ax.grid(color="0.92")
    return figure


def _draw_movement(left: Axes, right: Axes, drift: Sequence[Drift]) -> None:
    """Draw distances to the end, and the share of codes that are nearest to themselves there."""
    for index, level in enumerate(drift):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        left.plot(
            level.steps, level.median, "-", marker=marker, markersize=4, color=colour,
            label=level.name,
        )  # fmt: skip
        left.plot(level.steps, level.percentile_90, "--", linewidth=1, color=colour)
        right.plot(
            level.steps, level.settled, "-", marker=marker, markersize=4, color=colour,
            label=level.name,
        )  # fmt: skip
    left.set_ylabel("distance to the end / nearest distance")
    left.set_title("median; dashed: 90 % of the codes", loc="left", fontsize=10)
    right.set_ylabel("codes nearest to themselves at the end")
    right.set_ylim(0, 1.04)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.legend(frameon=False, fontsize=9)
