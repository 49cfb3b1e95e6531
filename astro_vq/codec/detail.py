"""The detail of a tile: what sparse tokens leave of bright light, as wavelet coefficients.

Coefficients are integers times a step, with a wide zone around zero, so that noise has none. The
stream is that of `astro_vq.entropy.detail_bands`; shape and step come from elsewhere.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.wavelet import FloatArray, band_shapes, forward, inverse
from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.detail_bands import LARGEST, decode_bands, encode_bands, first_contexts
from astro_vq.entropy.threads import in_threads
from astro_vq.types import TileGeometry

COST_BLOCK = 64
"""Pixels on a side of the blocks that `count_bits` looks at."""

_ZERO = 0.6  # of a step: coefficients that are smaller become zero
_LESS = 0.1  # of a step: by how much those of one step are rather smaller
_NOISES = 0.7  # of the threshold: coefficients below so many times the noise of their band too
_BITS = 5.0  # of a coefficient of one step, place and sign included
_MOST = LARGEST - 128  # a float32
_NOISE_SIDE, _NOISE_LEVELS = 512, 4  # of simulated noise, which is correlated over less
_KEPT = 4  # tiles whose detail is kept decoded


def band_noises(covariance: NDArray[np.float64]) -> list[float]:
    """Return the standard deviation that noise gives bands of some levels, by simulation.

    Parameters
    ----------
    covariance : ndarray of float64, shape (2 L + 1, 2 L + 1)
        Autocovariance of the noise of pixels, in sigma squared; L below 256.

    Returns
    -------
    list of float
        Three for each level, coarse to fine, as `astro_vq.codec.wavelet.forward` orders them.
        Coarser levels are like the first.
    """
    side = _NOISE_SIDE
    middle = covariance.shape[0] // 2
    lags = np.arange(-middle, middle + 1)
    kernel = np.zeros((side, side))
    kernel[np.ix_(lags % side, lags % side)] = covariance
    spectrum = np.maximum(np.fft.rfft2(kernel).real, 0)
    white = np.random.default_rng(0).normal(size=(side, side))
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(spectrum), (side, side))
    bands = forward(noise.astype(np.float32))
    return [float(band.std()) for band in bands[-3 * _NOISE_LEVELS :]]


def encode_detail(
    left: FloatArray, step: float, threshold: float, noises: Sequence[float]
) -> tuple[bytes, FloatArray]:
    """Return the stream of what is left of a tile, and what it decodes to.

    Parameters
    ----------
    left : ndarray of float32, shape (H, W)
        Pixels less what tokens draw, in sigma.
    step : float
        Of coefficients, in sigma.
    threshold : float
        What is significant, in sigma.
    noises : sequence of float
        See `band_noises`: noise that is correlated may be large in coarse bands.

    Returns
    -------
    stream : bytes
        Empty where all is zero.
    decoded : ndarray of float32, shape (H, W)
        In sigma.
    """
    bands = forward(left)
    levels = [noises[0]] * max(len(bands) - len(noises), 0) + list(noises)
    least = [_NOISES * threshold * noise for noise in levels[len(levels) - len(bands) :]]
    numbers = [np.empty(band.shape, np.int32) for band in bands]
    for band, limit, number in zip(bands, least, numbers, strict=True):
        _quantize(band, np.float32(step), np.float32(limit), number)
    if not any(number.any() for number in numbers):
        return b"", np.zeros(left.shape, np.float32)
    decoded: list[FloatArray] = []

    def work(is_stream: bool) -> bytes:
        if is_stream:
            return encode_bands(numbers, first_contexts())
        decoded.append(_restore(numbers, step))
        return b""

    return in_threads(work, (True, False))[0], decoded[0]


def decode_detail(stream: bytes, shape: tuple[int, int], step: float) -> FloatArray:
    """Return the detail (H, W) of a tile, in sigma.

    Raises
    ------
    FormatError
        The stream is damaged.
    """
    if not stream:
        return np.zeros(shape, np.float32)
    return _restore(decode_bands(stream, band_shapes(shape), first_contexts()), step)


class DetailDrawer:
    """The detail of a plane, decoded where it is asked for.

    Parameters
    ----------
    tiles : sequence of TileGeometry
        Of the plane.
    stream : callable
        Gives the stream of the tile with a number.
    step : float
        Of coefficients.
    known : sequence of ndarray of float32
        What the stream of each tile decodes to, or nothing.
    """

    def __init__(
        self,
        tiles: Sequence[TileGeometry],
        stream: Callable[[int], bytes],
        step: float,
        known: Sequence[FloatArray] = (),
    ) -> None:
        self._known = known
        self._tiles = tiles
        self._stream = stream
        self._step = step
        self._kept: dict[int, FloatArray | None] = {}
        self._lock = threading.Lock()

    def add(self, out: NDArray[np.floating], ys: slice, xs: slice, factor: float) -> None:
        """Add the detail of a rectangle, times a factor, to its pixels.

        Raises
        ------
        FormatError
            A stream is damaged.
        """
        for tile, values in self._decoded(ys, xs):
            y0, y1 = max(tile.y0, ys.start), min(tile.y0 + tile.ny, ys.stop)
            x0, x1 = max(tile.x0, xs.start), min(tile.x0 + tile.nx, xs.stop)
            if values is not None:
                part = values[y0 - tile.y0 : y1 - tile.y0, x0 - tile.x0 : x1 - tile.x0]
                inside = out[y0 - ys.start : y1 - ys.start, x0 - xs.start : x1 - xs.start]
                inside += part * factor

    def _decoded(self, ys: slice, xs: slice) -> Iterator[tuple[TileGeometry, FloatArray | None]]:
        """Yield the tiles that a rectangle shares pixels with, a few decoded at a time."""
        here = [
            number
            for number, tile in enumerate(self._tiles)
            if tile.y0 < ys.stop and tile.y0 + tile.ny > ys.start
            if tile.x0 < xs.stop and tile.x0 + tile.nx > xs.start
        ]
        for start in range(0, len(here), _KEPT):
            some = here[start : start + _KEPT]
            with self._lock:
                wanted = [number for number in some if number not in self._kept]
                coded = [(number, self._stream(number)) for number in wanted]
                values = in_threads(self._decode, coded)
                self._kept.update(zip(wanted, values, strict=True))
                found = [(self._tiles[number], self._kept[number]) for number in some]
                old = [number for number in self._kept if number not in some]
                for number in old[: max(len(self._kept) - _KEPT, 0)]:
                    del self._kept[number]
            yield from found

    def _decode(self, coded: tuple[int, bytes]) -> FloatArray | None:
        number, stream = coded
        if not stream:
            return None
        if self._known:
            return self._known[number]
        tile = self._tiles[number]
        return decode_detail(stream, (tile.ny, tile.nx), self._step)


def count_bits(
    bands: Sequence[FloatArray], shape: tuple[int, ...], step: float
) -> NDArray[np.float64]:
    """Estimate the bits of each block of 64 x 64 pixels, shape (ceil(H / 64), ceil(W / 64)).

    Parameters
    ----------
    bands : sequence of ndarray of float32
        What `astro_vq.codec.wavelet.forward` gives of pixels.
    shape : (int, int)
        Of the pixels.
    step : float
        Of coefficients.
    """
    h, w = (-(-n // COST_BLOCK) for n in shape)
    out = np.zeros((h, w))
    for band in bands:
        _add_bits(out, band, np.float32(step))
    return out


@compiled
def _add_bits(out: NDArray[np.float64], band: FloatArray, step: float) -> None:
    h, w = out.shape
    least = np.float32(_ZERO) * step
    for y in range(band.shape[0]):
        row, to = band[y], out[y * h // band.shape[0]]
        for x in range(band.shape[1]):
            size = abs(row[x])
            if size > least:
                to[x * w // band.shape[1]] += _BITS + 2 * math.log2(max(size / step, 1.0))


@compiled
def _quantize(band: FloatArray, step: float, least: float, out: NDArray[np.int32]) -> None:
    """Write integers of coefficients."""
    shift = np.float32(1 - _ZERO)
    for y in range(band.shape[0]):
        row, to = band[y], out[y]
        for x in range(row.shape[0]):
            size = abs(row[x])
            number = 0 if size < least else int(min(size / step + shift, np.float32(_MOST)))
            to[x] = -number if row[x] < 0 else number


@compiled
def _scale(band: NDArray[np.int32], step: float, out: FloatArray) -> None:
    """Write coefficients of integers."""
    less = np.float32(_LESS)
    for y in range(band.shape[0]):
        row, to = band[y], out[y]
        for x in range(row.shape[0]):
            value = np.float32(row[x])
            if row[x] == 1:
                value -= less
            elif row[x] == -1:
                value += less
            to[x] = value * step


def _restore(bands: list[NDArray[np.int32]], step: float) -> FloatArray:
    values = [np.empty(band.shape, np.float32) for band in bands]
    for band, value in zip(bands, values, strict=True):
        _scale(band, np.float32(step), value)
    return inverse(values)
