"""What every quantiser takes and gives."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from astro_vq.layers import GRADIENTS
from astro_vq.quantizers.usage import CodeUsage


class QuantizerOutput(NamedTuple):
    """Result of quantising latents.

    Attributes
    ----------
    quantized : Tensor (B, D, h, w)
        Codes in place of the latents, with a gradient to the latents.
    indices : Tensor (B, K, h, w) int64
        Index of the code at each position; K is the depth.
    codebook_loss : Tensor ()
        Mean over all numbers of (stopped latent - code)**2; zero where codes learn otherwise.
    commitment_loss : Tensor ()
        Mean over all numbers of (latent - stopped code)**2; not yet weighted.
    usage : CodeUsage
        Counts, perplexity and dead codes of this batch.
    """

    quantized: Tensor
    indices: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor
    usage: CodeUsage


class Quantizer(nn.Module, ABC):
    """Base class of quantisers.

    Parameters
    ----------
    codes : int
        Number of codes; every index lies in ``[0, codes)``.
    dim : int
        Dimension D of a latent vector.
    depth : int
        Indices K per position.
    gradient : {'straight-through', 'rotation'}
        How the gradient passes to the latents.
    """

    def __init__(
        self, codes: int, dim: int, *, depth: int = 1, gradient: str = "straight-through"
    ) -> None:
        super().__init__()
        if codes < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {codes}")
        if dim < 1 or depth < 1:
            raise ValueError(f"dimension and depth must be positive, got {dim} and {depth}")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {sorted(GRADIENTS)}, got {gradient!r}")
        self.codes = codes
        self.dim = dim
        self.depth = depth
        self.gradient = gradient

    def forward(self, latents: Tensor) -> QuantizerOutput:
        """Quantise latents; in training mode the codebook may learn from them.

        Parameters
        ----------
        latents : Tensor (B, D, h, w)
            Latents; computed with in float32 at least.

        Returns
        -------
        QuantizerOutput

        Raises
        ------
        ValueError
            The latents do not have `dim` channels.
        """
        self._check(latents)
        return self._quantize(latents)

    def indices(self, latents: Tensor) -> Tensor:
        """Return code indices (B, K, h, w) int64 of latents (B, D, h, w); nothing learns."""
        self._check(latents)
        return self._indices(latents)

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """Return the quantised latents (B, D, h, w) of code indices (B, K, h, w)."""

    @abstractmethod
    def _quantize(self, latents: Tensor) -> QuantizerOutput: ...

    @abstractmethod
    def _indices(self, latents: Tensor) -> Tensor: ...

    def _check(self, latents: Tensor) -> None:
        if latents.dim() != 4 or latents.shape[1] != self.dim:
            raise ValueError(f"latents must be (B, {self.dim}, h, w), got {tuple(latents.shape)}")

    def _check_indices(self, indices: Tensor) -> None:
        if indices.dim() != 4 or indices.shape[1] != self.depth:
            raise ValueError(f"indices must be (B, {self.depth}, h, w), got {tuple(indices.shape)}")
