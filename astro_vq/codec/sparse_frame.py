"""Tokens and detail of a plane of an image: tokens where they are cheaper, wavelets elsewhere.

1. Tokens are taken down to a threshold.
2. In blocks where wavelets alone would take fewer bits than tokens and the detail of what they
   leave (galaxies that fill the frame, nebulae), tokens are dropped.
3. What is left is the detail, tile by tile; its step is large where the threshold is.
4. Tokens are taken again of what is left now, where the detail changed anything.
5. One token for each peak of the pixels whose aperture flux is off sets it right.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.codec.detail import COST_BLOCK, DetailDrawer, band_noises, count_bits, encode_detail
from astro_vq.codec.sparse_windows import Focus, ReadLinear, SparseWindowedModel, Taken
from astro_vq.codec.wavelet import forward
from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import STRIDE, FloatArray, StarShape
from astro_vq.models.sparse_encoder import Pursuit, Quality, Tokens
from astro_vq.models.token_maps import with_room
from astro_vq.types import TileGeometry

_LOWEST = 3.0  # threshold of tokens: below, noise is cheaper as detail
_TOLERANCE = 0.003  # of bright sources, of which detail keeps the rest
_TOKEN_BITS = 16.0
_VISIBLE = 1.5  # sigma, of what was drawn: bright enough for a share of it to stay
_CHANGED = 2.0  # sigma, of the detail: what may leave something else to take
_KEPT_PIXELS = 2**24  # of a frame that is read once


class Frame(NamedTuple):
    """What a plane became.

    Attributes
    ----------
    tokens : Tokens
        All of them.
    step : float
        Of the detail, in sigma; 0 for none.
    details : list of bytes
        Stream of each tile.
    values : sequence of ndarray of float32
        What each stream decodes to, where that is known; empty where it is not.
    """

    tokens: Tokens
    step: float
    details: list[bytes]
    values: Sequence[FloatArray] = ()


class FrameEncoder:
    """Encodes one plane at any threshold.

    Parameters
    ----------
    model : SparseWindowedModel
        The model.
    linear : callable
        Gives pixels of a rectangle in sigma, 0 where missing.
    size : (int, int)
        Height and width.
    tiles : sequence of TileGeometry
        That the detail is cut into; they cover the plane.
    star : StarShape
        Of the plane.
    noise : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of its noise, in sigma squared.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    """

    def __init__(
        self,
        model: SparseWindowedModel,
        linear: ReadLinear,
        size: tuple[int, int],
        tiles: Sequence[TileGeometry],
        *,
        star: StarShape,
        noise: NDArray[np.float64],
    ) -> None:
        self._model = model
        self.size = size
        self._is_small = size[0] * size[1] <= _KEPT_PIXELS
        self._linear = self._kept(_one_at_a_time(linear))
        self._tiles = tiles
        self._star = star
        self._noise = noise
        self._noises = band_noises(noise)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.size[0] * self.size[1]

    def sample(self, side: int) -> "FrameEncoder":
        """Return the encoder of the middle of the plane, or this one where it is no larger."""
        if max(self.size) <= side:
            return self
        y0, x0 = (max(n - side, 0) // 2 for n in self.size)
        ny, nx = (min(n, side) for n in self.size)

        def linear(ys: slice, xs: slice) -> FloatArray:
            return self._linear(
                slice(ys.start + y0, ys.stop + y0), slice(xs.start + x0, xs.stop + x0)
            )

        tile = TileGeometry(0, 0, 0, ny, nx)
        return FrameEncoder(
            self._model, linear, (ny, nx), [tile], star=self._star, noise=self._noise
        )

    def encode(self, threshold: float, *, detail: bool = True) -> Frame:
        """Return tokens, and detail unless it is not wanted, at a threshold in sigma."""
        if detail:
            frame, left = self._with_detail(threshold)
        else:
            tokens, pursuit = self._take(self._linear, Quality(threshold))
            frame = Frame(tokens, 0.0, [b""] * len(self._tiles))
            left = self._left(pursuit) or self._less(self._linear, tokens.rows)
        rows = self._model.polish_frame(
            self._linear,
            left,
            self.size,
            star=self._star,
            noise=self._noise,
            threshold=threshold,
        )
        limits = np.full(len(rows), max(threshold, _LOWEST), np.float32)
        return frame._replace(tokens=self._joined(frame.tokens, Tokens(rows, limits)))

    def _with_detail(self, threshold: float) -> tuple[Frame, ReadLinear]:
        """Return tokens and detail, and what is left of pixels."""
        quality = Quality(max(threshold, _LOWEST), _TOLERANCE)
        tokens, pursuit = self._take(self._linear, quality)
        left = self._left(pursuit) or self._less(self._linear, tokens.rows)
        step = float(np.float32(max(2 * threshold, 0.4 * threshold**2)))
        changed = _Changes(self.size)
        parts = in_threads(lambda tile: self._find_dear(tile, tokens, left, step), self._tiles)
        dear = np.logical_or.reduce(parts)
        if dear.any():
            changed.mark_tokens(tokens.rows[dear])
            if pursuit is not None:
                pursuit.give_back(tokens.rows[dear])
            tokens = Tokens(tokens.rows[~dear], tokens.limits[~dear])
            if pursuit is None:
                left = self._less(self._linear, tokens.rows)

        def encode(tile: TileGeometry) -> tuple[bytes, FloatArray | None]:
            rest = left(*tile.slices)
            stream, values = encode_detail(rest, step, threshold, self._noises)
            changed.mark_detail(tile, values, self._linear(*tile.slices) - rest)
            return stream, values if pursuit is not None else None

        details, values = zip(*in_threads(encode, self._tiles), strict=True)
        frame = Frame(tokens, step, list(details))
        if pursuit is not None:
            images = zip(self._tiles, values, strict=True)
            pursuit.take_out((tile.y0, tile.x0, image) for tile, image in images)
            frame = frame._replace(values=values)
        else:
            left = self._less_detail(left, DetailDrawer(self._tiles, details.__getitem__, step))
        if not changed.active.any():
            return frame, left
        more = self._take(left, quality, changed, pursuit).tokens
        every = self._joined(tokens, more)
        if pursuit is None:
            left = self._less(left, every.rows[len(tokens.rows) :])
        return frame._replace(tokens=every), left

    def _left(self, pursuit: Pursuit | None) -> ReadLinear | None:
        """Return what reads what a pursuit leaves of pixels, as it goes on; None without one."""
        return None if pursuit is None else lambda ys, xs: pursuit.left[ys, xs]

    def _less(self, pixels: ReadLinear, rows: NDArray[np.int64]) -> ReadLinear:
        """Return what reads what tokens leave of pixels."""

        def left(ys: slice, xs: slice) -> FloatArray:
            out = self._model.draw(rows, self.size, ys, xs, self._star)
            return np.subtract(pixels(ys, xs), out, out=out)

        return self._kept(left)

    def _less_detail(self, pixels: ReadLinear, drawer: DetailDrawer) -> ReadLinear:
        """Return what reads what the detail leaves of pixels."""

        def left(ys: slice, xs: slice) -> FloatArray:
            out = pixels(ys, xs).copy()
            drawer.add(out, ys, xs, -1.0)
            return out

        return self._kept(left)

    def _kept(self, read: ReadLinear) -> ReadLinear:
        """Return what reads pixels of a small frame once."""
        if not self._is_small:
            return read
        pixels = read(slice(0, self.size[0]), slice(0, self.size[1]))
        return lambda ys, xs: pixels[ys, xs]

    def _joined(self, first: Tokens, second: Tokens) -> Tokens:
        """Return tokens of both, as many as a position has room for."""
        rows = np.concatenate([first.rows, second.rows])
        room = with_room(rows, self._model.map_shape.tokens)
        return Tokens(rows[room], np.concatenate([first.limits, second.limits])[room])

    def _take(
        self,
        linear: ReadLinear,
        quality: Quality,
        focus: Focus | None = None,
        before: Pursuit | None = None,
    ) -> Taken:
        return self._model.encode_frame(
            linear,
            self.size,
            star=self._star,
            noise=self._noise,
            quality=quality,
            focus=focus,
            before=before,
        )

    def _find_dear(
        self, tile: TileGeometry, tokens: Tokens, left: ReadLinear, step: float
    ) -> NDArray[np.bool_]:
        """Return which tokens lie in blocks of a tile that wavelets alone would take less for."""
        y, x = (tokens.rows[:, k] * STRIDE - at for k, at in ((1, tile.y0), (2, tile.x0)))
        inside = (y >= 0) & (y < tile.ny) & (x >= 0) & (x < tile.nx)
        if not inside.any():
            return inside
        shape = tile.ny, tile.nx

        def count(read: ReadLinear) -> NDArray[np.float64]:
            return count_bits(forward(read(*tile.slices)), shape, step)

        alone, beside = in_threads(count, (self._linear, left))
        blocks = y[inside] // COST_BLOCK, x[inside] // COST_BLOCK
        np.add.at(beside, blocks, _TOKEN_BITS)
        dear = np.zeros(len(inside), np.bool_)
        dear[inside] = (alone < beside)[blocks]
        return dear


def _one_at_a_time(read: ReadLinear) -> ReadLinear:
    """Return what reads pixels for one thread at a time: they share a file and its position."""
    lock = threading.Lock()

    def locked(ys: slice, xs: slice) -> FloatArray:
        with lock:
            return read(ys, xs)

    return locked


class _Changes:
    """Where a detail, or tokens that are gone, leave something to take tokens of again."""

    def __init__(self, size: tuple[int, int]) -> None:
        shape = [-(-n // STRIDE) for n in size]
        self.near = np.zeros(shape, np.float32)
        self.active = np.zeros(shape, np.bool_)

    def mark_tokens(self, rows: NDArray[np.int64]) -> None:
        """Note tokens that are gone."""
        _mark_around(self.active, rows)

    def mark_detail(self, tile: TileGeometry, values: FloatArray, drawn: FloatArray) -> None:
        """Note the detail of a tile, and what tokens draw there."""
        place = np.s_[
            tile.y0 // STRIDE : -(-(tile.y0 + tile.ny) // STRIDE),
            tile.x0 // STRIDE : -(-(tile.x0 + tile.nx) // STRIDE),
        ]
        bright = np.zeros(self.near[place].shape, np.float32)
        _look_at_detail(values, drawn, bright, self.active[place])
        self.near[place] = ndimage.maximum_filter(bright, 3)

    def window(self, ys: slice, xs: slice) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return brightness, and what is to be looked at, of a rectangle of cells."""
        return self.near[ys, xs], self.active[ys, xs]


