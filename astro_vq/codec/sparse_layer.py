"""Sparse tokens of one image while it is compressed: chosen for a quality or a rate."""

import math
import threading
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import TileGrid, pack_scalings
from astro_vq.codec.detail import DetailDrawer
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.planning import StoredPixels, TokenChoice
from astro_vq.codec.sparse_frame import Frame, FrameEncoder
from astro_vq.codec.sparse_side import SparseSide, pack_steps
from astro_vq.codec.sparse_windows import ReadLinear, SparseWindowedModel, star_of
from astro_vq.codec.stored_tokens import in_tokens
from astro_vq.codec.token_layer import TokenLayerMaker
from astro_vq.codec.tokens import SparseStream
from astro_vq.codec.windows import ReadPixels
from astro_vq.data.noise import sky_statistics
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.sparse_maps import encode_maps, first_contexts
from astro_vq.entropy.threads import in_threads
from astro_vq.errors import DataError
from astro_vq.models.token_maps import fill_map
from astro_vq.types import TileGeometry

USUAL_THRESHOLD, BESIDE_PIXELS = 5.0, 10.0
"""Significance of a source that is coded: in files of tokens alone, and beside pixels."""

_BESIDE_SHARE = 0.01  # of the bits of pixels that tokens beside them may take
_FLOAT_BITS = 16.0  # of a pixel of floats without loss, about
_HIGHEST, _LOWEST = 3000.0, 0.2  # thresholds that are tried for a rate
_SAMPLE = 1024  # pixels on a side of what they are tried on
_SLOPE = 1.6  # bits fall with this power of the threshold, about
_TRIES, _CLOSE = 8, 0.95  # what is near enough below a rate
_HALVINGS = 12
_AHEAD = 8  # tiles whose streams are made together
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
        self._frames: list[Frame] = []
        self._drawers: dict[int, DetailDrawer] = {}
        self._ahead: dict[int, bytes] = {}
        self._reading = threading.Lock()  # threads share a file and its position
        self._choice = choice
        self._step = step
        super().__init__(image, info, grid, model)

    def _encode_all(self) -> None:
        self._measure()
        alone = self._step is None
        budget = self._budget()
        if self._choice.bits_per_pixel is not None:
            self._frames = self._encode_within(budget, alone)
        else:
            threshold = self._choice.quality or (USUAL_THRESHOLD if alone else BESIDE_PIXELS)
            self._frames = self._encode_planes(threshold, alone)
        self._keep(self._limit_for(budget) if budget < math.inf else 0.0)

    def _measure(self) -> None:
        """Measure stars and noise of all planes, both at the same time."""

        def measure_stars(plane: int) -> None:
            condition = self._sparse.measure_condition(
                self._reader(plane), self._size, self.scalings[plane]
            )
            self._conditions[plane] = condition

        def measure_noise(plane: int) -> None:
            self._noises[plane] = self._sparse.covariance(self._linear(plane), self._size)

        planes = range(self._grid.planes)
        self._conditions = [b""] * len(planes)
        self._noises = [np.ones((1, 1))] * len(planes)
        tasks = [partial(work, k) for k in planes for work in (measure_noise, measure_stars)]
        in_threads(lambda task: task(), tasks)

    def _reader(self, stack: int) -> ReadPixels:
        read: ReadPixels = super()._reader(stack)

        def locked(ys: slice, xs: slice) -> NDArray[np.floating[Any]]:
            with self._reading:
                return read(ys, xs)

        return locked

    def _linear(self, plane: int) -> ReadLinear:
        return self._sparse.linear(self._reader(plane), self.scalings[plane])

    def _plane(self, plane: int) -> FrameEncoder:
        return FrameEncoder(
            self._sparse,
            self._linear(plane),
            self._size,
            self._tiles(plane),
            star=star_of(self._conditions[plane]),
            noise=self._noises[plane],
        )

    def _tiles(self, plane: int) -> list[TileGeometry]:
        first = plane * self._grid.per_plane
        return [self._grid.tile(first + n) for n in range(self._grid.per_plane)]

    def _budget(self) -> float:
        """Return how many bytes the streams may take."""
        if self._choice.bits_per_pixel is not None:
            bits = self._choice.bits_per_pixel
        elif self._step is None or self._choice.quality is not None:
            return math.inf
        else:
            bits = _BESIDE_SHARE * _pixel_bits(self.scalings[0].sigma, self._step)
        steps = [1.0] * self._grid.planes if self._step is None else []
        return bits * self._grid.pixels / 8 - sum(map(len, self._side(steps).values()))

    def _encode_planes(self, threshold: float, alone: bool) -> list[Frame]:
        planes = range(self._grid.planes)
        frames = (self._plane(k).encode(threshold, detail=alone) for k in planes)
        # what details decode to is kept for one plane only: it is as large as the plane
        return [frame if len(planes) == 1 else frame._replace(values=()) for frame in frames]

    def _encode_within(self, budget: float, alone: bool) -> list[Frame]:
        """Return frames of about as many bytes as a budget allows, rather fewer."""
        middle = self._plane(self._grid.planes // 2).sample(_SAMPLE)
        share = budget * middle.pixels / self._grid.pixels
        threshold, frame = self._search(middle, share, alone)
        if middle.pixels == self._grid.pixels:
            return [frame]
        frames = self._encode_planes(threshold, alone)
        for _ in range(_TRIES):
            taken = sum(self._bytes_of(frame, self._size) for frame in frames)
            if taken <= 1.05 * budget or threshold >= _HIGHEST:
                break  # a few tokens may be left out
            threshold *= max((taken / budget) ** (1 / _SLOPE), 1.05)
            frames = self._encode_planes(threshold, alone)
        return frames

    def _search(self, plane: FrameEncoder, budget: float, alone: bool) -> tuple[float, Frame]:
        """Return the lowest threshold at which a plane takes no more than a budget, about."""
        low, high = _LOWEST, _HIGHEST
        threshold, best = USUAL_THRESHOLD, None
        for _ in range(_TRIES):
            frame = plane.encode(threshold, detail=alone)
            taken = self._bytes_of(frame, plane.size)
            if taken <= budget:
                best, high = (threshold, frame), threshold
            else:
                low = threshold
            if _CLOSE * budget <= taken <= budget or high / low < 1.01:
                break
            threshold *= (max(taken, 1) / max(budget * (1 + _CLOSE) / 2, 1)) ** (1 / _SLOPE)
            if not low < threshold < high:
                threshold = math.sqrt(low * high)
        return best or (_HIGHEST, plane.encode(_HIGHEST, detail=alone))

    def _bytes_of(self, frame: Frame, size: tuple[int, int]) -> int:
        """Return what a frame takes, coded as one."""
        stride = self._layer.stride
        shape = (self._layer.depth, *(-(-n // stride) for n in size))
        maps = np.zeros(shape, np.int32)
        fill_map(maps, frame.tokens.rows, self._sparse.codes_per_level)
        tables = first_contexts(self._sparse.map_shape)
        coded = encode_maps(maps, self._sparse.map_shape, (0, 0), tables)
        return len(coded) + sum(map(len, frame.details))

    def _keep(self, limit: float) -> None:
        """Fill the maps with the tokens that would be taken at a threshold."""
        self.threshold = limit
        for indices, frame in zip(self._indices, self._frames, strict=True):
            rows, limits = frame.tokens
            fill_map(indices, rows[limits >= limit], self._sparse.codes_per_level)

    def _limit_for(self, budget: float) -> float:
        """Return the threshold that leaves as many tokens as a budget allows."""
        self._keep(0.0)
        if self._coded_bytes() <= budget:
            return 0.0
        limits = np.sort(np.concatenate([frame.tokens.limits for frame in self._frames]))
        low, high = 0, len(limits)  # tokens to leave out: too few, enough
        while high - low > max(1, len(limits) >> _HALVINGS):
            middle = (low + high) // 2
            self._keep(float(limits[middle]))
            low, high = (low, middle) if self._coded_bytes() <= budget else (middle, high)
        return float(limits[high]) if high < len(limits) else math.inf

    def _coded_bytes(self) -> int:
        return sum(map(len, in_threads(self._stream, range(self._grid.count))))

    def _side(self, steps: list[float]) -> dict[str, bytes]:
        records = {"SPRS": SparseSide(self._sparse.map_shape, tuple(self._conditions)).to_bytes()}
        if any(steps):
            records["DETL"] = pack_steps(steps)
        return records

    def records(self) -> dict[str, bytes]:
        """Return the side information that decoding needs."""
        values = np.array([(scaling.sky, scaling.sigma) for scaling in self.scalings])
        return {"SCAL": pack_scalings(values), **self._side([f.step for f in self._frames])}

    def stream(self, number: int) -> bytes:
        """Return the token stream of a tile; empty where it has neither tokens nor detail.

        Those of the tiles that follow are made with it, in several threads.
        """
        if number not in self._ahead:
            numbers = range(number, min(number + _AHEAD, self._grid.count))
            self._ahead = dict(zip(numbers, in_threads(self._stream, numbers), strict=True))
        return self._ahead.pop(number)

    def _stream(self, number: int) -> bytes:
        tile = self._grid.tile(number)
        place = in_tokens(tile, self._layer.stride)
        ys, xs = place.slices
        maps = np.ascontiguousarray(self._indices[tile.plane, :, ys, xs]).astype(np.int32)
        shape = self._sparse.map_shape
        coded = encode_maps(maps, shape, (place.y0, place.x0), first_contexts(shape))
        detail = self._frames[tile.plane].details[number % self._grid.per_plane]
        return SparseStream(coded, detail).to_bytes()

    def _scaling(self, sample: NDArray[np.float64]) -> Scaling:
        """Return the scaling of a plane, measured on a part of its pixels."""
        try:
            sky = sky_statistics(sample, max_samples=_SKY_PIXELS)
        except DataError:
            return Scaling(0.0, 1.0)
        return Scaling.measure(sample, sky=sky)

    def _mean(self, plane: int, ys: slice, xs: slice) -> NDArray[np.float64]:
        """Return a rectangle of a plane as its tokens and its detail give it."""
        frame, scaling = self._frames[plane], self.scalings[plane]
        rows = frame.tokens.rows[frame.tokens.limits >= self.threshold]
        drawn = self._sparse.draw(rows, self._size, ys, xs, star_of(self._conditions[plane]))
        out = np.empty(drawn.shape)
        np.multiply(drawn, scaling.sigma, out=out)
        out += scaling.sky
        if any(frame.details):
            if plane not in self._drawers:
                read = frame.details.__getitem__
                drawer = DetailDrawer(self._tiles(plane), read, frame.step, frame.values)
                self._drawers = {plane: drawer}
            self._drawers[plane].add(out, ys, xs, scaling.sigma)
        return out


def _pixel_bits(sigma: float, step: float) -> float:
    """Return what noise takes at a step: the entropy of a Gaussian."""
    if step == 0:
        return _FLOAT_BITS
    ratio = sigma / step
    return max(math.log2(ratio * math.sqrt(2 * math.pi * math.e)), 0.5) if ratio > 0 else 0.5
