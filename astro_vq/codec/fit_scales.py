"""Fit the scale models of an image: which table serves which pixel best.

Only encoders run this; floating point is fine here, since all that comes out is rounded and stored.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.lattice import Phase
from astro_vq.codec.predict import Weights, round_prediction, sample_phase
from astro_vq.codec.scale_models import encode_model
from astro_vq.entropy import tables
from astro_vq.entropy.local_scale import (
    CLASS_SCALES,
    COEFFICIENT_STEPS,
    CONSTANT_STEPS,
    LOG_STEPS,
    ScaleModel,
    local_logs,
    predict_scale,
)

_SAMPLE = 40_000
_PER_CLASS = 3000
_FEWEST = 60  # pixels that a class needs to choose for itself
_STEPS = tuple(range(-10, 11))
_LOWEST, _HIGHEST = -16, 15  # of a correction
_CLASSES = 24
_CHOICE_BITS = 10.0

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class _Part(NamedTuple):
    """Pixels of one phase: logarithms of local scales (3, n) and distances to predictions (n,)."""

    logs: Integers
    error: Floats


def fit_scale_model(
    stacks: Sequence[npt.NDArray[Any]],
    level: int,
    kind: int,
    weights: Sequence[Weights],
    *,
    targets: Sequence[npt.NDArray[Any]] | None = None,
    loop: int = 1,
    inherited: ScaleModel | None = None,
    share: float = 1.0,
) -> ScaleModel | None:
    """Return the scale model of a kind of pixels fitted over complete stacks of tiles.

    None if it would cost more bits than it saves.

    Parameters
    ----------
    stacks : sequence of ndarray, shape (B, H, W) each
        Integers without holes.
    level, kind : int
        Which pixels.
    weights : sequence of ndarray of int64, shape (25,)
        Predictors of the four phases of this kind.
    targets : sequence of ndarray, shape (B, H, W) each
        What pixels are, where that differs from what decoders know of them.
    loop : int
        Indices per step that residuals are counted in.
    inherited : ScaleModel or None
        What is used where there is none.
    share : float
        Pixels of the image for each pixel of the stacks.
    """
    parts = []
    pixels = 0
    for number, own in enumerate(weights):
        sample = sample_phase(stacks, Phase(level, 4 * kind + number), _SAMPLE // 4, targets)
        pixels += sum(Phase(level, 4 * kind + number).pixels(s).size for s in stacks)
        prediction = sample.predict(own)
        logs = local_logs(sample.neighbours, prediction)
        error = sample.values - prediction / 16
        if loop > 1:
            error = (sample.values - round_prediction(prediction)) / loop
        parts.append(_Part(logs, error))
    weight = share * pixels / max(sum(p.error.size for p in parts), 1)
    model = _choose(_regress(parts), parts, weight)
    if inherited is None:
        return model
    saved = weight * (_model_bits(inherited, parts) - _model_bits(model, parts))
    return model if saved > 8 * len(encode_model(model)) else None


def _regress(parts: Sequence[_Part]) -> ScaleModel:
    """Least squares of the logarithm of the error's size on those of the local scales."""
    target = np.concatenate([np.log2(np.abs(p.error) + 0.25) for p in parts])
    design = np.concatenate([p.logs for p in parts], axis=1).T / LOG_STEPS
    part = np.repeat(np.arange(len(parts)), [p.error.size for p in parts])
    full = np.concatenate([np.eye(len(parts))[part], design], axis=1)
    ridge = np.diag([1e-9] * len(parts) + [1e-3] * 3)
    solution = np.linalg.solve(full.T @ full + len(target) * ridge, full.T @ target)
    slopes = np.clip(np.rint(solution[-3:] * COEFFICIENT_STEPS), -127, 127).astype(int)
    rest = target - design @ (slopes / COEFFICIENT_STEPS)
    level = [rest[part == i].mean() if (part == i).any() else rest.mean() for i in range(4)]
    a, b, c, d = np.rint(np.clip(level, -60, 60) * CONSTANT_STEPS).astype(int).tolist()
    slope = (int(slopes[0]), int(slopes[1]), int(slopes[2]))
    return ScaleModel((a, b, c, d), slope, 0, ((0, 0),))