@compiled
def _mark_around(active: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
    """Mark the cells that tokens may have drawn to."""
    h, w = active.shape
    for t in range(rows.shape[0]):
        y, x, reach = rows[t, 1], rows[t, 2], 1 << rows[t, 0]
        for a in range(max(y - reach, 0), min(y + 2 * reach, h)):
            for b in range(max(x - reach, 0), min(x + 2 * reach, w)):
                active[a, b] = True


@compiled
def _look_at_detail(
    values: FloatArray, drawn: FloatArray, bright: FloatArray, active: NDArray[np.bool_]
) -> None:
    """Write what is bright in each cell, and mark where a detail is."""
    h, w = values.shape
    tall = np.empty(w + 2, np.float32)
    ninth = np.float32(1 / 9)
    for y in range(h):
        above, here, below = values[max(y - 1, 0)], values[y], values[min(y + 1, h - 1)]
        for x in range(w):
            tall[x + 1] = above[x] + here[x] + below[x]
        tall[0], tall[w + 1] = tall[1], tall[w]
        row, to, on = drawn[y], bright[y // 4], active[y // 4]
        for x in range(w):
            size = abs(tall[x] + tall[x + 1] + tall[x + 2]) * ninth + abs(row[x])
            if size > _VISIBLE:
                to[x // 4] = max(to[x // 4], size)
            if abs(here[x]) > _CHANGED:
                on[x // 4] = True
