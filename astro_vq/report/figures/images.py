"""Original, decoded image and residual, whole and enlarged."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from astro_vq.metrics.distortion import residual_in_sigma
from astro_vq.plotting import COLOURS
from astro_vq.report.figures.style import colour_map
from astro_vq.report.study import ImageStudy

_SHOWN = 480  # pixels on a side of a drawn image
_ZOOM = 72  # pixels on a side of the enlarged piece


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
