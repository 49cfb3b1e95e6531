"""Sparse tokens of whole images, and images of sparse tokens; needs torch.

Frames of up to 4096 x 4096 pixels are encoded whole; larger ones block by block, each on what the
blocks before it leave, so that sources on the seams are coded once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from astro_vq.checkpoint import LoadedModel
from astro_vq.codec.sparse_side import pack_star, unpack_star
from astro_vq.codec.windows import ReadPixels, ReadTokens, WindowedModel, token_size
from astro_vq.data.noise import autocovariance
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.map_shape import MapShape
from astro_vq.entropy.threads import in_threads
from astro_vq.errors import DataError, FormatError
from astro_vq.models.sparse import SparseVQ
from astro_vq.models.sparse_atoms import BETAS, LEVELS, STAR_CODES, StarShape
from astro_vq.models.sparse_encoder import Pursuit, Quality, Tokens
from astro_vq.models.sparse_polish import polish
from astro_vq.models.sparse_stars import bright_sources, shape_of

_BLOCK = 1024  # tokens on a side
_WINDOW = 512  # tokens on a side of what is decoded at once
_UNIT = 2 ** (LEVELS - 1)  # tokens of a cell of the coarsest level
_MEASURED_SIDE = 512
_LAG = 8
_STAR_SIDES = (1024, 2048)  # where stars are looked for; more where there are few
_STARS_ENOUGH = 100
_STRIP = 512  # rows that are read at once
_BRIGHTEST = 1e15  # sigma, whose squares are still numbers

_Window = tuple[slice, slice, slice, slice]
_Float = TypeVar("_Float", np.float32, np.float64)

ReadLinear = Callable[[slice, slice], NDArray[np.float32]]
"""Returns pixels (ny, nx) of a rectangle, in sigma and 0 where missing; not to be changed."""


class Taken(NamedTuple):
    """Tokens, and what took them where the frame is a single block, to go on with."""

    tokens: Tokens
    pursuit: Pursuit | None


class Focus(Protocol):
    """Where to take tokens of what others left."""

    def window(self, ys: slice, xs: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return brightness that is drawn already, and what changed, of a rectangle of cells."""
        ...


