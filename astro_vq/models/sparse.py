"""Sparse tokens: a vector-quantised autoencoder that codes what is significant and nothing else."""

import functools
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import LIKELIHOODS, Likelihood
from astro_vq.models.base import LossTerms, Model, PixelBatch, finish_terms, prepare
from astro_vq.models.sparse_atoms import (
    LEVELS,
    PATCH,
    STAR_CODES,
    STRIDE,
    StarShape,
    enlarge,
    render,
    star_codes,
)
from astro_vq.models.sparse_books import Books
from astro_vq.models.sparse_encoder import Quality, encode_plane
from astro_vq.quantizers.pursuit import GAINS, REACH, gain_values

_FIRST = 64  # codes that a cell is looked through with before a full search
_MEASURED = 3  # levels from which on overlaps are those of the level before


class SparseVQ(Model):
    """Residual vector quantiser over patches at several scales, with codes only where needed.

    ::

        pixels in sigma -- matched codes at 6 scales --> most significant code --> token
              ^                                                                     |
              +------------ what is left <-- minus gain * code patch <--------------+

        tokens --> sum of gain * code over positions and scales --> mean image

    A token is a code and a gain. A position of the token map (4 x 4 pixels) has any number of
    them, most often none: ``indices[:, 2 k]`` is 0 or ``1 + level * (codes + STAR_CODES) + code``
    of token k, ``indices[:, 2 k + 1]`` is 0 or 64 and the index of its gain with its sign. The
    encoder is a matching pursuit with these codes: it chooses on what is left each time, so that
    any number of tokens decodes to an image, and every further one brings it nearer. Decoding is
    linear in sigma.

    Codes of stars are not learnt: they follow from width and shape of the frame's stars
    (`StarShape`), which a file holds.

    Parameters
    ----------
    likelihood : Likelihood
        Of pixels given the mean, in network units.
    dim : int
        Dimension of the latents.
    codes : int
        Learnt codes.
    tokens : int
        Most tokens of a position.

    References
    ----------
    Mallat & Zhang 1993, IEEE TSP 41, 3397 (matching pursuit); Zeghidour et al. 2021,
    arXiv:2107.03312 (residual vector quantisation).
    """

    def __init__(self, likelihood: Likelihood[Any], *, dim: int, codes: int, tokens: int) -> None:
        reach = 3 * 2 ** (LEVELS - 1)  # of the coarsest patch, and of its smooth edge
        super().__init__(
            nn.Identity(), nn.Identity(), likelihood, channels=1, stride=STRIDE, halo=reach
        )
        if not 1 <= dim <= PATCH**2:
            raise ValueError(f"the dimension must be 1 to {PATCH**2}, got {dim}")
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(PATCH**2, dim))[0].T.contiguous())
        self.book = nn.Parameter(F.normalize(torch.randn(codes, dim), dim=1))
        self.tokens = tokens
        self._kept: tuple[tuple[int, int], list[Books]] | None = None
        self._books: dict[StarShape, list[Books]] = {}

    @classmethod
    def from_config(cls, config: ModelConfig, channels: int) -> Self:
        """Build an untrained model: `latent_channels`, `codes` and `depth` count."""
        if channels != 1:
            raise ConfigError(f"sparse tokens are of one band, got {channels}")
        likelihood = LIKELIHOODS[config.likelihood](config)
        return cls(likelihood, dim=config.latent_channels, codes=config.codes, tokens=config.depth)

    @property
    def codes_per_level(self) -> int:
        """Learnt codes and those of stars."""
        return self.book.shape[0] + STAR_CODES

    @property
    def codes(self) -> int:
        """Number of indices that a place of a token map can hold."""
        return max(1 + LEVELS * self.codes_per_level, 2 * GAINS)

    @property
    def depth(self) -> int:
        """Indices per position: two for each token."""
        return 2 * self.tokens

    def books(self, star: StarShape) -> list[Books]:
        """Return what the encoder works with, level by level; kept until something changes."""
        stamp = self.basis._version, self.book._version
        if self._kept is None or self._kept[0] != stamp:
            self._kept = stamp, self._learnt_books()
            self._books = {}
        if star not in self._books:
            self._books = {star: self._add_stars(self._kept[1], star)}
        return self._books[star]

    @torch.no_grad()
    def _learnt_books(self) -> list[Books]:
        """Return books without codes of stars."""
        first = _representatives(F.normalize(self.book, dim=1), min(_FIRST, len(self.book)))
        books: list[Books] = []
        for level in range(LEVELS):
            gram = self._gram(level) if level < _MEASURED else books[-1].gram
            codes, few = _unit(self.book, gram), _unit(first, gram)
            weights = self._aperture(codes, level), self._aperture(few, level)
            books.append(Books(gram, codes, few, *weights))
        return books

    @torch.no_grad()
    def _add_stars(self, books: list[Books], star: StarShape) -> list[Books]:
        added = []
        for level, book in enumerate(books):
            stars = _unit(star_codes(star, self.basis, level), book.gram)
            seen = self._aperture(stars, level) if bool(stars.any()) else stars[:, 0]
            added.append(
                Books(
                    book.gram,
                    torch.cat([book.codes, stars]),
                    torch.cat([book.first, stars[::7]]),
                    torch.cat([book.weights, seen]),
                    torch.cat([book.first_weights, seen[::7]]),
                )
            )
        return added

    def _images(self, vectors: Tensor, level: int, pad: int) -> Tensor:
        patches = F.pad((vectors @ self.basis).view(-1, 1, PATCH, PATCH), (pad,) * 4)
        return enlarge(patches, level)

    def _gram(self, level: int) -> Tensor:
        images = self._images(torch.eye(self.basis.shape[0]).to(self.basis), level, 8)
        flat, step = images.flatten(1), STRIDE * 2**level
        rows = []
        for dy in range(-REACH, REACH + 1):
            row = []
            for dx in range(-REACH, REACH + 1):
                row.append(torch.roll(images, (dy * step, dx * step), (2, 3)).flatten(1) @ flat.T)
            rows.append(torch.stack(row))
        return torch.stack(rows)

    def _aperture(self, codes: Tensor, level: int) -> Tensor:
        """Return what the best placed aperture sees of codes; beyond level 2 half of it a level."""
        shrink = 2.0 ** -max(level - _MEASURED + 1, 0)
        level = min(level, _MEASURED - 1)
        axis = torch.arange(-4, 5, dtype=codes.dtype, device=codes.device)
        disc = (axis[:, None] ** 2 + axis[None, :] ** 2 <= 16.5).to(codes)
        disc = disc / disc.sum().sqrt()
        seen = F.conv2d(self._images(codes, level, 4), disc[None, None], padding=4)
        return seen.abs().flatten(1).amax(1).clamp(max=1.0) * shrink

    @torch.no_grad()
    def encode_frame(
        self, pixels: Tensor, quality: Quality, star: StarShape, covariance: Tensor
    ) -> Tensor:
        """Return indices (2 K, h, w) int32 of one plane.

        Parameters
        ----------
        pixels : Tensor (H, W)
            Sky subtracted, in sigma (not network units); 0 where missing.
        quality : Quality
            When a token is worth its bits.
        star : StarShape
            Of the frame.
        covariance : Tensor (2 L + 1, 2 L + 1)
            Autocovariance of the noise, in sigma squared.
        """
        return encode_plane(
            pixels,
            self.basis,
            self.books(star),
            quality,
            covariance,
            tokens=self.tokens,
            per_level=self.codes_per_level,
        )

    def decode_frame(self, indices: Tensor, star: StarShape) -> Tensor:
        """Return the mean (H, W), in sigma, of indices (2 K, h, w)."""
        books = self.books(star)
        height, width = indices.shape[-2:]
        unit = 2 ** (LEVELS - 1)
        size = [-(-n // unit) * unit for n in (height, width)]
        out = torch.zeros(1, 1, size[0] * STRIDE, size[1] * STRIDE).to(self.basis)
        k, y, x = torch.nonzero(indices[0::2], as_tuple=True)
        level, code = _split(indices[0::2][k, y, x].long() - 1, self.codes_per_level)
        signed = indices[1::2][k, y, x].long() - GAINS
        gains = torch.from_numpy(gain_values()).to(self.basis)
        gain = gains[signed.abs()] * signed.sign()
        for number in range(LEVELS):
            here = level == number
            if not here.any():
                continue
            drawn = books[number].codes[code[here]] * gain[here, None]
            cells = size[0] >> number, size[1] >> number
            places = y[here] >> number, x[here] >> number
            out = out + render(drawn, *places, self.basis, cells, number)
        return out[0, 0, : height * STRIDE, : width * STRIDE]

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents (B, D, h, w) of the finest level, of pixels (B, 1, H, W)."""
        self._check_pixels(pixels)
        kernel = self.basis.view(-1, 1, PATCH, PATCH)
        padded = F.pad(torch.sinh(pixels), (6, 6, 6, 6))
        return F.conv2d(padded, kernel, stride=STRIDE)

    def encode_indices(self, pixels: Tensor) -> Tensor:
        """Return indices (B, 2 K, h, w) int64 of pixels (B, 1, H, W), without codes of stars.

        Noise is taken to be white and quality the usual one.
        """
        self._check_pixels(pixels)
        white = torch.ones(1, 1, dtype=torch.float64)
        frames = [
            self.encode_frame(torch.sinh(image[0]), Quality(), StarShape(), white)
            for image in pixels
        ]
        return torch.stack(frames).long()

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Return the mean image (B, 1, H, W), network units, of indices (B, 2 K, h, w)."""
        frames = [self.decode_frame(frame, StarShape()) for frame in indices]
        return torch.asinh(torch.stack(frames))[:, None]

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Return the mean image (B, 1, H, W) of the tokens of pixels (B, 1, H, W)."""
        return self.decode_indices(self.encode_indices(pixels))

    def loss(self, batch: PixelBatch) -> LossTerms:
        """Return the terms of the likelihood of pixels given their tokens; see `Model.loss`.

        They have no gradient: codes are fitted by `astro_vq.training.fit_sparse`.
        """
        prepared = prepare(batch)
        raw = self.reconstruct(prepared.pixels)
        terms = self._likelihood_terms(prepared, self.likelihood(raw, prepared.scale))
        return finish_terms(terms["nll_per_dim"], terms)


@functools.cache
def _generator() -> torch.Generator:
    return torch.Generator()


def _representatives(codes: Tensor, number: int) -> Tensor:
    """Return directions (number, D) that stand for codes (N, D), by k-means of either sign."""
    first = codes[torch.randperm(len(codes), generator=_generator().manual_seed(0))[:number]]
    for _ in range(10):
        product = codes @ first.T
        nearest = product.abs().argmax(1)
        signs = product.gather(1, nearest[:, None]).sign()
        sums = torch.zeros_like(first).index_add_(0, nearest, codes * signs)
        first = torch.where(sums.norm(dim=1, keepdim=True) > 1e-6, F.normalize(sums, dim=1), first)
    return first


def _unit(codes: Tensor, gram: Tensor) -> Tensor:
    """Return codes of unit norm as images; those that are zero stay so."""
    middle = gram[REACH, REACH]
    norm = ((codes @ middle) * codes).sum(1).clamp_min(0).sqrt()
    return torch.where(norm[:, None] > 0, codes / norm.clamp_min(1e-12)[:, None], codes)


def _split(indices: Tensor, per_level: int) -> tuple[Tensor, Tensor]:
    return torch.div(indices, per_level, rounding_mode="floor"), indices % per_level
