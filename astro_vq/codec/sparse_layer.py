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
from astro_vq.data.noise import sky_statistics
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.sparse_maps import encode_maps, first_contexts
from astro_vq.errors import DataError
from astro_vq.models.sparse_encoder import Tokens, fill_map

USUAL_THRESHOLD, BESIDE_PIXELS = 5.0, 10.0
"""Significance of a source that is coded: in files of tokens alone, and beside pixels."""

_BESIDE_SHARE = 0.01  # of the bits of pixels that tokens beside them may take
_FLOAT_BITS = 16.0  # of a pixel of floats without loss, about
_HIGHEST, _LOWEST, _RATIO = 400.0, 1.5, 1.4  # thresholds that are tried for a rate
_HALVINGS = 12
_BITS = 13.0  # of a token, rather too few
_SKY_PIXELS = 2**18  # that level and noise are measured on


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
    step : float or None
        Between values of pixels that are stored beside the tokens, in the unit of the image, 0
        for floats without loss; None where tokens are alone.
    """

    def __init__(
        self,
        image: StoredPixels,
        info: ImageHeader,
        grid: TileGrid,
        model: SparseWindowedModel,
        choice: TokenChoice,
        *,
        step: float | None,
    ) -> None:
        self._sparse = model
        self._tokens: list[Tokens] = []
        self._choice = choice
        self._step = step
        super().__init__(image, info, grid, model)

    def _encode_all(self) -> None:
        self._conditions = [
            self._sparse.measure_condition(self._reader(k), self._size, self.scalings[k])
            for k in range(self._grid.planes)
        ]
        alone = self._step is None
        budget = self._budget()
        if self._choice.bits_per_pixel is not None:
            self._take_within(budget)
        else:
            usual = USUAL_THRESHOLD if alone else BESIDE_PIXELS
            self._take(self._choice.quality or usual)
        self._keep(self._limit_for(budget) if budget < math.inf else 0.0)

    def _budget(self) -> float:
        """Return how many bytes the tokens may take."""
        if self._choice.bits_per_pixel is not None:
            bits = self._choice.bits_per_pixel
        elif self._step is None or self._choice.quality is not None:
            return math.inf
        else:
            bits = _BESIDE_SHARE * _pixel_bits(self.scalings[0].sigma, self._step)
        return bits * self._grid.pixels / 8 - len(self._side().to_bytes())

    def _take(self, threshold: float) -> None:
        """Take the tokens of all planes at a threshold."""
        self._tokens = [
            self._sparse.encode_frame(
                self._reader(k),
                self._size,
                self.scalings[k],
                condition=self._conditions[k],
                threshold=threshold,
            )
            for k in range(self._grid.planes)
        ]

    def _take_within(self, budget: float) -> None:
        """Take about as many tokens as a budget allows, rather more.

        The threshold is found on a part, by stages: each goes on where the one before ended.
        """
        k = self._grid.planes // 2
        pursuit = self._sparse.start(
            self._reader(k), self._size, self.scalings[k], condition=self._conditions[k]
        )
        most = int(8 * budget / _BITS * pursuit.pixels / self._grid.pixels)
        threshold = _HIGHEST
        while threshold > _LOWEST and pursuit.count <= most:
            threshold /= _RATIO
            pursuit.stage(threshold)
        limits = np.sort(pursuit.tokens().limits)[::-1]
        if most < len(limits):
            threshold = max(float(limits[most]), threshold)
        if pursuit.pixels < self._grid.pixels:
            self._take(threshold)
            return
        self._tokens = [pursuit.tokens()]
        limit = self._limit_for(budget)
        if limit > 0:
            pursuit.keep(limit)
            self._tokens = [pursuit.tokens()]

    def _keep(self, limit: float) -> None:
        """Fill the maps with the tokens that would be taken at a threshold."""
        self.threshold = limit
        for indices, (rows, limits) in zip(self._indices, self._tokens, strict=True):
            fill_map(indices, rows[limits >= limit], self._sparse.codes_per_level)

    def _limit_for(self, budget: float) -> float:
        """Return the threshold that leaves as many tokens as a budget allows."""
        self._keep(0.0)
        if self._coded_bytes() <= budget:
            return 0.0
        limits = np.sort(np.concatenate([tokens.limits for tokens in self._tokens]))
        low, high = 0, len(limits)  # tokens to leave out: too few, enough
        while high - low > max(1, len(limits) >> _HALVINGS):
            middle = (low + high) // 2
            self._keep(float(limits[middle]))
            low, high = (low, middle) if self._coded_bytes() <= budget else (middle, high)
        return float(limits[high]) if high < len(limits) else math.inf

    def _coded_bytes(self) -> int:
        return sum(len(stream) for stream in self._streams())

    def _streams(self) -> Iterator[bytes]:
        for number in range(self._grid.count):
            yield self.stream(number)

    def _scaling(self, sample: NDArray[np.float64]) -> Scaling:
        """Return the scaling of a plane, measured on a part of its pixels."""
        try:
            sky = sky_statistics(sample, max_samples=_SKY_PIXELS)
        except DataError:
            return Scaling(0.0, 1.0)
        return Scaling.measure(sample, sky=sky)

    def _mean(self, plane: int, ys: slice, xs: slice) -> NDArray[np.float64]:
        """Return a rectangle of a plane as its tokens give it."""
        rows, limits = self._tokens[plane]
        kept = limits >= self.threshold
        return self._sparse.draw(
            Tokens(rows[kept], limits[kept]),
            self._size,
            self.scalings[plane],
            ys,
            xs,
            condition=self._conditions[plane],
        )

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


def _pixel_bits(sigma: float, step: float) -> float:
    """Return what noise takes at a step: the entropy of a Gaussian."""
    if step == 0:
        return _FLOAT_BITS
    ratio = sigma / step
    return max(math.log2(ratio * math.sqrt(2 * math.pi * math.e)), 0.5) if ratio > 0 else 0.5
