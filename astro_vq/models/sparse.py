"""Sparse tokens: a vector-quantised autoencoder that codes what is significant and nothing else."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.config import ModelConfig
from astro_vq.errors import ConfigError
from astro_vq.likelihoods import LIKELIHOODS, Likelihood
from astro_vq.models.base import LossTerms, Model, PixelBatch, finish_terms, prepare
from astro_vq.models.sparse_atoms import LEVELS, PATCH, STAR_CODES, STRIDE, FloatArray, StarShape
from astro_vq.models.sparse_books import BookMaker
from astro_vq.models.sparse_encoder import TOLERANCE, Pursuit, Quality
from astro_vq.models.sparse_gains import GAINS, signed_values
from astro_vq.models.sparse_polish import polish
from astro_vq.models.sparse_scales import draw
from astro_vq.models.stack_frames import draw_stack, encode_stack, number_at_place
from astro_vq.models.token_maps import fill_map, list_tokens, with_room


class SparseVQ(Model):
    """Residual vector quantiser over patches at several scales, with codes only where needed.

    ::

        pixels in sigma -- matched codes at 6 scales --> most significant code --> token
              ^                                                                     |
              +------------ what is left <-- minus gain * code patch <--------------+

        tokens --> sum of gain * code over positions and scales --> mean image

    A token is a code and a gain. A position of the token map (4 x 4 pixels) has any number of
    them, most often none: ``indices[:, 2 k]`` is 0 or ``1 + level * (codes + STAR_CODES) + code``
    of token k, ``indices[:, 2 k + 1]`` is 0 or 256 and the index of its gain with its sign. The
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
        self._kept: tuple[tuple[int, int], BookMaker] | None = None

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

    @property
    def maker(self) -> BookMaker:
        """Books of the codes; kept until something changes."""
        stamp = self.basis._version, self.book._version
        if self._kept is None or self._kept[0] != stamp:
            arrays = (numpy_of(p) for p in (self.basis, self.book))
            self._kept = stamp, BookMaker(*arrays)
        return self._kept[1]

    def pursuit(
        self,
        pixels: FloatArray,
        star: StarShape,
        covariance: NDArray[np.float64],
        tolerance: float = TOLERANCE,
    ) -> Pursuit:
        """Return what takes the tokens of a plane; see `encode_frame`."""
        return Pursuit(
            pixels, self.maker, star, covariance, tokens=self.tokens, tolerance=tolerance
        )

    def encode_frame(
        self,
        pixels: FloatArray,
        quality: Quality,
        star: StarShape,
        covariance: NDArray[np.float64],
    ) -> NDArray[np.int32]:
        """Return indices (2 K, h, w) of one plane.

        Parameters
        ----------
        pixels : ndarray of float32, shape (H, W)
            Sky subtracted, in sigma (not network units); 0 where missing.
        quality : Quality
            When a token is worth its bits.
        star : StarShape
            Of the frame.
        covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
            Autocovariance of the noise, in sigma squared.
        """
        pursuit = self.pursuit(pixels, star, covariance, quality.tolerance)
        pursuit.run(quality.threshold)
        pursuit.run(quality.threshold, again=True)
        rows = pursuit.tokens().rows
        left = pursuit.left.copy()
        more = polish(
            self.maker,
            star,
            pixels=pixels,
            left=left,
            covariance=covariance,
            threshold=quality.threshold,
        )
        rows = np.concatenate([rows, more])
        height, width = (-(-n // STRIDE) for n in pixels.shape)
        maps = np.zeros((self.depth, height, width), np.int32)
        fill_map(maps, rows[with_room(rows, self.tokens)], self.codes_per_level)
        return maps

    def encode_stack(
        self, pixels: Tensor, quality: Quality, star: StarShape, covariance: NDArray[np.float64]
    ) -> Tensor:
        """Return tokens of many frames at once, on the device of their pixels.

        Parameters
        ----------
        pixels : Tensor of float32, shape (B, H, W)
            Sky subtracted, in sigma (not network units); 0 where missing.
        quality, star, covariance
            See `encode_frame`; the same for all frames.

        Returns
        -------
        Tensor of int64, shape (T, 6)
            Frame, level, row and column of the position, code, and gain with its sign.
        """
        given = pixels, self.maker, star, covariance
        return encode_stack(*given, tokens=self.tokens, quality=quality)

    def stack_indices(self, rows: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Return indices (B, 2 K, h, w) int32 of tokens (T, 6) of frames (B, H, W)."""
        frames, height, width = size
        shape = frames, self.depth, -(-height // STRIDE), -(-width // STRIDE)
        out = torch.zeros(shape, dtype=torch.int32, device=rows.device)
        frame, level, y, x, code, gain = rows.T
        number = 2 * number_at_place(rows)
        out[frame, number, y, x] = (1 + level * self.codes_per_level + code).to(out)
        out[frame, number + 1, y, x] = (GAINS + gain).to(out)
        return out

    def draw_stack(self, rows: Tensor, size: tuple[int, int, int], star: StarShape) -> Tensor:
        """Return the mean (B, H, W), in sigma, of tokens (T, 6) on their device."""
        return draw_stack(rows, self.maker, star, size)

    def decode_frame(self, indices: NDArray[np.integer], star: StarShape) -> FloatArray:
        """Return the mean (H, W), in sigma, of indices (2 K, h, w)."""
        rows = list_tokens(indices, self.codes_per_level)
        height, width = indices.shape[-2:]
        return self.draw(rows, (height, width), star)

    def draw(self, rows: NDArray[np.int64], size: tuple[int, int], star: StarShape) -> FloatArray:
        """Return the mean (H, W), in sigma, of tokens (see `Tokens.rows`) of so many positions."""
        unit = 2 ** (LEVELS - 1)
        shape = [-(-n // unit) * unit * STRIDE for n in size]
        out = np.zeros((shape[0], shape[1]), np.float32)
        for n in range(LEVELS):
            here = rows[rows[:, 0] == n]
            if len(here):
                drawn = self.maker.patches(n, star)
                y, x, code, gain = (np.ascontiguousarray(column) for column in here.T[1:])
                draw(out, y >> n, x >> n, code, signed_values(gain), drawn, n)
        return out[: size[0] * STRIDE, : size[1] * STRIDE]

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
        given = Quality(), StarShape(), np.ones((1, 1))
        if pixels.device.type != "cpu":
            sigmas = torch.sinh(pixels[:, 0])
            rows = self.encode_stack(sigmas, *given)
            return self.stack_indices(rows, (len(sigmas), *pixels.shape[2:])).long()
        frames = [self.encode_frame(np.sinh(numpy_of(image[0])), *given) for image in pixels]
        return torch.from_numpy(np.stack(frames)).long()

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Return the mean image (B, 1, H, W), network units, of indices (B, 2 K, h, w)."""
        if indices.device.type != "cpu":
            size = (len(indices), indices.shape[2] * STRIDE, indices.shape[3] * STRIDE)
            means = self.draw_stack(self._rows_of(indices), size, StarShape())
            return torch.asinh(means)[:, None].to(self.basis)
        frames = [self.decode_frame(frame.numpy(), StarShape()) for frame in indices]
        return torch.asinh(torch.from_numpy(np.stack(frames)))[:, None].to(self.basis)

    def _rows_of(self, indices: Tensor) -> Tensor:
        """Return the tokens (T, 6) of indices (B, 2 K, h, w)."""
        frame, number, y, x = indices[:, 0::2].nonzero().T
        index = indices[frame, 2 * number, y, x].long() - 1
        gain = indices[frame, 2 * number + 1, y, x].long() - GAINS
        level = torch.div(index, self.codes_per_level, rounding_mode="floor")
        code = index - level * self.codes_per_level
        return torch.stack([frame, level, y, x, code, gain], 1)

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


def numpy_of(values: Tensor) -> FloatArray:
    """Return values as an array of float32 that is contiguous."""
    return np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)
