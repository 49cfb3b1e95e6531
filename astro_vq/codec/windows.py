"""Tokens of whole images, window by window, and images of tokens; needs torch.

Windows overlap by the halo of the model, so that the result inside is that of the whole image,
whatever its size. At the bottom and right the image is continued by its last row and column up
to a whole number of tokens; missing pixels are zero in network units, as in training.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from astro_vq.checkpoint import LoadedModel
from astro_vq.codec.tokens import LARGEST_CODES, TokenLayer
from astro_vq.data.scaling import Scaling
from astro_vq.errors import ModelMismatchError
from astro_vq.types import TokenModel

WINDOW = 512
"""Pixels on a side of the windows that a model sees, without their halo; never changes results."""

_ALIGNMENT = 8
"""What the sides of tiles are multiples of, unless they span the image."""

ReadPixels = Callable[[slice, slice], NDArray[np.floating]]
"""Returns pixels (C, ny, nx), in the unit of the image and NaN where missing, of a rectangle."""

ReadTokens = Callable[[slice, slice], NDArray[np.integer]]
"""Returns indices (K, h, w) of a rectangle of tokens."""


def choose_device(device: str) -> str:
    """Return the device to use for ``'auto'``: a GPU when there is one.

    Raises
    ------
    ValueError
        The device is not known or not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        raise ValueError(f"device {device!r} cannot be used here; try cpu or auto") from err
    return device


