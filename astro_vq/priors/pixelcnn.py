"""A gated PixelCNN over one map of tokens, with any number of codes at a position."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.priors.gated import GatedLayer
from astro_vq.priors.row_state import RowState


class MapShape(NamedTuple):
    """What tokens a map has.

    Attributes
    ----------
    codes : int
        Number of codes; every index lies in ``[0, codes)``.
    depth : int
        Indices K per position.
    """

    codes: int
    depth: int


class PixelCNN(nn.Module):
    """Probability of a map of tokens, position by position in raster order, depth by depth.

    ::

        indices --> embeddings, summed over depth --+--> down by a row ----> vertical --+
                                                    |                                   | layers
                                                    +--> right by a column -> horizontal +
                                                                                        |
        p(x_k | before, x_1 .. x_k-1) <-- 1x1 <-- ReLU (features + embeddings of x_1 .. x_k-1)

    ``log p(x) = sum over positions and k of log p(x_k at a position | every earlier position,
    x_1 .. x_k-1 at this one)``; earlier are all rows above and, in its row, all columns to the
    left, as far as the layers reach.

    Parameters
    ----------
    shape : MapShape
        Codes and depth.
    width : int
        Channels.
    layers : int
        Gated layers.
    radius : int
        Positions that each layer looks to each side.
    context : int
        Channels of a map that is given for each position; 0 for none.

    References
    ----------
    van den Oord et al. 2016, arXiv:1606.05328.
    """

    def __init__(
        self, shape: MapShape, *, width: int, layers: int, radius: int, context: int = 0
    ) -> None:
        super().__init__()
        self.codes, self.depth = shape
        self.width = width
        self.radius = radius
        self.embeddings = nn.ModuleList(nn.Embedding(self.codes, width) for _ in range(self.depth))
        self.layers = nn.ModuleList(
            GatedLayer(width, radius=radius, context=context) for _ in range(layers)
        )
        self.features = nn.Conv2d(width, width, 1)
        self.shallower = nn.ModuleList(
            nn.Embedding(self.codes, width) for _ in range(self.depth - 1)
        )
        self.heads = nn.ModuleList(nn.Linear(width, self.codes) for _ in range(self.depth))
        for embedding in (*self.embeddings, *self.shallower):
            nn.init.normal_(embedding.weight, std=0.3)

    @property
    def reach(self) -> int:
        """Rows above a position that it depends on."""
        return 1 + self.radius * len(self.layers)

    @torch.no_grad()
    def set_frequencies(self, counts: Tensor) -> None:
        """Begin at the probabilities of codes that occur ``counts`` times, (K, codes).

        One is added to each count. Weights of the last layers become small beside their biases.
        """
        for head, row in zip(self.heads, counts, strict=True):
            share = (row.double() + 1) / (row.double() + 1).sum()
            assert isinstance(head, nn.Linear)
            head.bias.copy_(share.log())
            head.weight.mul_(0.1)

    def log_probs(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-probability (B, K, h, w), nats, of each index.

        Parameters
        ----------
        indices : Tensor (B, K, h, w) int64
            A batch of maps.
        context : Tensor (B, C, h, w), optional
            What is given for each position.
        """
        self._check(indices)
        embedded = self.embed(indices)
        vertical = F.pad(embedded, (0, 0, 1, 0))[:, :, :-1]
        horizontal = F.pad(embedded, (1, 0, 0, 0))[..., :-1]
        skipped = torch.zeros_like(embedded)
        for layer in self.layers:
            vertical, horizontal, skip = layer(vertical, horizontal, context)
            skipped = skipped + skip
        rows = self.end(skipped)
        found = []
        for k in range(self.depth):
            logits = self.logits(rows, k)
            target = indices[:, k]
            chosen = logits.gather(-1, target[..., None])[..., 0]
            found.append(chosen - logits.logsumexp(-1))
            if k + 1 < self.depth:
                rows = rows + self.shallower[k](target)
        return torch.stack(found, 1)

    def embed(self, indices: Tensor) -> Tensor:
        """Return the embedding (B, W, h, w) of indices (B, K, h, w)."""
        rows = sum(table(indices[:, k]) for k, table in enumerate(self.embeddings))
        assert isinstance(rows, Tensor)  # there is at least one depth
        return rows.movedim(-1, 1)

    def end(self, skipped: Tensor) -> Tensor:
        """Return features (B, h, w, W) of the sum of what layers skipped (B, W, h, w)."""
        features: Tensor = self.features(F.relu(skipped))
        return features.movedim(1, -1)

    def logits(self, features: Tensor, k: int) -> Tensor:
        """Return logits (..., codes) of the index at depth k."""
        logits: Tensor = self.heads[k](F.relu(features))
        return logits

    @torch.no_grad()
    def sample(
        self,
        number: int,
        size: tuple[int, int],
        *,
        context: Tensor | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw maps (number, K, h, w) int64.

        Each position is computed once: stacks are kept for the rows and columns before it.

        Parameters
        ----------
        number : int
            Maps.
        size : (int, int)
            Height and width in positions.
        context : Tensor (number, C, h, w), optional
            What is given for each position.
        temperature : float
            Divides the logits: below 1 likelier maps, 1 the distribution itself.
        generator : torch.Generator, optional
            On the CPU; torch's own when left out.
        """
        if not temperature > 0:
            raise ValueError(f"the temperature must be positive, got {temperature}")
        state = RowState(self.layers, number, self.width, size, self.radius, context)
        device = next(self.parameters()).device
        drawn = torch.zeros(number, self.depth, *size, dtype=torch.int64, device=device)
        for y in range(size[0]):
            state.start_row(y)
            for x in range(size[1]):
                features = self.end(state.skipped(x))[:, 0, 0]
                for k in range(self.depth):
                    scaled = self.logits(features, k).double() / temperature
                    chances = scaled.softmax(-1).cpu()
                    index = torch.multinomial(chances, 1, generator=generator)[:, 0].to(device)
                    drawn[:, k, y, x] = index
                    if k + 1 < self.depth:
                        features = features + self.shallower[k](index)
                state.put(x, self.embed(drawn[:, :, y : y + 1, x : x + 1]))
        return drawn

    def _check(self, indices: Tensor) -> None:
        if indices.dim() != 4 or indices.shape[1] != self.depth:
            raise ValueError(f"indices must be (B, {self.depth}, h, w), got {tuple(indices.shape)}")
