"""Tokens and detail of a plane of an image: tokens where they are cheaper, wavelets elsewhere.

1. Tokens are taken down to a threshold.
2. In blocks where wavelets alone would take fewer bits than tokens and the detail of what they
   leave (galaxies that fill the frame, nebulae), tokens are dropped.
3. What is left is the detail, tile by tile; its step is large where the threshold is.
4. Tokens are taken again of what is left now, where the detail changed anything.
5. One token for each source whose aperture flux is off sets it right.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_vq.codec.detail import COST_BLOCK, DetailDrawer, band_noises, count_bits, encode_detail
from astro_vq.codec.sparse_windows import Focus, ReadLinear, SparseWindowedModel
from astro_vq.codec.wavelet import forward
from astro_vq.models.sparse_atoms import STRIDE, FloatArray, StarShape
from astro_vq.models.sparse_encoder import Quality, Tokens, with_room
from astro_vq.types import TileGeometry

_LOWEST = 3.0  # threshold of tokens: below, noise is cheaper as detail
_TOLERANCE = 0.003  # of bright sources, of which detail keeps the rest
_TOKEN_BITS = 16.0
_MOST_DETAIL = 5.0  # bits per pixel that detail may take, times the square of the threshold
_SOME_DETAIL = 0.04  # bits per pixel that it may take in any case
_ENOUGH = 2.0  # threshold below which it may take any
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
    """

    tokens: Tokens
    step: float
    details: list[bytes]


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
        self._linear = _kept(linear, size) if size[0] * size[1] <= _KEPT_PIXELS else linear
        self.size = size
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
            frame = self._with_detail(threshold)
        else:
            tokens = self._take(self._linear, Quality(threshold), None)
            frame = Frame(tokens, 0.0, [b""] * len(self._tiles))
        rows = self._model.polish_frame(
            self._linear,
            self._left(frame),
            self.size,
            star=self._star,
            noise=self._noise,
            threshold=threshold,
        )
        limits = np.full(len(rows), max(threshold, _LOWEST), np.float32)
        return frame._replace(tokens=self._joined(frame.tokens, Tokens(rows, limits)))

    def _with_detail(self, threshold: float) -> Frame:
        quality = Quality(max(threshold, _LOWEST), _TOLERANCE)
        tokens = self._take(self._linear, quality, None)
        step = self._choose_step(tokens, threshold)
        dear = np.zeros(len(tokens.rows), np.bool_)
        if step == _usual_step(threshold):
            for tile in self._tiles:
                dear |= self._find_dear(tile, tokens, step)
        changed = _Changes(self.size)
        changed.mark_tokens(tokens.rows[dear])
        tokens = Tokens(tokens.rows[~dear], tokens.limits[~dear])
        details = []
        for tile in self._tiles:
            drawn = self._draw(tokens.rows, *tile.slices)
            rest = self._linear(*tile.slices) - drawn
            stream, values = encode_detail(rest, step, threshold, self._noises)
            changed.mark_detail(tile, values, drawn)
            details.append(stream)
        frame = Frame(tokens, step, details)
        if not changed.active.any():
            return frame
        more = self._take(self._left(frame), quality, changed)
        return frame._replace(tokens=self._joined(tokens, more))

    def _left(self, frame: Frame) -> ReadLinear:
        """Return what reads what a frame leaves of pixels."""
        drawer = DetailDrawer(self._tiles, frame.details.__getitem__, frame.step)

        def left(ys: slice, xs: slice) -> FloatArray:
            pixels = self._linear(ys, xs) - self._draw(frame.tokens.rows, ys, xs)
            drawer.add(pixels, ys, xs, -1.0)
            return pixels

        return left

    def _joined(self, first: Tokens, second: Tokens) -> Tokens:
        """Return tokens of both, as many as a position has room for."""
        rows = np.concatenate([first.rows, second.rows])
        room = with_room(rows, self._model.map_shape.tokens)
        return Tokens(rows[room], np.concatenate([first.limits, second.limits])[room])

    def _take(self, linear: ReadLinear, quality: Quality, focus: Focus | None) -> Tokens:
        return self._model.encode_frame(
            linear,
            self.size,
            star=self._star,
            noise=self._noise,
            quality=quality,
            focus=focus,
        )

    def _draw(self, rows: NDArray[np.int64], ys: slice, xs: slice) -> FloatArray:
        return self._model.draw(rows, self.size, ys, xs, self._star)

    def _find_dear(self, tile: TileGeometry, tokens: Tokens, step: float) -> NDArray[np.bool_]:
        """Return which tokens lie in blocks of a tile that wavelets alone would take less for."""
        y, x = (tokens.rows[:, k] * STRIDE - at for k, at in ((1, tile.y0), (2, tile.x0)))
        inside = (y >= 0) & (y < tile.ny) & (x >= 0) & (x < tile.nx)
        if not inside.any():
            return inside
        pixels = self._linear(*tile.slices)
        left = pixels - self._draw(tokens.rows, *tile.slices)
        alone = count_bits(forward(pixels), pixels.shape, step)
        beside = count_bits(forward(left), pixels.shape, step)
        blocks = y[inside] // COST_BLOCK, x[inside] // COST_BLOCK
        np.add.at(beside, blocks, _TOKEN_BITS)
        dear = np.zeros(len(inside), np.bool_)
        dear[inside] = (alone < beside)[blocks]
        return dear

    def _choose_step(self, tokens: Tokens, threshold: float) -> float:
        """Return the step: larger where the middle of the frame would take too much detail."""
        step = _usual_step(threshold)
        if threshold <= _ENOUGH:
            return step
        tile = self._tiles[len(self._tiles) // 2]
        pixels = self._linear(*tile.slices)
        left = pixels - self._draw(tokens.rows, *tile.slices)
        most = max(_MOST_DETAIL / threshold**2, _SOME_DETAIL) * pixels.size
        choices = forward(pixels), forward(left)
        while True:
            bits = [count_bits(bands, pixels.shape, step) for bands in choices]
            if np.minimum(*bits).sum() <= most:
                return step
            step = float(np.float32(1.5 * step))


def _kept(linear: ReadLinear, size: tuple[int, int]) -> ReadLinear:
    """Return what reads pixels once and then gives copies of them."""
    pixels = linear(slice(0, size[0]), slice(0, size[1]))

    def read(ys: slice, xs: slice) -> FloatArray:
        return pixels[ys, xs].copy()

    return read


def _usual_step(threshold: float) -> float:
    return float(np.float32(max(2 * threshold, 0.4 * threshold**2)))


class _Changes:
    """Where a detail, or tokens that are gone, leave something to take tokens of again."""

    def __init__(self, size: tuple[int, int]) -> None:
        shape = [-(-n // STRIDE) for n in size]
        self.near = np.zeros(shape, np.float32)
        self.active = np.zeros(shape, np.bool_)

    def mark_tokens(self, rows: NDArray[np.int64]) -> None:
        """Note tokens that are gone."""
        for level, y, x in rows[:, :3]:
            reach = 1 << level
            self.active[max(y - reach, 0) : y + 2 * reach, max(x - reach, 0) : x + 2 * reach] = True

    def mark_detail(self, tile: TileGeometry, values: FloatArray, drawn: FloatArray) -> None:
        """Note the detail of a tile, and what tokens draw there."""
        place = np.s_[
            tile.y0 // STRIDE : -(-(tile.y0 + tile.ny) // STRIDE),
            tile.x0 // STRIDE : -(-(tile.x0 + tile.nx) // STRIDE),
        ]
        self.active[place] |= _largest(np.abs(values)) > _CHANGED
        bright = _largest(np.abs(ndimage.uniform_filter(values, 3)) + np.abs(drawn))
        bright[bright <= _VISIBLE] = 0
        self.near[place] = ndimage.maximum_filter(bright, 3)

    def window(self, ys: slice, xs: slice) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return brightness, and what is to be looked at, of a rectangle of cells."""
        return self.near[ys, xs], self.active[ys, xs]


def _largest(values: FloatArray) -> FloatArray:
    """Return the maximum of each cell."""
    padded = np.pad(values, [(0, -n % STRIDE) for n in values.shape])
    h, w = (n // STRIDE for n in padded.shape)
    return np.asarray(padded.reshape(h, STRIDE, w, STRIDE).max((1, 3)))
