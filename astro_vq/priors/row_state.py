"""What drawing tokens one by one keeps of a PixelCNN, so that no position is computed twice."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from astro_vq.priors.gated import GatedLayer


class RowState:
    """Stacks of every layer over the rows and columns that are known.

    Parameters
    ----------
    layers : iterable of GatedLayer
        Of the network.
    number, width : int
        Maps, and channels of a stack.
    size : (int, int)
        Height and width of the maps.
    radius : int
        Of the layers.
    context : Tensor (number, C, h, w) or None
        What is given for each position.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        number: int,
        width: int,
        size: tuple[int, int],
        radius: int,
        context: Tensor | None,
    ) -> None:
        self._layers = [layer for layer in layers if isinstance(layer, GatedLayer)]
        self._radius = radius
        height, columns = size
        weight = self._layers[0].out.weight
        zeros = weight.new_zeros
        inputs = len(self._layers) + 1
        # row y of a stack stands at y + radius, column x at x + radius: what lies outside is zero
        self._vertical = [
            zeros(number, width, height + 1 + radius, columns + 2 * radius) for _ in range(inputs)
        ]
        self._horizontal = [zeros(number, width, 1, columns + 1 + radius) for _ in range(inputs)]
        self._conditions = [layer.conditions(context) for layer in self._layers]
        self._raw: list[Tensor] = []
        self._row = 0

    def start_row(self, y: int) -> None:
        """Compute the vertical stack of a row; every row above is known."""
        r = self._radius
        self._row = y
        self._raw = []
        for number, layer in enumerate(self._layers):
            window = self._vertical[number][:, :, y : y + r + 1]
            raw = layer.vertical(window)
            condition = self._conditions[number][0]
            given = None if condition is None else condition[:, :, y : y + 1]
            after = layer.end_vertical(window[:, :, -1:, r:-r], raw, given)
            self._vertical[number + 1][:, :, y + r : y + r + 1, r:-r] = after
            self._raw.append(raw)
        for stack in self._horizontal:
            stack.zero_()

    def skipped(self, x: int) -> Tensor:
        """Return what the layers skip to the end (B, W, 1, 1) at a column of the row."""
        r, y = self._radius, self._row
        total = torch.zeros((), device=self._raw[0].device)
        for number, layer in enumerate(self._layers):
            condition = self._conditions[number][1]
            given = None if condition is None else condition[:, :, y : y + 1, x : x + 1]
            padded = self._horizontal[number][..., x : x + r + 1]
            after, skip = layer.end_horizontal(padded, self._raw[number][..., x : x + 1], given)
            self._horizontal[number + 1][..., x + r : x + r + 1] = after
            total = total + skip
        return total

    def put(self, x: int, embedded: Tensor) -> None:
        """Make the embedding (B, W, 1, 1) of a column of the row known."""
        r, y = self._radius, self._row
        self._vertical[0][:, :, y + 1 + r, x + r] = embedded[:, :, 0, 0]
        self._horizontal[0][..., x + 1 + r : x + 2 + r] = embedded
