"""The peaks of pixels: where sources are that apertures measure."""

import math

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_in_any_order
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse_atoms import FloatArray, StarShape

_Places = NDArray[np.float64]

_BAND = 128  # rows that a thread takes
_RUN = 64  # pixels of a row that are looked at together
_NEAR = 2  # pixels around a peak that are no higher


def height_of(star: StarShape, least: float) -> float:
    """Return the height in a smoothed image of a significance, as a matched filter has it."""
    return least / (2 * math.sqrt(math.pi) * star.fwhm / 2.3548)


def kernel_of(star: StarShape) -> FloatArray:
    """Return the half from its middle on of the Gaussian of a star's width; its number is odd."""
    width = star.fwhm / 2.3548
    reach = int(4 * width + 0.5)
    reach += reach % 2  # two at a time
    kernel = np.exp(-0.5 * (np.arange(reach + 1) / width) ** 2)
    return np.asarray(kernel / (2 * kernel.sum() - kernel[0]), np.float32)


def find_peaks(pixels: FloatArray, star: StarShape, least: float) -> tuple[_Places, _Places]:
    """Return the places of sources.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W)
        In sigma, 0 where missing; zero beyond.
    star : StarShape
        Of the frame: pixels are smoothed by a Gaussian of its width first.
    least : float
        Significance in sigma, as a matched filter has it in white noise.

    Returns
    -------
    y, x : ndarray of float64, shape (N,)
        In pixels from the corner of the first; the vertex of a parabola along each axis.
    """
    height, kernel = height_of(star, least), kernel_of(star)

    def work(first: int) -> _Places:
        stop = min(first + _BAND, len(pixels))
        smooth = np.zeros((stop - first + 2 * _NEAR, pixels.shape[1]), np.float32)
        _smooth(pixels, kernel, smooth, first - _NEAR)
        found: _Places = _peaks_of(smooth, height, first == 0, stop == len(pixels))
        found[0] += first - _NEAR
        return found

    y, x = np.concatenate(in_threads(work, range(0, len(pixels), _BAND)), 1)
    return y, x


@compiled_in_any_order
def _smooth(image: FloatArray, kernel: FloatArray, out: FloatArray, first: int) -> None:
    """Write some rows of a smoothed image, from one on; zero where all pixels around are."""
    h, w = image.shape
    reach = kernel.shape[0] - 1
    parts = np.zeros((out.shape[0] + 2 * reach, w), np.float32)
    row = np.zeros(w + 2 * reach, np.float32)
    low, high = w, 0
    for y in range(max(first - reach, 0), min(first + out.shape[0] + reach, h)):
        inside, values = row[reach : reach + w], image[y]
        most = np.float32(0)
        for x in range(w):
            inside[x] = values[x]
            most = max(most, abs(values[x]))
        if most == 0:
            continue
        begin, end = 0, w
        while inside[begin] == 0:
            begin += 1
        while inside[end - 1] == 0:
            end -= 1
        begin, end = max(begin - reach, 0), min(end + reach, w)
        low, high = min(low, begin), max(high, end)
        to = parts[y - first + reach, begin:end]
        here = row[begin + reach : end + reach]
        for x in range(to.shape[0]):
            to[x] = here[x] * kernel[0]
        for k in range(1, reach + 1, 2):
            one, two = kernel[k], kernel[k + 1]
            before = row[begin + reach - k : end + reach - k]
            after = row[begin + reach + k : end + reach + k]
            before_it = row[begin + reach - k - 1 : end + reach - k - 1]
            after_it = row[begin + reach + k + 1 : end + reach + k + 1]
            for x in range(to.shape[0]):
                to[x] += (before[x] + after[x]) * one + (before_it[x] + after_it[x]) * two
    for i in range(out.shape[0]):
        at = i + reach
        to, here = out[i, low:high], parts[at, low:high]
        for x in range(to.shape[0]):
            to[x] = here[x] * kernel[0]
        for k in range(1, reach + 1, 2):
            one, two = kernel[k], kernel[k + 1]
            before, after = parts[at - k, low:high], parts[at + k, low:high]
            before_it, after_it = parts[at - k - 1, low:high], parts[at + k + 1, low:high]
            for x in range(to.shape[0]):
                to[x] += (before[x] + after[x]) * one + (before_it[x] + after_it[x]) * two


@compiled
def _vertex(before: float, middle: float, after: float) -> float:
    bend = max(2 * middle - before - after, 1e-6)
    return min(max((after - before) / (2 * bend), -0.5), 0.5)


@compiled
def _some_are_above(values: FloatArray, height: float) -> bool:
    some = False
    for value in values:
        some |= value > height
    return some


@compiled
def _is_top(smooth: FloatArray, y: int, x: int) -> bool:
    for a in range(y - 2, y + 3):
        for b in range(max(x - 2, 0), min(x + 3, smooth.shape[1])):
            if smooth[a, b] > smooth[y, x]:
                return False
    return True


@compiled
def _peaks_of(smooth: FloatArray, height: float, at_top: bool, at_bottom: bool) -> _Places:
    """Return places (2, n) above a height and not below those around; two rows at ends are none."""
    h, w = smooth.shape
    found = np.empty((2, 64), np.float64)
    count = 0
    for y in range(3 if at_top else 2, h - 3 if at_bottom else h - 2):
        above, row, below = smooth[y - 1], smooth[y], smooth[y + 1]
        for start in range(1, w - 1, _RUN):
            if not _some_are_above(row[start : start + _RUN], height):
                continue
            for x in range(start, min(start + _RUN, w - 1)):
                value = row[x]
                if value <= height or not _is_top(smooth, y, x):
                    continue
                if count == found.shape[1]:
                    more = np.empty((2, 2 * count), np.float64)
                    for k in range(count):
                        more[0, k], more[1, k] = found[0, k], found[1, k]
                    found = more
                found[0, count] = y + 0.5 + _vertex(above[x], value, below[x])
                found[1, count] = x + 0.5 + _vertex(row[x - 1], value, row[x + 1])
                count += 1
    return found[:, :count]
