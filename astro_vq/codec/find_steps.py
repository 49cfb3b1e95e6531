"""Find the step that floats are multiples of, when the dither that was subtracted is known.

Values are ``(index - random + 0.5) * step + zero``, so the phases ``value / step + random`` are all
the same: a step shows as a peak of the length of the mean of ``exp(2 pi i phase)``.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.dither import COUNT, random_numbers

FACTORS = (0.6052697, 1.0483579, 0.1772048)
"""fpack takes the step to be a float32 times one of these, over a power of two."""

_WINDOW = 320  # pixels that a search looks at
_FEWEST = 48
_SPAN = 4.0  # sigma on each side of the middle
_PEAK = 0.55
_COARSE, _FINE = 130.0, 3.0  # steps per sigma of the widest search at most; times the sigma
_NARROW = 14.0
_FIRST_PLACES = 1024
_PADDED = 16384
_OVERSAMPLING = 0.4
_RANGES = ((0.9, 1.1), (0.5, 2.0))
_ROUNDS = 12
_CLEAR = 0.2  # of a step: how far from the lattice a pixel may lie in a fit
_DIGITS = (0, 2, -2, 4, -4, 6, -6, 1, -1, 3, -3, 5, -5)
_LATTICE_PIXELS = 512
_LATTICES = (0.7, 40.0)  # steps per sigma
_LATTICE_PEAK = 0.8
_OVERTONE = 0.93  # of the highest peak: multiples of a frequency have peaks as well
_REFINED = 20_000
_FITS = 3
_ULPS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 6, -6)
FIRST_INDEX = -2147483637.0
_SNAPPED = 256  # pixels that a step is tried on first
_MEDIAN_TO_SIGMA = 0.6745

Floats = npt.NDArray[np.float64]


class Found(NamedTuple):
    """A step, the phase (zero over step, from 0 to 1), and the place in the random numbers."""

    step: float
    phase: float
    place: int = 0


class _Sky(NamedTuple):
    """Pixels of a line that lie near its middle: where, their values, and their noise."""

    where: npt.NDArray[np.intp]
    values: Floats
    sigma: float


def sky_of(line: Floats, window: int = _WINDOW) -> _Sky | None:
    """Return the pixels of a line that a search looks at, None if there are too few."""
    there = np.flatnonzero(np.isfinite(line) & (line != 0))[: 2 * window]
    if there.size < _FEWEST:
        return None
    middle = np.median(line[there])
    steps = np.abs(np.diff(line[there]))
    sigma = float(np.median(steps)) / _MEDIAN_TO_SIGMA / 2**0.5
    if not 0 < sigma < np.inf:
        return None
    near = there[np.abs(line[there] - middle) < _SPAN * sigma][:window]
    return _Sky(near, line[near] - middle, sigma) if near.size >= _FEWEST else None


def _frequencies(sigma: float, low: float, high: float) -> Floats:
    """Return frequencies between two numbers of steps per sigma."""
    spacing = _OVERSAMPLING / (2 * _SPAN)
    return np.arange(low, high, spacing) / sigma


def search_place(line: Floats, near: float | None = None) -> Found | None:
    """Return step and place in the random numbers of a line of which nothing is known.

    Parameters
    ----------
    line : ndarray of float64
        A row of pixels.
    near : float or None
        A step that it may differ from by a third; None searches a wide range.
    """
    sky = sky_of(line)
    if sky is None:
        return None
    numbers = random_numbers()
    if near is None:
        found = _search_first(sky, numbers, _frequencies(sky.sigma, 1.0, _COARSE))
        return found or _search_all(sky, numbers, _frequencies(sky.sigma, 1.0, _NARROW))
    ratio = sky.sigma / near
    return _search_all(sky, numbers, _frequencies(sky.sigma, 0.7 * ratio, 1.4 * ratio))


def _search_first(sky: _Sky, numbers: Floats, frequencies: Floats) -> Found | None:
    """Search the places that whole images begin at."""
    places = np.arange(_FIRST_PLACES)
    turns = np.exp(2j * np.pi * numbers[places[:, None] + sky.where]).astype(np.complex64)
    waves = np.exp(2j * np.pi * sky.values[:, None] * frequencies).astype(np.complex64)
    size = np.abs(turns @ waves) / sky.where.size
    place, best = np.unravel_index(int(size.argmax()), size.shape)
    if size[place, best] < _PEAK:
        return None
    return Found(1 / float(frequencies[best]), 0.0, int(place))


def _search_all(sky: _Sky, numbers: Floats, frequencies: Floats) -> Found | None:
    """Search all places."""
    spectrum = np.fft.fft(np.exp(2j * np.pi * numbers), _PADDED)
    top, found = _PEAK, None
    for frequency in frequencies:
        wave = np.zeros(_PADDED, complex)
        wave[sky.where] = np.exp(-2j * np.pi * sky.values * frequency)
        size = np.abs(np.fft.ifft(spectrum * np.conj(np.fft.fft(wave))))[:COUNT] / sky.where.size
        place = int(size.argmax())
        if size[place] > top:
            top, found = float(size[place]), Found(1 / float(frequency), 0.0, place)
    return found


def search_step(line: Floats, shift: Floats, per_noise: float) -> Found | None:
    """Return the step of pixels whose random numbers (`shift`) are known.

    Parameters
    ----------
    line : ndarray of float64
        Pixels of a tile.
    shift : ndarray of float64
        Their random numbers.
    per_noise : float
        About how many steps the noise of `line_noise` is.
    """
    sky = sky_of(line)
    noise = line_noise(line)
    if sky is None or not noise > 0:
        return None
    turns = np.exp(2j * np.pi * shift[sky.where])
    expected = per_noise * sky.sigma / noise
    for low, high in _RANGES:
        frequencies = _frequencies(sky.sigma, low * expected, high * expected)
        if not frequencies.size:
            continue
        size = np.abs(turns @ _waves(sky, frequencies))
        best = int(size.argmax())
        if size[best] > _PEAK * sky.where.size:
            return refine_step(line, shift, 1 / float(frequencies[best]))
    return None


def _waves(sky: _Sky, frequencies: Floats) -> npt.NDArray[np.complexfloating]:
    """Return ``exp(2 pi i value frequency)`` for frequencies of equal distance."""
    out = np.empty((sky.values.size, frequencies.size), complex)
    out[:, 0] = np.exp(2j * np.pi * sky.values * frequencies[0])
    distance = frequencies[1] - frequencies[0] if frequencies.size > 1 else 0.0
    out[:, 1:] = np.exp(2j * np.pi * sky.values * distance)[:, None]
    return np.asarray(np.cumprod(out, axis=1))


def line_noise(line: Floats) -> float:
    """Return the noise of a line as fpack measures it, about: the least of three estimates."""
    good = line[np.isfinite(line) & (line != 0)]
    if good.size < _FEWEST:
        return 0.0
    second = np.abs(good[:-2] - good[2:])
    third = np.abs(2 * good[2:-2] - good[:-4] - good[4:])
    fifth = np.abs(6 * good[4:-4] - 4 * (good[2:-6] + good[6:-2]) + good[:-8] + good[8:])
    estimates = (np.median(d) * f for d, f in zip((third, second, fifth), FACTORS, strict=True))
    return float(min(estimates))


def find_lattice(values: Floats, sigma: float) -> Found | None:
    """Return step and phase of a lattice that plain values lie near, None if there is none.

    Parameters
    ----------
    values : ndarray of float64
        Finite.
    sigma : float
        Their noise.
    """
    middle = np.median(values)
    all_near = values[np.abs(values - middle) < _SPAN * sigma]
    near = all_near[:: max(1, all_near.size // _LATTICE_PIXELS)]
    if near.size < _FEWEST:
        return None
    sky = _Sky(np.arange(near.size), near - middle, sigma)
    frequencies = _frequencies(sigma, *_LATTICES)
    size = np.abs(_waves(sky, frequencies).mean(axis=0))
    if size.max() < _LATTICE_PEAK:
        return None
    peaks = np.flatnonzero(
        (size >= np.roll(size, 1)) & (size >= np.roll(size, -1)) & (size > _OVERTONE * size.max())
    )
    some = all_near[:: max(1, all_near.size // _REFINED)]
    step = 1 / float(frequencies[peaks[0]])
    turn = np.exp(2j * np.pi * (near - middle) / step).mean()
    zero = float(middle) + step * float(np.angle(turn)) / (2 * np.pi)
    for _ in range(_FITS):
        index = np.rint((some - zero) / step)
        clear = np.abs((some - zero) / step - index) < _CLEAR
        design = index[clear] - index[clear].mean()
        if np.count_nonzero(clear) < _LATTICE_PEAK * some.size or not design.any():
            return None
        step = float(design @ some[clear] / (design @ design))
        zero = float(some[clear].mean() - step * index[clear].mean())
    return Found(step, zero / step % 1.0) if step > 0 else None


def refine_step(line: Floats, shift: Floats, step: float) -> Found | None:
    """Return step and phase by least squares over more and more pixels; None if they disagree."""
    there = np.isfinite(line) & (line != 0)
    values, moves = line[there], shift[there] - 0.5
    middle = float(np.median(values))
    order = np.argsort(np.abs(values - middle), kind="stable")
    values, moves = values[order], moves[order]
    zero = middle
    count = min(_FEWEST, values.size)
    turn = np.exp(2j * np.pi * ((values[: 2 * count] - zero) / step + moves[: 2 * count])).mean()
    zero += step * float(np.angle(turn)) / (2 * np.pi)
    for _ in range(_ROUNDS):
        real = (values[:count] - zero) / step + moves[:count]
        index = np.rint(real)
        clear = np.abs(real - index) < 2 * _CLEAR
        place = index - moves[:count]
        if np.count_nonzero(clear) < 0.7 * count:
            return None
        xs, ys = place[clear], values[:count][clear]
        mean_x, mean_y = xs.mean(), ys.mean()
        spread = float(((xs - mean_x) ** 2).sum())
        step = float(((xs - mean_x) * (ys - mean_y)).sum()) / spread if spread else 0.0
        zero = mean_y - step * mean_x
        if not step > 0:
            return None
        if count == values.size:
            break
        count = min(2 * count, values.size)
    real = (values - zero) / step + moves
    if np.mean(np.abs(real - np.rint(real)) < _CLEAR) < 1 - 0.02:
        return None
    return Found(float(step), float(zero / step % 1.0))


def snap_step(line: npt.NDArray[np.floating], shift: Floats, step: float) -> float:
    """Return the step of fpack next to a measured one that gives most values bit by bit."""
    there = np.isfinite(line) & (line != 0)
    values, moves = line[there].astype(np.float64), shift[there]
    wanted = line[there]
    candidates = near_steps(step)
    some = slice(None, None, max(1, values.size // _SNAPPED))
    best, most = step, -1
    for candidate in candidates:
        hits = _hits(wanted[some], values[some], moves[some], candidate)
        if hits == wanted[some].size:
            hits = _hits(wanted, values, moves, candidate)
            if hits == wanted.size:
                return candidate
        if hits > most:
            best, most = candidate, hits
    return best


def near_steps(step: float) -> list[float]:
    """Return a measured step and those of fpack next to it, nearest first."""
    candidates = [step]
    for factor in FACTORS:  # tiles of many rows take the mean of two: half of a last digit
        noise = float(np.float32(step / factor))
        half = float(np.spacing(np.float32(noise))) / 2
        candidates += [(noise + n * half) * factor for n in _DIGITS]
    return candidates


def snap_null_zero(
    line: npt.NDArray[np.floating], shift: Floats, step: float, zero: float
) -> tuple[float, float]:
    """Return step and zero of a tile in which some integers stand for themselves.

    There fpack puts the zero 2**31 steps away, so that float64 rounds to what float32 can show.
    """
    there = np.flatnonzero(np.isfinite(line) & (line != 0))
    there = there[:: max(1, there.size // _SNAPPED)]
    values, moves, wanted = line[there].astype(np.float64), shift[there], line[there]
    index = np.rint((values - zero) / step - 0.5 + moves)
    index -= index.min()
    best, most = (step, zero), -1
    for candidate in near_steps(step):
        least = float(np.mean(values - ((index - moves) + 0.5) * candidate))
        for first in (0.0, 1.0, -1.0):
            products = ((index + (first + FIRST_INDEX) - moves) + 0.5) * candidate
            middle = least - first * candidate - candidate * FIRST_INDEX
            unit = float(np.spacing(middle))
            for n in _ULPS:
                found = middle + n * unit
                hits = np.count_nonzero((products + found).astype(line.dtype) == wanted)
                if hits > most:
                    best, most = (candidate, found), int(hits)
                if most == wanted.size:
                    return best
    return best


def _hits(wanted: npt.NDArray[np.floating], values: Floats, moves: Floats, step: float) -> int:
    """Return how many values a step gives bit by bit."""
    index = np.rint(values / step - 0.5 + moves)
    return int(np.count_nonzero((((index - moves) + 0.5) * step).astype(wanted.dtype) == wanted))
