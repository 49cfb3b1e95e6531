"""Tokens of one image while it is compressed: made in one pass, kept, then stored tile by tile."""

import tempfile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import TileGrid, pack_scalings
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.planning import StoredPixels, sample_plane
from astro_vq.codec.stored_tokens import in_tokens
from astro_vq.codec.tokens import TokenTable, encode_tokens
from astro_vq.codec.windows import WindowedModel, token_size
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.threads import in_threads

_IN_MEMORY = 2**26
_ROWS = 256  # of a rectangle, that a thread compares at once


class TokenQuality(NamedTuple):
    """How far the model's mean is from the image, over all pixels that are not missing.

    Attributes
    ----------
    rms : float
        Root of the mean squared error, in the unit of the image.
    largest : float
        Largest absolute error, in the unit of the image.
    """

    rms: float
    largest: float


class TokenLayerMaker:
    """All tokens of an image.

    Parameters
    ----------
    image : StoredPixels
        The image.
    info : ImageHeader
        What its header says.
    grid : TileGrid
        Its tiles; their sides are multiples of the model's stride unless they span the image.
    model : WindowedModel
        The model; the number of planes is a multiple of its bands.
    """

    def __init__(
        self, image: StoredPixels, info: ImageHeader, grid: TileGrid, model: WindowedModel
    ) -> None:
        self._image = image
        self._info = info
        self._grid = grid
        self._model = model
        self._layer = model.layer
        self._size = grid.height, grid.width
        self.scalings = [
            self._scaling(sample_plane(image, info, grid, plane)) for plane in range(grid.planes)
        ]
        height, width = token_size(self._size, self._layer.stride)
        stacks = grid.planes // self._layer.channels
        self._indices = _allocate((stacks, self._layer.depth, height, width))
        self._encode_all()

    def _scaling(self, sample: NDArray[np.float64]) -> Scaling:
        """Return the scaling of a plane, given pixels of it."""
        return Scaling.measure(sample)

    def _encode_all(self) -> None:
        counts = np.zeros((self._layer.depth, self._layer.codes), np.int64)
        for stack in range(self._indices.shape[0]):
            for ys, xs, indices in self._model.encode(
                self._reader(stack), self._size, self._bands(stack)
            ):
                self._indices[stack, :, ys, xs] = indices
                for row, plane in zip(counts, indices, strict=True):
                    row += np.bincount(plane.ravel(), minlength=self._layer.codes)
        self.table = TokenTable.fit(counts)

    def records(self) -> dict[str, bytes]:
        """Return the side information that decoding needs."""
        values = np.array([(scaling.sky, scaling.sigma) for scaling in self.scalings])
        return {"SCAL": pack_scalings(values), "TOKT": self.table.to_bytes()}

    def stream(self, number: int) -> bytes:
        """Return the token stream of a tile; empty for all planes but the first of a stack."""
        tile = self._grid.tile(number)
        stack, band = divmod(tile.plane, self._layer.channels)
        if band:
            return b""
        ys, xs = in_tokens(tile, self._layer.stride).slices
        return encode_tokens(np.asarray(self._indices[stack, :, ys, xs]), self.table)

    def measure(self) -> TokenQuality:
        """Decode all tokens and compare with the image."""
        squares, count, largest = 0.0, 0, 0.0
        step = max(self._grid.tile_height, 64)
        across = max(2**22 // step, 1)
        for plane in range(self._grid.planes):
            for y in range(0, self._grid.height, step):
                ys = slice(y, min(y + step, self._grid.height))
                for x in range(0, self._grid.width, across):
                    xs = slice(x, min(x + across, self._grid.width))
                    mean = self._mean(plane, ys, xs)
                    stored = self._image.read_stored(plane, ys, xs)
                    parts = [
                        (mean[k : k + _ROWS], stored[k : k + _ROWS])
                        for k in range(0, len(mean), _ROWS)
                    ]
                    for part in in_threads(self._compare, parts):
                        squares, count = squares + part[0], count + part[1]
                        largest = max(largest, part[2])
        return TokenQuality(float(np.sqrt(squares / max(count, 1))), largest)

    def _mean(self, plane: int, ys: slice, xs: slice) -> NDArray[np.float64]:
        """Return a rectangle of a plane as its tokens give it."""
        stack, band = divmod(plane, self._layer.channels)

        def read(ys: slice, xs: slice) -> NDArray[np.int64]:
            return np.asarray(self._indices[stack, :, ys, xs]).astype(np.int64)

        bands, condition = self._bands(stack), self._condition(stack)
        mean = self._model.decode(read, self._size, bands, ys, xs, condition=condition)
        return np.asarray(mean[band])

    def _compare(self, pair: tuple[NDArray[np.float64], NDArray[Any]]) -> tuple[float, int, float]:
        """Return sum of squared errors, number and largest error of pixels that are there."""
        mean, stored = pair
        there = ~self._info.missing(stored)
        error = self._info.to_physical(self._info.to_stored(mean))
        error -= self._info.to_physical(stored)
        if not there.all():
            error = error[there]
        if not error.size:
            return 0.0, 0, 0.0
        with np.errstate(over="ignore"):
            squares = float(np.square(error).sum())
        return squares, error.size, float(max(error.max(), -error.min()))

    def _condition(self, stack: int) -> bytes:
        """Return what decoding a stack depends on beside its tokens."""
        return b""

    def _bands(self, stack: int) -> list[Scaling]:
        channels = self._layer.channels
        return self.scalings[stack * channels : (stack + 1) * channels]

    def _reader(self, stack: int) -> Any:  # noqa: ANN401
        channels = self._layer.channels
        planes = range(stack * channels, (stack + 1) * channels)

        def read(ys: slice, xs: slice) -> NDArray[np.float64]:
            bands = [self._info.to_physical(self._image.read_stored(p, ys, xs)) for p in planes]
            return bands[0][None] if channels == 1 else np.stack(bands)

        return read


def _allocate(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return an array for indices; a large one lies in a temporary file."""
    size = int(np.prod(shape)) * 2
    if size <= _IN_MEMORY:
        return np.zeros(shape, np.uint16)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint16, "w+", shape=shape)
