"""What the details of an H-transform are likely to be, told from coarser pixels, in integers.

The sums of a level are known before its details. Their gradient tells where details lie, their
roughness, and that of details already coded, how far from there they may be. For each level and
kind of detail a few weights and a table for each class of roughness are fitted to the image.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, encode_varint, unzigzag, zigzag
from astro_vq.codec.haar import Level, count_units, units
from astro_vq.entropy import tables
from astro_vq.entropy.local_scale import Selection, integer_log2, place_tables
from astro_vq.errors import FormatError

KINDS = 3  # down, across, cross
WEIGHT_STEPS = 256
_FEATURES = 2
_CLASS_LOG = 128  # half octaves
_LARGEST = 1 << 40
_SAMPLE = 30_000
_PER_CLASS = 4000
_FEWEST = 40
_CHOICE_BITS = 16.0
_MOST_LEVELS, _MOST_CLASSES = 16, 64

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class BandModel:
    """How one kind of detail of one level is coded.

    Parameters
    ----------
    weights : tuple of int
        Of the gradients, in 1/256.
    first_class : int
        Class of roughness (half octaves) that the first entry of `choices` is for.
    choices : tuple of (int, int)
        Shape and scale index of each class; classes beyond use the nearest.
    """

    weights: tuple[int, int]
    first_class: int
    choices: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        """Return the model as bytes."""
        numbers = [*self.weights, self.first_class, len(self.choices)]
        shapes, scales = zip(*self.choices, strict=True)
        numbers += [*shapes, scales[0], *np.diff(scales).tolist()]
        return b"".join(encode_varint(zigzag(int(n))) for n in numbers)

    @classmethod
    def read(cls, reader: ByteReader) -> "BandModel":
        """Read what `to_bytes` wrote.

        Raises
        ------
        FormatError
            If the bytes are damaged.
        """
        first, second, lowest, count = (unzigzag(reader.varint(1 << 32)) for _ in range(4))
        if not 0 < count <= _MOST_CLASSES or max(abs(first), abs(second)) > 1 << 16:
            raise FormatError("damaged pixel stream: a model of details is impossible")
        shapes = [unzigzag(reader.varint(1 << 16)) for _ in range(count)]
        scales = np.cumsum([unzigzag(reader.varint(1 << 16)) for _ in range(count)]).tolist()
        if not all(0 <= shape < tables.count_shapes() for shape in shapes):
            raise FormatError("damaged pixel stream: a model of details is impossible")
        return cls((first, second), lowest, tuple(zip(shapes, scales, strict=True)))


class Bands:
    """Models of all levels, finest first; coarser levels than there are use the last.

    Parameters
    ----------
    models : sequence of tuple of BandModel
        Three for each level.
    """

    def __init__(self, models: Sequence[tuple[BandModel, ...]]) -> None:
        self._models = tuple(models)

    def select(self, blocks: Level, level: int, kind: int, step: int) -> tuple[Selection, Integers]:
        """Return tables of details of a kind (0, 1, 2), and the middles they are counted from.

        Parameters
        ----------
        blocks : Level
            `total`, and the details of kinds before this one.
        level : int
            0 is the finest.
        kind : int
            Which details.
        step : int
            SCALE of HCOMPRESS.
        """
        model = self._models[min(level, len(self._models) - 1)][kind]
        gradients, roughness = features(blocks, level, kind, step)
        middle = predict(gradients, model.weights, units(level, step)[kind == 2])
        choices = np.array(model.choices, np.int64)
        entry = choices[np.clip(roughness - model.first_class, 0, len(choices) - 1)]
        selection = place_tables(entry[..., 0], entry[..., 1], middle)
        return selection, selection.middle

    def to_bytes(self) -> bytes:
        """Return the models as bytes."""
        models = [model.to_bytes() for level in self._models for model in level]
        return encode_varint(len(self._models)) + b"".join(models)

    @classmethod
    def read(cls, data: bytes) -> "Bands":
        """Read what `to_bytes` wrote.

        Raises
        ------
        FormatError
            If the bytes are damaged.
        """
        reader = ByteReader(data)
        count = reader.varint(_MOST_LEVELS)
        if not count:
            raise FormatError("damaged pixel stream: a model of details is missing")
        levels = [tuple(BandModel.read(reader) for _ in range(KINDS)) for _ in range(count)]
        reader.finish()
        return cls(levels)


def predict(gradients: Integers, weights: tuple[int, int], unit: int) -> Integers:
    """Return the middles of details in sixteenths of their unit."""
    total = sum(weight * gradient for weight, gradient in zip(weights, gradients, strict=True))
    return np.asarray(total * 16 // (WEIGHT_STEPS * unit))


def features(blocks: Level, level: int, kind: int, step: int) -> tuple[Integers, Integers]:
    """Return two gradients (2, h, w) and the class of roughness (h, w) of details of a kind."""
    total = np.clip(blocks.total, -_LARGEST, _LARGEST)
    near = _shifted(total)
    rough = sum(np.abs(near[y][x] - total) for y in range(3) for x in range(3))
    count = 8
    for before in (blocks.down, blocks.across)[:kind]:
        rough = rough + _box(np.abs(np.clip(before, -_LARGEST, _LARGEST)))
        count += 9
    if kind == 0:
        gradients = near[2][1] - near[0][1], _apart(total, 0)
    elif kind == 1:
        gradients = near[1][2] - near[1][0], _apart(total, 1)
    else:
        down = _shifted(np.clip(blocks.down, -_LARGEST, _LARGEST))
        across = _shifted(np.clip(blocks.across, -_LARGEST, _LARGEST))
        gradients = down[1][2] - down[1][0], across[2][1] - across[0][1]
    unit = units(level, step)[kind == 2]
    return np.stack(gradients), integer_log2(64 * rough // (count * unit) + 8) // _CLASS_LOG


def _shifted(plane: Integers) -> list[list[Integers]]:
    """Return a plane moved by -1, 0, 1 rows and columns, its edges repeated."""
    h, w = plane.shape
    padded = np.pad(plane, 1, mode="edge")
    return [[padded[y : y + h, x : x + w] for x in range(3)] for y in range(3)]


def _box(plane: Integers) -> Integers:
    """Return the sum over three by three."""
    near = _shifted(plane)
    return np.asarray(sum(near[y][x] for y in range(3) for x in range(3)))


def _apart(plane: Integers, axis: int) -> Integers:
    """Return differences of pixels two before and two after along an axis."""
    pads = [(0, 0), (0, 0)]
    pads[axis] = (2, 2)
    padded, n = np.pad(plane, pads, mode="edge"), plane.shape[axis]
    after = np.take(padded, np.arange(n) + 4, axis=axis)
    return np.asarray(after - np.take(padded, np.arange(n), axis=axis))


def fit_bands(images: Sequence[Sequence[Level]], step: int) -> Bands:
    """Return models fitted to the levels (finest first) of some planes."""
    depth = max(len(levels) for levels in images)
    models = []
    for level in range(depth):
        blocks = [levels[level] for levels in images if len(levels) > level]
        models.append(tuple(_fit(blocks, level, kind, step) for kind in range(KINDS)))
    return Bands(models)


def _fit(blocks: Sequence[Level], level: int, kind: int, step: int) -> BandModel:
    unit = units(level, step)[kind == 2]
    near = [features(b, level, kind, step) for b in blocks]
    gradients = np.concatenate([g.reshape(_FEATURES, -1) for g, _ in near], axis=1)
    classes = np.concatenate([c.ravel() for _, c in near])
    counts = np.concatenate([count_units(b[1 + kind], unit).ravel() for b in blocks])
    thin = slice(None, None, max(1, counts.size // _SAMPLE))
    gradients, classes, counts = gradients[:, thin], classes[thin], counts[thin]
    fits = []
    for weights in {(0, 0), _weights(gradients, classes, counts, unit)}:
        error = counts - predict(gradients, weights, unit) / 16
        first, choices, bits = _choose(classes, error)
        fits.append((bits, BandModel(weights, first, tuple(choices))))
    return min(fits, key=lambda fit: fit[0])[1]


def _weights(
    gradients: Integers, classes: Integers, counts: Integers, unit: int
) -> tuple[int, int]:
    """Return weights by least squares in units of the roughness, robust against outliers."""
    local = 2.0 ** (classes / 2)
    design, target = gradients.T / unit / local[:, None], counts / local
    weight: npt.NDArray[Any] = np.ones(len(target))
    solution = np.zeros(_FEATURES)
    for _ in range(3):
        rows = design * weight[:, None]
        gram = rows.T @ rows + 1e-6 * max(len(target), 1) * np.eye(_FEATURES)
        solution = np.linalg.solve(gram, rows.T @ (target * weight))
        error = np.abs(target - design @ solution)
        typical = np.median(error) + 1e-9
        weight = 1 / (1 + (error / (4 * typical)) ** 2)
    a, b = np.clip(np.rint(solution * WEIGHT_STEPS), -512, 512).astype(int).tolist()
    return a, b


def _choose(
    classes: Integers, error: npt.NDArray[np.float64]
) -> tuple[int, list[tuple[int, int]], float]:
    """Return the first class, shape and scale of each class, and the bits that all need."""
    if not classes.size:
        return 0, [(0, 0)], 0.0
    first, last = np.quantile(classes, [0.001, 0.999], method="nearest").astype(int).tolist()
    last = min(last, first + _MOST_CLASSES - 1)
    classes = np.clip(classes, first, last)
    entries: list[tuple[int, int]] = []
    bits = 0.0
    overall = _best(error[:: max(1, error.size // _PER_CLASS)])
    for number in range(first, last + 1):
        members = np.flatnonzero(classes == number)
        some = error[members[:: max(1, members.size // _PER_CLASS)]]
        before = entries[-1] if entries else overall
        best = before
        if some.size >= _FEWEST:
            own = _best(some)
            saved = (_cost(before, some) - _cost(own, some)) * members.size
            best = own if saved > _CHOICE_BITS else before
        if some.size:
            bits += _cost(best, some) * members.size
        entries.append(best)
    return first, entries, bits


def _cost(choice: tuple[int, int], error: npt.NDArray[np.float64]) -> float:
    scale = 2.0 ** (choice[1] / tables.SCALE_STEPS + tables.SMALLEST_LOG)
    return _ideal_bits(choice[0], np.full(error.shape, scale), error)


def _best(error: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Return shape and scale index of least cost."""
    typical = np.quantile(np.abs(error), 0.68) + 2.0**-4
    start = int(np.rint((np.log2(typical) - tables.SMALLEST_LOG) * tables.SCALE_STEPS))
    choice = (0, max(start, 0))
    shapes = range(0, tables.count_shapes(), 2)
    steps = range(max(start - 16, 0), start + 17, 4)
    choice = min(((k, s) for k in shapes for s in steps), key=lambda c: _cost(c, error))
    for reach in (2, 1, 1):
        near = [
            (k, s)
            for k in {choice[0] - 1, choice[0], choice[0] + 1}
            for s in (choice[1] - reach, choice[1], choice[1] + reach)
            if 0 <= k < tables.count_shapes() and s >= 0
        ]
        choice = min(near, key=lambda c: _cost(c, error))
    return choice


def _ideal_bits(shape: int, scale: npt.NDArray[Any], error: npt.NDArray[Any]) -> float:
    """Return the mean code length of integers at distance `error` from the predictions."""
    half = tables.upper_half(shape)
    grid = np.arange(half.size) / tables.GRID

    def upper(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(np.sign(x) * np.interp(np.abs(x), grid, half))

    size = np.abs(error)
    mass = upper((size + 0.5) / scale) - upper((size - 0.5) / scale)
    return float(-np.log2(mass + 2.0**-22 / (1 + size)).mean())
