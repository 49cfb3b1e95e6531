"""The prior of all tokens of a model: a PixelCNN for each of its levels, coarse to fine."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.config import PriorConfig
from astro_vq.errors import ModelMismatchError
from astro_vq.models.vqvae2 import VQVAE2, join_levels, split_levels
from astro_vq.priors.pixelcnn import MapShape, PixelCNN

ROWS = 64
"""Rows of a large map that are computed at a time; never changes results."""

LARGEST = 2**15
"""Codes of all depths together, at most, that a position has a probability for."""


class TokenPrior(nn.Module):
    """Probability of the token maps (B, K, h, w) of a model.

    ::

        one level:   p(map)
        two levels:  p(top) p(bottom | top): the top's embeddings, through two convolutions that
                     see all of it, at twice its resolution, are given at each bottom position

    Parameters
    ----------
    shape : MapShape
        Codes and depth of each level.
    levels : {1, 2}
        Levels; two are those of `astro_vq.models.vqvae2.VQVAE2`, top first.
    config : PriorConfig
        Size of the networks.
    """

    def __init__(self, shape: MapShape, *, levels: int, config: PriorConfig) -> None:
        super().__init__()
        if levels not in (1, 2):
            raise ValueError(f"a prior has one or two levels, got {levels}")
        sizes = {"width": config.width, "layers": config.layers, "radius": config.radius}
        self.config = config
        self.shape = shape
        self.pixelcnns = nn.ModuleList(
            PixelCNN(shape, **sizes, context=config.context if level else 0)
            for level in range(levels)
        )
        self.above: nn.ModuleList | None = None
        self.view_above: nn.Module | None = None
        if levels == 2:
            self.above = nn.ModuleList(
                nn.Embedding(shape.codes, config.width) for _ in range(shape.depth)
            )
            self.view_above = nn.Sequential(
                nn.Conv2d(config.width, config.width, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(config.width, config.context, 4, 2, 1),
                nn.ReLU(),
            )

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.pixelcnns)

    @property
    def depth(self) -> int:
        """Indices per position of the map that holds all levels."""
        return self.shape.depth * (5 if self.levels == 2 else 1)

    def maps(self, indices: Tensor) -> tuple[Tensor, ...]:
        """Return the map of each level, coarse to fine, of indices (B, K, h, w).

        Raises
        ------
        ModelMismatchError
            The indices are not those of the model that the prior is for.
        """
        if indices.dim() != 4 or indices.shape[1] != self.depth:
            raise ModelMismatchError(
                f"this prior is for token maps (B, {self.depth}, h, w), got {tuple(indices.shape)}"
            )
        return (indices,) if self.levels == 1 else split_levels(indices)

    def set_frequencies(self, indices: Tensor) -> None:
        """Begin at the frequencies of the codes of some maps (B, K, h, w)."""
        for network, tokens in zip(self._networks(), self.maps(indices), strict=True):
            network.set_frequencies(count_codes(tokens, self.shape.codes))

    def log_probs(self, indices: Tensor) -> tuple[Tensor, ...]:
        """Return for each level the log-probability (B, K, h, w), nats, of each index.

        Parameters
        ----------
        indices : Tensor (B, K, h, w) int64
            Maps as the model gives them. Without gradients, maps of any size take a bounded
            amount of memory for each of their columns.
        """
        maps = self.maps(indices)
        found = []
        for level, (network, tokens) in enumerate(zip(self._networks(), maps, strict=True)):
            context = self._context(maps[0]) if level else None
            if torch.is_grad_enabled() or tokens.shape[2] <= ROWS:
                found.append(network.log_probs(tokens, context))
            else:
                found.append(_in_bands(network, tokens, context))
        return tuple(found)

    def log_prob(self, indices: Tensor) -> Tensor:
        """Return the log-probability (B,), nats, of maps (B, K, h, w)."""
        parts = [part.double().sum((1, 2, 3)) for part in self.log_probs(indices)]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def sample(
        self,
        number: int,
        size: tuple[int, int],
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw maps (number, K, h, w) int64, as `decode_indices` of the model takes them.

        Parameters
        ----------
        number : int
            Maps.
        size : (int, int)
            Height and width in positions (of the top, where there are two levels).
        temperature : float
            Below 1 likelier maps; 1 the distribution itself.
        generator : torch.Generator, optional
            On the CPU; torch's own when left out.
        """
        top, *finer = self._networks()
        options: dict[str, Any] = {"temperature": temperature, "generator": generator}
        drawn = top.sample(number, size, **options)
        if not finer:
            return drawn
        twice = (2 * size[0], 2 * size[1])
        bottom = finer[0].sample(number, twice, context=self._context(drawn), **options)
        return join_levels(drawn, bottom)

    def _networks(self) -> list[PixelCNN]:
        return [network for network in self.pixelcnns if isinstance(network, PixelCNN)]

    def _context(self, top: Tensor) -> Tensor:
        assert self.above is not None  # both belong to two levels
        assert self.view_above is not None
        rows = sum(table(top[:, k]) for k, table in enumerate(self.above))
        assert isinstance(rows, Tensor)
        context: Tensor = self.view_above(F.relu(rows.movedim(-1, 1)))
        return context


def _in_bands(network: PixelCNN, tokens: Tensor, context: Tensor | None) -> Tensor:
    """Return the log-probabilities of a large map, some rows at a time: each with its past."""
    parts = []
    for start in range(0, tokens.shape[2], ROWS):
        first = max(start - network.reach, 0)
        rows = slice(first, start + ROWS)
        given = None if context is None else context[:, :, rows]
        parts.append(network.log_probs(tokens[:, :, rows], given)[:, :, start - first :])
    return torch.cat(parts, 2)


def count_codes(indices: Tensor, codes: int) -> Tensor:
    """Return how often each code occurs at each depth, (K, codes), in indices (B, K, h, w)."""
    flat = indices.movedim(1, 0).flatten(1)
    return torch.stack([torch.bincount(row, minlength=codes) for row in flat])


def build_prior(model: nn.Module, config: PriorConfig | None = None) -> TokenPrior:
    """Return an untrained prior for a model.

    Parameters
    ----------
    model : Model
        A VQ-VAE or VQ-VAE-2.
    config : PriorConfig, optional
        Size of the networks.

    Raises
    ------
    ModelMismatchError
        See `token_shape`.
    """
    shape, levels = token_shape(model)
    return TokenPrior(shape, levels=levels, config=config or PriorConfig())


def token_shape(model: nn.Module) -> tuple[MapShape, int]:
    """Return codes and depth of each level of a model's tokens, and the number of levels.

    Raises
    ------
    ModelMismatchError
        The model has no tokens, or none that a PixelCNN is made for.
    """
    if isinstance(model, VQVAE2):
        return MapShape(model.codes, model.bottom.depth), 2
    codes, depth = getattr(model, "codes", None), getattr(model, "depth", None)
    if not isinstance(codes, int) or not isinstance(depth, int):
        raise ModelMismatchError(
            f"a {type(model).__name__} has no tokens to learn the prior of; take a VQ-VAE"
        )
    if codes * depth > LARGEST:
        raise ModelMismatchError(
            f"a {type(model).__name__} with {depth} indices of {codes} codes at a position has "
            f"too many for a PixelCNN (up to {LARGEST} in all), which is for dense maps; take a "
            "VQ-VAE with one or a few codes a position: astro-vq train --model vqvae"
        )
    return MapShape(codes, depth), 1
