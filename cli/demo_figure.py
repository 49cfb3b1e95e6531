"""The picture that ``astro-vq demo`` draws."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_vq.plotting import COLOURS, RESIDUAL_LIMIT

FloatImage = NDArray[np.floating[Any]]

STRETCH = 4.0
"""Noise sigmas over which the grey scale is nearly linear before the asinh bends it."""


class Panel(NamedTuple):
    """One fidelity of the picture.

    Attributes
    ----------
    fidelity : str
        Its name.
    decoded : ndarray (H, W)
        What was decoded, in the unit of the original.
    bits_per_pixel : float
        Of the whole compressed file.
    """

    fidelity: str
    decoded: FloatImage
    bits_per_pixel: float


def draw_demo(
    original: FloatImage,
    panels: Sequence[Panel],
    *,
    level: float,
    sigma: float,
    original_bits: int,
) -> Figure:
    """Draw the original, what each fidelity decodes to, and the residuals in sigma.

    Parameters
    ----------
    original : ndarray (H, W)
        Image or part of it, without NaN.
    panels : sequence of Panel
        One column each, same shape as the original.
    level, sigma : float
        Sky level and noise in the unit of the image; they set the grey scale.
    original_bits : int
        Bits per pixel of the original.

    Returns
    -------
    matplotlib.figure.Figure
        Two rows: images, and below them sizes and residuals ``(original - decoded) / sigma``.
    """
    columns = len(panels) + 1
    figure = Figure(figsize=(3.4 * columns, 7.8), layout="constrained")
    axes = figure.subplots(2, columns)
    _show_image(axes[0, 0], original, level, sigma)
    axes[0, 0].set_title(f"original\n{original_bits} bits/pixel")
    _show_sizes(axes[1, 0], panels, original_bits)
    for panel, (upper, lower) in zip(panels, axes[:, 1:].T, strict=True):
        _show_image(upper, panel.decoded, level, sigma)
        upper.set_title(f"{panel.fidelity}\n{panel.bits_per_pixel:.3g} bits/pixel")
        _show_residual(lower, (original.astype(np.float64) - panel.decoded) / sigma)
    return figure


def _show_image(axes: Axes, image: FloatImage, level: float, sigma: float) -> None:
    """Show an image with FITS row 1 at the bottom, in an asinh grey scale."""
    shown = np.arcsinh((image.astype(np.float64) - level) / (STRETCH * sigma))
    axes.imshow(shown, origin="lower", cmap="gray", vmin=-0.75, vmax=4.0, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _show_residual(axes: Axes, residual: FloatImage) -> None:
    """Show a residual in sigma, the largest in full colour or those above `RESIDUAL_LIMIT`."""
    worst = float(np.abs(residual).max())
    axes.set_xticks([])
    axes.set_yticks([])
    if worst == 0:
        axes.set_title("residual: none")
        axes.set_box_aspect(1)
        axes.text(0.5, 0.5, "identical", ha="center", va="center", transform=axes.transAxes)
        return
    limit = min(worst, RESIDUAL_LIMIT)
    shown = axes.imshow(
        residual, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.set_title("residual")
    axes.figure.colorbar(
        shown,
        ax=axes,
        orientation="horizontal",
        shrink=0.9,
        extend="both" if worst > limit else "neither",
        label=r"(original - decoded) / $\sigma$",
    )


def _show_sizes(axes: Axes, panels: Sequence[Panel], original_bits: int) -> None:
    """Show bits per pixel as bars on a logarithmic scale."""
    names = ["original", *(panel.fidelity for panel in panels)]
    bits = [float(original_bits), *(panel.bits_per_pixel for panel in panels)]
    bars = axes.bar(names, bits, color=["0.6", *[COLOURS[0]] * len(panels)])
    axes.bar_label(bars, fmt="%.3g", padding=2)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_ylabel("bits per pixel")
    axes.tick_params(axis="x", labelrotation=20)
