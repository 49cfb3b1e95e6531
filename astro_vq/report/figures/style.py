"""What figures share: missing pixels, markers, axes, and how a figure goes into a page."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES = ("-", "--", "-.", ":")
_BAD = "#C8B560"


def to_image(figure: Figure, *, dpi: int = 110, photograph: bool = False) -> bytes:
    """Return a figure as a PNG file.

    Parameters
    ----------
    figure : Figure
        What to draw.
    dpi : int
        Pixels per inch.
    photograph : bool
        Whether it is full of noise: WebP of high quality, a fifth of the size of the PNG.
    """
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()  # `savefig` would draw twice: once to measure, once to keep
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    if photograph:
        image.save(buffer, "WEBP", quality=90, method=2)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def to_data_uri(figure: Figure, *, photograph: bool = False) -> str:
    """Return a figure as a data URI, to be put inline; for `photograph` see `to_image`."""
    return data_uri(to_image(figure, photograph=photograph), "webp" if photograph else "png")


def data_uri(image: bytes, kind: str) -> str:
    """Return an image file of a kind ('png', 'webp') as a data URI."""
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()


def colour_map(name: str, bad: str = _BAD) -> Colormap:
    """Return a colour map that draws missing pixels in a colour of their own."""
    return colormaps[name].with_extremes(bad=bad)


def finish_axes(ax: Axes, *, outside: bool = False) -> None:
    """Give axes a grid and a legend without a frame, beside them or inside."""
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if ax.get_legend_handles_labels()[1]:
        handles, labels = ax.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        where: dict[str, Any] = (
            {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if outside else {}
        )
        ax.legend(unique.values(), unique.keys(), frameon=False, fontsize=8.5, **where)