class SparseWindowedModel(WindowedModel):
    """A model of sparse tokens applied to images of any size.

    Parameters
    ----------
    loaded : LoadedModel
        Its model is a `SparseVQ`.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded)
        self._sparse = cast(SparseVQ, loaded.model)

    @property
    def is_sparse(self) -> bool:
        """Whether tokens are sparse: they are."""
        return True

    @property
    def map_shape(self) -> MapShape:
        """What the maps hold, for their coder."""
        model = self._sparse
        return MapShape(LEVELS, model.book.shape[0], STAR_CODES, model.tokens)

    def measure_condition(self, read: ReadPixels, size: tuple[int, int], scaling: Scaling) -> bytes:
        """Return the shape of the stars of a frame, as a file holds it."""
        basis = self._sparse.maker.basis
        for side in _STAR_SIDES:
            y, x = _middle(size, side)
            found = bright_sources(self._linear(read, scaling, y, x), basis)
            if len(found) >= _STARS_ENOUGH or side >= max(size):
                break
        shape = shape_of(found, basis)
        return pack_star((shape.width, shape.e1, shape.e2, shape.beta))

    @property
    def codes_per_level(self) -> int:
        """Codes that a level has."""
        return self._sparse.codes_per_level

    @property
    def basis(self) -> NDArray[np.float32]:
        """Patches (D, 256) that latents are products with."""
        return self._sparse.maker.basis

    def linear(self, read: ReadPixels, scaling: Scaling) -> ReadLinear:
        """Return what reads pixels (ny, nx) in sigma, 0 where missing."""

        def linear(ys: slice, xs: slice) -> NDArray[np.float32]:
            return self._linear(read, scaling, ys, xs)

        return linear

    def encode_frame(
        self,
        linear: ReadLinear,
        size: tuple[int, int],
        *,
        star: StarShape,
        noise: NDArray[np.float64],
        quality: Quality,
        focus: Focus | None = None,
        before: Pursuit | None = None,
    ) -> Taken:
        """Return the tokens of a frame.

        Parameters
        ----------
        linear : callable
            Gives pixels (ny, nx) of a rectangle, in sigma.
        size : (int, int)
            Height and width of the frame in pixels.
        star : StarShape
            Of the frame.
        noise : ndarray of float64, shape (2 L + 1, 2 L + 1)
            See `covariance`.
        quality : Quality
            When a token is worth its bits.
        focus : Focus, optional
            What to look at; everything when left out.
        before : Pursuit, optional
            What took tokens of the frame before, to go on with where `focus` tells.
        """
        pursuit: Pursuit | None = None
        stride = self._sparse.stride
        rows, columns = token_size(size, stride)
        halo = 0 if max(rows, columns) <= _BLOCK else self._sparse.halo
        done = Tokens(np.zeros((0, 5), np.int64), np.zeros(0, np.float32))
        for ys in _spans(rows, _BLOCK):
            for xs in _spans(columns, _BLOCK):
                wy, wx = _widen(ys, rows, halo), _widen(xs, columns, halo)
                y_pixels = slice(wy.start * stride, min(wy.stop * stride, size[0]))
                x_pixels = slice(wx.start * stride, min(wx.stop * stride, size[1]))
                pixels = linear(y_pixels, x_pixels)
                near = done.rows[_within(done.rows, wy, wx)]
                if len(near):
                    near = near - np.array([0, wy.start, wx.start, 0, 0])
                    drawn = self._sparse.draw(near, (wy.stop - wy.start, wx.stop - wx.start), star)
                    pixels = pixels - drawn[: pixels.shape[0], : pixels.shape[1]]
                if focus is None:
                    pursuit = self._sparse.pursuit(pixels, star, noise, quality.tolerance)
                    pursuit.run(quality.threshold)
                else:
                    bright, changed = focus.window(wy, wx)
                    if before is None:
                        pursuit = self._sparse.pursuit(pixels, star, noise, quality.tolerance)
                        pursuit.look_at(bright, changed)
                    else:
                        pursuit = before
                        pursuit.go_on(bright)
                    pursuit.run(quality.threshold, again=True)
                found = pursuit.tokens()
                placed = found.rows + np.array([0, wy.start, wx.start, 0, 0])
                inside = _within(placed, ys, xs)
                done = Tokens(
                    np.concatenate([done.rows, placed[inside]]),
                    np.concatenate([done.limits, found.limits[inside]]),
                )
        return Taken(done, pursuit if max(rows, columns) <= _BLOCK else None)

    def polish_frame(
        self,
        pixels: ReadLinear,
        left: ReadLinear,
        size: tuple[int, int],
        *,
        star: StarShape,
        noise: NDArray[np.float64],
        threshold: float,
    ) -> NDArray[np.int64]:
        """Return tokens that set the fluxes of sources right.

        Parameters
        ----------
        pixels, left : callable
            Give pixels (ny, nx) of a rectangle, in sigma, and what is left of them, which may be
            changed and is not good for anything else afterwards.
        size : (int, int)
            Height and width of the frame in pixels.
        star, noise
            See `encode_frame`.
        threshold : float
            Of sources, in sigma; see `polish`.
        """
        stride = self._sparse.stride
        rows, columns = token_size(size, stride)
        found = [np.zeros((0, 5), np.int64)]
        for ys in _spans(rows, _BLOCK):
            for xs in _spans(columns, _BLOCK):
                wy, wx = _widen(ys, rows, _UNIT), _widen(xs, columns, _UNIT)
                place = (
                    slice(wy.start * stride, min(wy.stop * stride, size[0])),
                    slice(wx.start * stride, min(wx.stop * stride, size[1])),
                )
                rest = left(*place)
                if max(rows, columns) > _BLOCK:  # windows overlap
                    rest = rest.copy()
                tokens = polish(
                    self._sparse.maker,
                    star,
                    pixels=_padded(pixels(*place), _UNIT * stride),
                    left=_padded(rest, _UNIT * stride),
                    covariance=noise,
                    threshold=threshold,
                )
                placed = tokens + np.array([0, wy.start, wx.start, 0, 0])
                found.append(placed[_within(placed, ys, xs)])
        return np.concatenate(found)

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
        """Return the mean of a rectangle of a frame; see `WindowedModel.decode`."""
        star = star_of(condition)
        out = np.empty((1, ys.stop - ys.start, xs.stop - xs.start))
        for window in self._windows(size, ys, xs):
            frame = self._sparse.decode_frame(read(*window[2:]), star)
            inside, part = self._shared(frame, window, ys, xs, out[0])
            np.multiply(part, scalings[0].sigma, out=inside)
            inside += scalings[0].sky
        return out

    def draw(
        self,
        rows: NDArray[np.int64],
        size: tuple[int, int],
        ys: slice,
        xs: slice,
        star: StarShape,
    ) -> NDArray[np.float32]:
        """Return what tokens draw in a rectangle of a frame, in sigma, in several threads.

        Parameters
        ----------
        rows : ndarray of int64, shape (T, 5)
            Tokens of the frame, see `Tokens.rows`.
        size : (int, int)
            Height and width of the frame in pixels.
        ys, xs : slice
            The rectangle, in pixels.
        star : StarShape
            Of the frame.
        """

        def draw(window: _Window) -> NDArray[np.float32]:
            wy, wx = window[2:]
            near = rows[_within(rows, wy, wx)] - np.array([0, wy.start, wx.start, 0, 0])
            near = _in_order_of_maps(near, wx.stop - wx.start)
            return self._sparse.draw(near, (wy.stop - wy.start, wx.stop - wx.start), star)

        def work(window: _Window) -> None:
            inside, part = self._shared(draw(window), window, ys, xs, out)
            inside[:] = part

        out = np.empty((ys.stop - ys.start, xs.stop - xs.start), np.float32)
        windows = list(self._windows(size, ys, xs))
        if len(windows) == 1:
            return self._shared(draw(windows[0]), windows[0], ys, xs, out)[1]
        in_threads(work, windows)
        return out

    def _windows(self, size: tuple[int, int], ys: slice, xs: slice) -> Iterator[_Window]:
        """Yield parts of a rectangle of pixels, in positions, and the same with halos."""
        stride, halo = self._sparse.stride, self._sparse.halo
        rows, columns = token_size(size, stride)
        for ty in _spans(-(-ys.stop // stride), _WINDOW, ys.start // stride):
            for tx in _spans(-(-xs.stop // stride), _WINDOW, xs.start // stride):
                yield ty, tx, _widen(ty, rows, halo), _widen(tx, columns, halo)

    def _shared(
        self,
        frame: NDArray[np.float32],
        window: _Window,
        ys: slice,
        xs: slice,
        out: NDArray[_Float],
    ) -> tuple[NDArray[_Float], NDArray[np.float32]]:
        """Return what the inside of a window and a rectangle share, of either."""
        stride = self._sparse.stride
        ty, tx, wy, wx = window
        y0, y1 = max(ty.start * stride, ys.start), min(ty.stop * stride, ys.stop)
        x0, x1 = max(tx.start * stride, xs.start), min(tx.stop * stride, xs.stop)
        part = frame[
            y0 - wy.start * stride : y1 - wy.start * stride,
            x0 - wx.start * stride : x1 - wx.start * stride,
        ]
        return out[y0 - ys.start : y1 - ys.start, x0 - xs.start : x1 - xs.start], part

    def _linear(
        self, read: ReadPixels, scaling: Scaling, ys: slice, xs: slice
    ) -> NDArray[np.float32]:
        """Return pixels in sigma, 0 where missing, a strip at a time."""
        out = np.empty((ys.stop - ys.start, xs.stop - xs.start), np.float32)
        for y in range(ys.start, ys.stop, _STRIP):
            strip = slice(y, min(y + _STRIP, ys.stop))
            values = np.asarray(read(strip, xs)[0], np.float64)
            _in_sigma(values, scaling.sky, scaling.sigma, out[y - ys.start : strip.stop - ys.start])
        return out

    def covariance(self, linear: ReadLinear, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the autocovariance of the noise at the middle of a frame; white if unknown."""
        y, x = _middle(size, _MEASURED_SIDE)
        part = linear(y, x).astype(np.float64)
        lag = min(_LAG, (min(part.shape) - 1) // 4)
        try:
            values = autocovariance(part, lag)
        except DataError:
            return np.ones((1, 1))
        if not np.isfinite(values).all() or values[lag, lag] <= 0:
            return np.ones((1, 1))
        return values


def wrap_model(loaded: LoadedModel) -> WindowedModel:
    """Return what applies a model to images of any size.

    Raises
    ------
    ModelMismatchError
        The model has no tokens, takes one image size only, or has too many codes.
    """
    return (
        SparseWindowedModel(loaded) if isinstance(loaded.model, SparseVQ) else WindowedModel(loaded)
    )


def star_of(condition: bytes) -> StarShape:
    """Return the shape of stars that a file holds.

    Raises
    ------
    FormatError
        It is impossible.
    """
    if not condition:
        return StarShape()
    star = StarShape(*unpack_star(condition))
    if star.beta >= len(BETAS) or max(abs(star.e1), abs(star.e2)) > 10:
        raise FormatError(f"damaged record SPRS: stars of shape {tuple(star)}")
    return star


@compiled
def _in_sigma(
    values: NDArray[np.float64], sky: float, sigma: float, out: NDArray[np.float32]
) -> None:
    """Write values in sigma, 0 for what is not finite."""
    for y in range(values.shape[0]):
        row, to = values[y], out[y]
        for x in range(row.shape[0]):
            value = (row[x] - sky) / sigma
            if not math.isfinite(value):
                value = 0.0
            to[x] = np.float32(min(max(value, -_BRIGHTEST), _BRIGHTEST))


def _padded(pixels: NDArray[np.float32], unit: int) -> NDArray[np.float32]:
    """Return pixels with zeros up to multiples of a length."""
    padding = [(0, -n % unit) for n in pixels.shape]
    return np.pad(pixels, padding) if np.any(padding) else pixels


def _middle(size: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Return the middle of a frame, so many pixels on a side at most."""
    starts = [max(n - side, 0) // 2 for n in size]
    y, x = (slice(k, k + min(n, side)) for k, n in zip(starts, size, strict=True))
    return y, x


def _within(rows: NDArray[np.int64], ys: slice, xs: slice) -> NDArray[np.bool_]:
    """Return which tokens lie in a rectangle of positions."""
    y, x = rows[:, 1], rows[:, 2]
    return np.asarray((y >= ys.start) & (y < ys.stop) & (x >= xs.start) & (x < xs.stop))


def _in_order_of_maps(rows: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return tokens as maps hold them: the first of each position, then the second of each."""
    place = rows[:, 1] * width + rows[:, 2]
    order = np.argsort(place, kind="stable")
    place = place[order]
    first = np.searchsorted(place, place)
    number = np.arange(len(place)) - first
    return rows[order[np.argsort(number, kind="stable")]]


def _spans(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))


def _widen(span: slice, size: int, halo: int) -> slice:
    """Return a range with its halo, beginning at a multiple of the coarsest cell."""
    first = max(span.start - halo, 0) // _UNIT * _UNIT
    return slice(first, min(span.stop + halo, size))
