"""Gated layers of a PixelCNN: a vertical and a horizontal stack, which leave no blind spot."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GatedLayer(nn.Module):
    """One gated layer of two stacks.

    ::

        vertical (rows above, this) --> conv (r+1 x 2r+1) --+--> gate --(+)--> vertical
                                                            |
                                                           1x1
                                                            v
        horizontal (this row) --------> conv (1 x r+1) ----(+)-> gate -+-> 1x1 -(+)-> horizontal
                                                                       |
                                                                       +-> 1x1 -> skip

    What the vertical stack holds at a row comes from rows above it alone, for its input has been
    moved down by one row; what the horizontal stack holds at a column, also from columns left
    of it. So the convolutions may look at their own row and column, and no weight needs a mask:
    kernels are as large as what a mask would leave of them.

    Parameters
    ----------
    width : int
        Channels of each stack.
    radius : int
        Positions r that a convolution looks to each side.
    context : int
        Channels of a map that is given for each position; 0 for none.

    References
    ----------
    van den Oord et al. 2016, arXiv:1606.05328, section 2.2 and figure 2. Residuals of the
    vertical stack are ours.
    """

    def __init__(self, width: int, *, radius: int, context: int = 0) -> None:
        super().__init__()
        self.radius = radius
        self.vertical = nn.Conv2d(width, 2 * width, (radius + 1, 2 * radius + 1))
        self.horizontal = nn.Conv2d(width, 2 * width, (1, radius + 1))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.skip = nn.Conv2d(width, width, 1)
        self.condition = nn.Conv2d(context, 4 * width, 1) if context else None

    def forward(
        self, vertical: Tensor, horizontal: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return both stacks and what is skipped to the end, each (B, W, h, w).

        Parameters
        ----------
        vertical, horizontal : Tensor (B, W, h, w)
            The stacks.
        context : Tensor (B, C, h, w), optional
            Of layers with a context.
        """
        r = self.radius
        raw = self.vertical(F.pad(vertical, (r, r, r, 0)))
        to_vertical, to_horizontal = self.conditions(context)
        after = self.end_vertical(vertical, raw, to_vertical)
        padded = F.pad(horizontal, (r, 0, 0, 0))
        return (after, *self.end_horizontal(padded, raw, to_horizontal))

    def conditions(self, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return what a context (B, C, h, w) adds to either stack, (B, 2 W, h, w)."""
        if self.condition is None or context is None:
            return None, None
        first, second = self.condition(context).chunk(2, dim=1)
        return first, second

    def end_vertical(self, vertical: Tensor, raw: Tensor, condition: Tensor | None) -> Tensor:
        """Return the vertical stack after its convolution gave `raw` (B, 2 W, h, w)."""
        return vertical + gate(raw if condition is None else raw + condition)

    def end_horizontal(
        self, padded: Tensor, raw: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the horizontal stack and the skipped part.

        Parameters
        ----------
        padded : Tensor (B, W, h, r + w)
            The horizontal stack with r columns before it.
        raw : Tensor (B, 2 W, h, w)
            Of the vertical convolution.
        condition : Tensor (B, 2 W, h, w) or None
            What a context adds.
        """
        total = self.horizontal(padded) + self.across(raw)
        gated = gate(total if condition is None else total + condition)
        return padded[..., self.radius :] + self.out(gated), self.skip(gated)


def gate(raw: Tensor) -> Tensor:
    """Return ``tanh(a) * sigmoid(b)`` (B, W, h, w) of a and b, the halves of (B, 2 W, h, w)."""
    value, opening = raw.chunk(2, dim=1)
    return torch.tanh(value) * torch.sigmoid(opening)