def _model_bits(model: ScaleModel, parts: Sequence[_Part]) -> float:
    """Return the ideal code length of all pixels of the parts."""
    raw = np.concatenate([predict_scale(p.logs, model, i) for i, p in enumerate(parts)])
    error = np.concatenate([p.error for p in parts])
    last = len(model.choices) - 1
    entry = np.clip(raw // CLASS_SCALES - model.first_class, 0, last)
    total = 0.0
    for number, choice in enumerate(model.choices):
        members = entry == number
        if members.any():
            total += members.sum() * _choice_bits(choice, raw[members], error[members])
    return total


def _choice_bits(choice: tuple[int, int], raw: Integers, error: Floats) -> float:
    """Return the mean ideal code length under a shape and a correction."""
    shape, step = choice
    scale = 2.0 ** ((raw + step) / tables.SCALE_STEPS + tables.SMALLEST_LOG)
    return ideal_bits(shape, np.maximum(scale, 2.0**tables.SMALLEST_LOG), error)


def _choose(model: ScaleModel, parts: Sequence[_Part], weight: float) -> ScaleModel:
    """Give each class of scales the shape and correction that cost least.

    A class takes over the choice of its neighbour towards the most frequent one where its own
    would save less than it costs; each pixel of the parts stands for `weight` pixels.
    """
    raw = np.concatenate([predict_scale(p.logs, model, i) for i, p in enumerate(parts)])
    error = np.concatenate([p.error for p in parts])
    classes = raw // CLASS_SCALES
    first, last = np.quantile(classes, [0.002, 0.998], method="nearest").astype(int)
    last = min(last, first + _CLASSES - 1)
    classes = np.clip(classes, first, last)
    choices: list[tuple[int, int] | None] = []
    for number in range(first, last + 1):
        members = np.flatnonzero(classes == number)
        members = members[:: max(1, members.size // _PER_CLASS)]
        enough = members.size >= _FEWEST
        choices.append(_best(raw[members], error[members]) if enough else None)
    known = [i for i, choice in enumerate(choices) if choice is not None]
    if not known:
        choices, known = [_best(raw, error)] * len(choices), [0]
    filled = [choices[min(known, key=lambda k: abs(k - i))] for i in range(len(choices))]
    entries = [choice for choice in filled if choice is not None]
    counts = np.bincount(classes - first, minlength=len(entries))
    middle = int(counts.argmax())
    outward = [(i, i - 1) for i in range(middle + 1, len(entries))]
    outward += [(i, i + 1) for i in range(middle - 1, -1, -1)]
    for i, towards in outward:
        members = np.flatnonzero(classes == first + i)
        members = members[:: max(1, members.size // _PER_CLASS)]
        if members.size:
            own, other = (
                _choice_bits(entries[k], raw[members], error[members]) for k in (i, towards)
            )
            saved = (other - own) * counts[i] * weight
        if not members.size or saved < _CHOICE_BITS:
            entries[i] = entries[towards]
    start = int(first)
    while len(entries) > 1 and entries[-1] == entries[-2]:  # classes beyond use the nearest
        entries.pop()
    while len(entries) > 1 and entries[0] == entries[1]:
        entries.pop(0)
        start += 1
    return ScaleModel(model.constants, model.slopes, start, tuple(entries))


def _best(raw: Integers, error: Floats) -> tuple[int, int]:
    """Return shape and correction of least ideal code length."""
    shapes = range(tables.count_shapes())
    cost: dict[tuple[int, int], float] = {}

    def measure(shape: int, step: int) -> float:
        if (shape, step) not in cost:
            cost[shape, step] = _choice_bits((shape, step), raw, error)
        return cost[shape, step]

    shape = min(shapes[::2], key=lambda k: min(measure(k, s) for s in _STEPS[::4]))
    for _ in range(3):
        step = min(_STEPS, key=lambda s: measure(shape, s))
        near = [k for k in (shape - 1, shape, shape + 1) if k in shapes]
        shape = min(near, key=lambda k: min(measure(k, s) for s in (step - 1, step, step + 1)))
    step = min(range(_LOWEST, _HIGHEST + 1), key=lambda s: measure(shape, s))
    return shape, step


def ideal_bits(shape: int, scale: Floats, error: Floats) -> float:
    """Return the mean code length of integers at distance `error` from the predictions."""
    half = tables.upper_half(shape)
    grid = np.arange(half.size) / tables.GRID

    def upper(x: Floats) -> Floats:
        return np.sign(x) * np.interp(np.abs(x), grid, half)

    size = np.abs(error)
    mass = upper((size + 0.5) / scale) - upper((size - 0.5) / scale)
    return float(-np.log2(mass + 2.0**-22 / (1 + size)).mean())