class WindowedModel:
    """A model applied to images of any size.

    Parameters
    ----------
    loaded : LoadedModel
        Its model must give tokens of images of any size.

    Raises
    ------
    ModelMismatchError
        The model has no tokens, takes one image size only, or has too many codes.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if not hasattr(loaded.model, "encode_indices"):
            raise ModelMismatchError(
                f"model {loaded.name!r} is of kind {loaded.config.model.model!r}, which has no "
                "tokens; take a VQ-VAE, or no tokens (--no-tokens)"
            )
        if loaded.config.model.image_size is not None:
            raise ModelMismatchError(
                f"model {loaded.name!r} takes images of {loaded.config.model.image_size} pixels "
                "only; take a convolutional one (network compact or oord)"
            )
        if _ALIGNMENT % loaded.model.stride:
            raise ModelMismatchError(
                f"model {loaded.name!r} has a stride of {loaded.model.stride} pixels; tiles hold "
                f"whole tokens only where that divides {_ALIGNMENT}"
            )
        self.loaded = loaded
        self._model = cast(TokenModel, loaded.model)
        if self._model.codes > LARGEST_CODES:
            raise ModelMismatchError(
                f"model {loaded.name!r} has {self._model.codes} codes; up to {LARGEST_CODES} can "
                "be stored"
            )
        self._device = next(iter(loaded.model.parameters())).device

    @property
    def layer(self) -> TokenLayer:
        """What the header of a file says about the tokens."""
        model = self._model
        return TokenLayer(model.stride, model.halo, model.channels, model.codes, model.depth)

    @property
    def is_sparse(self) -> bool:
        """Whether tokens are sparse, so that tiles of them had better be large."""
        return False

    def encode(
        self, read: ReadPixels, size: tuple[int, int], scalings: Sequence[Scaling]
    ) -> Iterator[tuple[slice, slice, NDArray[np.int64]]]:
        """Yield the tokens of an image, window by window.

        Parameters
        ----------
        read : callable
            Gives pixels (C, ny, nx) of a rectangle.
        size : (int, int)
            Height and width of the image in pixels.
        scalings : sequence of Scaling
            One for each channel.

        Yields
        ------
        (slice, slice, ndarray of int64 (K, h, w))
            Rectangle of tokens, and the indices in it.
        """
        stride = self._model.stride
        for ys, xs in _windows(token_size(size, stride), WINDOW // stride):
            y_slice, y_inside = self._with_halo(ys, token_size(size, stride)[0])
            x_slice, x_inside = self._with_halo(xs, token_size(size, stride)[1])
            pixels = read(
                slice(y_slice.start * stride, min(y_slice.stop * stride, size[0])),
                slice(x_slice.start * stride, min(x_slice.stop * stride, size[1])),
            )
            network = np.stack(
                [scaling.forward(plane) for scaling, plane in zip(scalings, pixels, strict=True)]
            )
            network[~np.isfinite(network)] = 0
            missing = [(-side) % stride for side in network.shape[1:]]
            network = np.pad(network, [(0, 0), (0, missing[0]), (0, missing[1])], mode="edge")
            with torch.inference_mode():
                batch = torch.from_numpy(network)[None].to(self._device)
                indices = self._model.encode_indices(batch)[0].cpu().numpy()
            yield ys, xs, indices[:, y_inside, x_inside].astype(np.int64)

    def decode(
        self,
        read: ReadTokens,
        size: tuple[int, int],
        scalings: Sequence[Scaling],
        ys: slice,
        xs: slice,
        *,
        condition: bytes = b"",
    ) -> NDArray[np.float64]:
        """Return the model's mean of a rectangle of an image.

        Parameters
        ----------
        read : callable
            Gives indices (K, h, w) of a rectangle of tokens.
        size : (int, int)
            Height and width of the image in pixels.
        scalings : sequence of Scaling
            One for each channel.
        ys, xs : slice
            The rectangle, within the image.
        condition : bytes
            What the file holds for this map beside its tokens (models of sparse tokens).

        Returns
        -------
        ndarray of float64, shape (C, ny, nx)
            In the unit of the image.
        """
        out = np.empty((self._model.channels, ys.stop - ys.start, xs.stop - xs.start))
        for wys, wxs in _windows((out.shape[1], out.shape[2]), WINDOW):
            y_pixels = slice(ys.start + wys.start, ys.start + wys.stop)
            x_pixels = slice(xs.start + wxs.start, xs.start + wxs.stop)
            out[:, wys, wxs] = self._decode_window(read, size, scalings, y_pixels, x_pixels)
        return out

    def _decode_window(
        self,
        read: ReadTokens,
        size: tuple[int, int],
        scalings: Sequence[Scaling],
        ys: slice,
        xs: slice,
    ) -> NDArray[np.float64]:
        rows, columns = token_size(size, self._model.stride)
        y_tokens, y_inside = self._token_window(ys, rows)
        x_tokens, x_inside = self._token_window(xs, columns)
        indices = np.asarray(read(y_tokens, x_tokens), dtype=np.int64)
        with torch.inference_mode():
            batch = torch.from_numpy(indices)[None].to(self._device)
            network = self._model.decode_indices(batch)[0].float().cpu().numpy()
        inside = network[:, y_inside, x_inside]
        return np.stack([s.inverse(plane) for s, plane in zip(scalings, inside, strict=True)])

    def _token_window(self, pixels: slice, tokens: int) -> tuple[slice, slice]:
        """Return the tokens that pixels need, halo included, and the pixels within their image."""
        stride = self._model.stride
        needed = slice(pixels.start // stride, -(-pixels.stop // stride))
        window, _ = self._with_halo(needed, tokens)
        first = window.start * stride
        return window, slice(pixels.start - first, pixels.stop - first)

    def _with_halo(self, inside: slice, size: int) -> tuple[slice, slice]:
        """Return a range of tokens with its halo, and the range itself within that."""
        halo = self._model.halo
        window = slice(max(inside.start - halo, 0), min(inside.stop + halo, size))
        return window, slice(inside.start - window.start, inside.stop - window.start)


def token_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width in tokens of an image of `size` pixels."""
    return -(-size[0] // stride), -(-size[1] // stride)


def _windows(size: tuple[int, int], step: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, size[0], step):
        for x in range(0, size[1], step):
            yield slice(y, min(y + step, size[0])), slice(x, min(x + step, size[1]))
