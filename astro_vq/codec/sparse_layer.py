"""Sparse tokens of one image while it is compressed: chosen for a quality or a rate."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import TileGrid, pack_scalings
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.planning import StoredPixels, TokenChoice
from astro_vq.codec.sparse_side import SparseSide
from astro_vq.codec.sparse_windows import SparseWindowedModel
from astro_vq.codec.stored_tokens import in_tokens
from astro_vq.codec.token_layer import TokenLayerMaker
from astro_vq.codec.tokens import SPARSE_MAPS
from astro_vq.entropy.sparse_maps import encode_maps, first_contexts
from astro_vq.models.sparse_encoder import Quality

USUAL_THRESHOLD, BESIDE_PIXELS = 5.0, 10.0
"""Significance of a source that is coded: in files of tokens alone, and beside pixels."""

_LOWEST, _HIGHEST, _TRIALS = 1.5, 3000.0, 10


class SparseLayerMaker(TokenLayerMaker):
    """All sparse tokens of an image.

    Parameters
    ----------
    image, info, grid
        See `TokenLayerMaker`.
    model : SparseWindowedModel
        The model.
    choice : TokenChoice
        Threshold, or bits per pixel to stay within.
    is_alone : bool
        Whether no pixels are stored beside the tokens.
    """

    def __init__(
        self,
        image: StoredPixels,
        info: ImageHeader,
        grid: TileGrid,
        model: SparseWindowedModel,
        choice: TokenChoice,
        *,
        is_alone: bool,
    ) -> None:
        self._sparse = model
        self._choice = choice
        self._is_alone = is_alone
        super().__init__(image, info, grid, model)

    def _encode_all(self) -> None:
        self._conditions = [
            self._sparse.measure_condition(self._reader(k), self._size, self.scalings[k])
            for k in range(self._grid.planes)
        ]
        usual = USUAL_THRESHOLD if self._is_alone else BESIDE_PIXELS
        if self._choice.bits_per_pixel is None:
            self._encode_at(self._choice.quality or usual)
            return
        budget = self._choice.bits_per_pixel * self._grid.pixels / 8 - len(self._side().to_bytes())
        low, high = math.log(_LOWEST), math.log(_HIGHEST)
        for _ in range(_TRIALS):
            middle = (low + high) / 2
            self._encode_at(math.exp(middle))
            low, high = (low, middle) if self._coded_bytes() <= budget else (middle, high)
        self._encode_at(math.exp(high))

    def _encode_at(self, threshold: float) -> None:
        """Fill the maps with the tokens of all planes at a threshold."""
        self.threshold = threshold
        self._indices[:] = 0
        for stack in range(self._indices.shape[0]):

            def coded(ys: slice, xs: slice, stack: int = stack) -> NDArray[np.int32]:
                return np.asarray(self._indices[stack, :, ys, xs]).astype(np.int32)

            for ys, xs, found in self._sparse.encode_frame(
                self._reader(stack),
                self._size,
                self.scalings[stack],
                condition=self._conditions[stack],
                quality=Quality(threshold),
                coded=coded,
            ):
                self._indices[stack, :, ys, xs] = found

    def _coded_bytes(self) -> int:
        return sum(len(stream) for stream in self._streams())

    def _streams(self) -> Iterator[bytes]:
        for number in range(self._grid.count):
            yield self.stream(number)

    def _side(self) -> SparseSide:
        return SparseSide(self._sparse.map_shape, tuple(self._conditions))

    def records(self) -> dict[str, bytes]:
        """Return the side information that decoding needs."""
        values = np.array([(scaling.sky, scaling.sigma) for scaling in self.scalings])
        return {"SCAL": pack_scalings(values), "SPRS": self._side().to_bytes()}

    def stream(self, number: int) -> bytes:
        """Return the token stream of a tile; empty where it has no tokens."""
        tile = self._grid.tile(number)
        place = in_tokens(tile, self._layer.stride)
        ys, xs = place.slices
        maps = np.ascontiguousarray(self._indices[tile.plane, :, ys, xs]).astype(np.int32)
        shape = self._sparse.map_shape
        coded = encode_maps(maps, shape, (place.y0, place.x0), first_contexts(shape))
        return bytes([SPARSE_MAPS]) + coded if coded else b""

    def _condition(self, stack: int) -> bytes:
        return self._conditions[stack]
