"""What a codebook holds and how it is used: counts, distances, and what each code draws.

Works for every model whose tokens are maps: one codebook, levels of a residual quantiser, finite
scalar quantisers, and both levels of a VQ-VAE-2.  Each is a `Level` here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_vq.checkpoint import LoadedModel
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.datasets import CutoutDataset, collate
from astro_vq.errors import DataError, ModelMismatchError
from astro_vq.models import Model
from astro_vq.quantizers import Quantizer

FloatArray = NDArray[np.float64]

LARGEST_DRAWN = 1024
"""Codes that are drawn and shown at most, the most used first."""

_CHUNK = 64  # codes decoded at a time
_AROUND = 2  # tokens of sky on each side of a code that is drawn
_EXAMPLE_TOKENS = 4  # side of an example, in tokens of its level


class Level(NamedTuple):
    """One codebook of a model.

    Attributes
    ----------
    name : str
        Such as ``codes``, ``level 2``, ``top``.
    quantizer : Quantizer
        That it belongs to.
    depth : int
        Which of the indices of that quantiser.
    slots : tuple of int
        Channels of the model's index map that hold its indices.
    finer : int
        Tokens of this level along a side of one position of the model's index map.
    """

    name: str
    quantizer: Quantizer
    depth: int
    slots: tuple[int, ...]
    finer: int


@dataclass(frozen=True)
class LevelStudy:
    """One codebook and its use.

    Attributes
    ----------
    name : str
        Of the level.
    vectors : ndarray, shape (codes, D)
        The codes.
    counts : ndarray of int64, shape (codes,)
        How often each was used; all zero without data.
    drawings : ndarray, shape (n, C, S, S)
        What each of the `drawn` codes draws amid the most frequent codes, network units.
    drawn : ndarray of int64, shape (n,)
        Indices of the codes that were drawn, in order of similarity.
    nearest : ndarray, shape (codes,)
        Distance of each code to the nearest other one.
    order : ndarray of int64, shape (codes,)
        All codes, each beside similar ones.
    projection : ndarray, shape (codes, 2)
        On the first two principal components.
    explained : float
        Share of the variance of the codes that these two hold.
    examples : dict of int to ndarray (n, S, S)
        Pieces of the data where a code is used, from the cutouts that use it most; first channel,
        network units.
    """

    name: str
    vectors: FloatArray
    counts: NDArray[np.int64]
    drawings: NDArray[np.float32]
    drawn: NDArray[np.int64]
    nearest: FloatArray
    order: NDArray[np.int64]
    projection: FloatArray
    explained: float
    examples: dict[int, NDArray[np.float32]]

    @property
    def entropy_bits(self) -> float:
        """Entropy of the use of codes: bits per token that a static table reaches."""
        share = self.counts[self.counts > 0] / max(int(self.counts.sum()), 1)
        return float(-(share * np.log2(share)).sum())

    @property
    def perplexity(self) -> float:
        """2 to the entropy: as many evenly used codes would cost the same."""
        return float(2**self.entropy_bits)

    @property
    def dead(self) -> int:
        """Codes that were never used."""
        return int((self.counts == 0).sum())

    def to_dict(self) -> dict[str, Any]:
        """Return figures as JSON values."""
        codes = len(self.counts)
        has_data = bool(self.counts.any())
        return {
            "name": self.name,
            "codes": codes,
            "dimension": int(self.vectors.shape[1]),
            "tokens": int(self.counts.sum()),
            "entropy_bits": self.entropy_bits if has_data else None,
            "even_bits": math.log2(codes),
            "perplexity": self.perplexity if has_data else None,
            "dead": self.dead if has_data else None,
            "nearest_distance_median": float(np.median(self.nearest)),
            "nearest_distance_smallest": float(self.nearest.min()),
            "projection_explained": self.explained,
            "counts": self.counts.tolist(),
            "order": self.order.tolist(),
        }


@dataclass(frozen=True)
class CodebookStudy:
    """All codebooks of a model.

    Attributes
    ----------
    levels : list of LevelStudy
        One or more.
    cutouts : int
        Number of cutouts that the use was counted on.
    stride : int
        Pixels along a side of one position of the model's index map.
    image : ndarray (H, W) or None
        One cutout or image, network units, and below its codes.
    image_codes : list of ndarray (h, w) of int64
        For each level the codes of `image`.
    """

    levels: list[LevelStudy]
    cutouts: int
    stride: int
    image: NDArray[np.float32] | None
    image_codes: list[NDArray[np.int64]]


def find_levels(model: Model) -> list[Level]:
    """Return the codebooks of a model.

    Raises
    ------
    ModelMismatchError
        The model has no codebook.
    """
    top, bottom = getattr(model, "top", None), getattr(model, "bottom", None)
    if isinstance(top, Quantizer) and isinstance(bottom, Quantizer):
        depth = bottom.depth
        levels = []
        for k in range(depth):
            suffix = f" {k + 1}" if depth > 1 else ""
            levels.append(Level(f"top{suffix}", top, k, (k,), 1))
            slots = tuple((1 + block) * depth + k for block in range(4))
            levels.append(Level(f"bottom{suffix}", bottom, k, slots, 2))
        return levels
    quantizer = getattr(model, "quantizer", None)
    if not isinstance(quantizer, Quantizer):
        raise ModelMismatchError(
            f"a {type(model).__name__} has no codebook; take a VQ-VAE or another model with tokens"
        )
    if quantizer.depth == 1:
        return [Level("codes", quantizer, 0, (0,), 1)]
    return [Level(f"level {k + 1}", quantizer, k, (k,), 1) for k in range(quantizer.depth)]


@torch.inference_mode()
def code_vectors(level: Level) -> FloatArray:
    """Return what each code of a level adds to the quantised latent, (codes, D)."""
    quantizer = level.quantizer
    device = _device_of(quantizer)
    indices = torch.zeros(1, quantizer.depth, 1, quantizer.codes, dtype=torch.int64, device=device)
    base = quantizer.lookup(indices)
    indices[0, level.depth, 0] = torch.arange(quantizer.codes, device=device)
    vectors = quantizer.lookup(indices)
    if level.depth > 0:
        vectors = vectors - base
    return np.asarray(vectors[0, :, 0].T.double().cpu().numpy())


def _device_of(module: torch.nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def study_codebooks(
    loaded: LoadedModel,
    index: CutoutIndex | None = None,
    *,
    cutout_size: int = 64,
    max_cutouts: int = 1024,
    image: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> CodebookStudy:
    """Measure the codebooks of a model and their use on data.

    Parameters
    ----------
    loaded : LoadedModel
        A model with tokens.
    index : CutoutIndex, optional
        Images to count the use of codes on; without, only the codes themselves are described.
    cutout_size : int
        Side of the cutouts in pixels; made a multiple of the model's stride.
    max_cutouts : int
        Cutouts used at most, spread over all images.
    image : ndarray, shape (C, H, W) or (H, W), optional
        Image in network units to map the use of codes over; the cutout with most different codes
        when not given.
    seed : int
        Of the places of cutouts.

    Returns
    -------
    CodebookStudy

    Raises
    ------
    ModelMismatchError
        The model has no codebook, or takes other channels than the data has.
    """
    model = loaded.model
    levels = find_levels(model)
    size = max(cutout_size // model.stride, 2) * model.stride
    counted = None
    if index is not None:
        if index.channels != model.channels:
            raise ModelMismatchError(
                f"model {loaded.name!r} takes {model.channels} channels, the data has "
                f"{index.channels}"
            )
        counted = _count(model, index, size, max_cutouts, seed)
    pixels = image if image is None or image.ndim == 3 else image[None]
    if pixels is None and counted is not None:
        pixels = counted.pixels[counted.richest()]
    studies = []
    for number, level in enumerate(levels):
        tokens = None if counted is None else counted.maps(level)
        studies.append(_study_level(model, levels, number, tokens, counted))
    codes: list[NDArray[np.int64]] = []
    if pixels is not None:
        pixels = _whole_positions(pixels, model.stride)
        indices = _encode(model, torch.from_numpy(np.ascontiguousarray(pixels))[None])
        codes = [_level_maps(indices, level)[0] for level in levels]
    return CodebookStudy(
        levels=studies,
        cutouts=0 if counted is None else len(counted.pixels),
        stride=model.stride,
        image=None if pixels is None else np.asarray(pixels[0]),
        image_codes=codes,
    )


def _whole_positions(pixels: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    height, width = (n // stride * stride for n in pixels.shape[1:])
    if min(height, width) == 0:
        raise DataError(f"the image must have at least {stride} x {stride} pixels")
    return np.nan_to_num(pixels[:, :height, :width]).astype(np.float32)


class _Counted(NamedTuple):
    """Cutouts (N, C, S, S) and their indices (N, K, h, w)."""

    pixels: NDArray[np.float32]
    indices: NDArray[np.int64]

    def maps(self, level: Level) -> NDArray[np.int64]:
        return _level_maps(self.indices, level)

    def richest(self) -> int:
        """Return the cutout with the largest number of different codes."""
        flat = self.indices.reshape(len(self.indices), -1)
        return int(np.argmax([np.unique(row).size for row in flat]))


def _count(model: Model, index: CutoutIndex, size: int, max_cutouts: int, seed: int) -> _Counted:
    data = CutoutDataset(index, size=size, source_fraction=0.5, seed=seed)
    chosen = np.unique(np.linspace(0, len(data) - 1, min(max_cutouts, len(data))).astype(int))
    pixels, indices = [], []
    for start in range(0, len(chosen), 16):
        batch = collate([data[int(i)] for i in chosen[start : start + 16]])
        pixels.append(batch.pixels.numpy())
        indices.append(_encode(model, batch.pixels))
    return _Counted(np.concatenate(pixels), np.concatenate(indices))


@torch.inference_mode()
def _encode(model: Model, pixels: Tensor) -> NDArray[np.int64]:
    indices: Tensor = model.encode_indices(pixels.to(_device_of(model)))  # type: ignore[operator]
    return np.asarray(indices.cpu().numpy(), dtype=np.int64)


def _level_maps(indices: NDArray[np.int64], level: Level) -> NDArray[np.int64]:
    """Return the codes (N, h, w) of a level from index maps (N, K, h, w) of a model."""
    if level.finer == 1:
        return indices[:, level.slots[0]]
    count, _, height, width = indices.shape
    side = level.finer
    blocks = indices[:, level.slots].reshape(count, side, side, height, width)
    return blocks.transpose(0, 3, 1, 4, 2).reshape(count, height * side, width * side)


def _study_level(
    model: Model,
    levels: list[Level],
    number: int,
    tokens: NDArray[np.int64] | None,
    counted: _Counted | None,
) -> LevelStudy:
    level = levels[number]
    vectors = code_vectors(level)
    codes = level.quantizer.codes
    counts = np.zeros(codes, dtype=np.int64)
    if tokens is not None:
        counts = np.bincount(tokens.ravel(), minlength=codes).astype(np.int64)
    order = similarity_order(vectors, start=int(np.argmax(counts)))
    drawn = order
    if codes > LARGEST_DRAWN:
        used = np.argsort(-counts, kind="stable")[:LARGEST_DRAWN]
        drawn = order[np.isin(order, used)]
    projection, explained = project(vectors)
    examples: dict[int, NDArray[np.float32]] = {}
    if tokens is not None and counted is not None:
        pixels_per_token = model.stride // level.finer
        examples = _find_examples(tokens, counted.pixels[:, 0], pixels_per_token, codes)
    return LevelStudy(
        name=level.name,
        vectors=vectors,
        counts=counts,
        drawings=_draw(model, level, drawn, _background(model, counted)),
        drawn=drawn,
        nearest=nearest_distances(vectors),
        order=order,
        projection=projection,
        explained=explained,
        examples=examples,
    )


def _background(model: Model, counted: _Counted | None) -> NDArray[np.int64]:
    """Return the index of each channel of the index map that is drawn around a code.

    The most frequent ones of the data; without data those of an empty sky.
    """
    if counted is None:
        side = 8 * model.stride
        indices = _encode(model, torch.zeros(1, model.channels, side, side))
    else:
        indices = counted.indices
    slots = indices.swapaxes(0, 1).reshape(indices.shape[1], -1)
    return np.array([np.bincount(slot).argmax() for slot in slots])


@torch.inference_mode()
def _draw(
    model: Model, level: Level, drawn: NDArray[np.int64], background: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Decode each code at the middle of a field of the background."""
    device = _device_of(model)
    side = 2 * _AROUND + 1 + 2 * int(model.halo)
    middle = side // 2
    base = torch.from_numpy(background).to(device)[None, :, None, None].expand(-1, -1, side, side)
    near = slice((middle - 1) * model.stride, (middle + 2) * model.stride)
    pieces = []
    for start in range(0, len(drawn), _CHUNK):
        codes = torch.from_numpy(drawn[start : start + _CHUNK]).to(device)
        indices = base.repeat(len(codes), 1, 1, 1)
        indices[:, level.slots[0], middle, middle] = codes
        decoded: Tensor = model.decode_indices(indices)  # type: ignore[operator]
        pieces.append(decoded[:, :, near, near].float().cpu().numpy())
    return np.concatenate(pieces)


def _find_examples(
    tokens: NDArray[np.int64],
    pixels: NDArray[np.float32],
    stride: int,
    codes: int,
    *,
    most: int = 4,
) -> dict[int, NDArray[np.float32]]:
    """Return pieces of the cutouts that use each code most, around a place where they do."""
    flat = tokens.reshape(len(tokens), -1)
    side = _EXAMPLE_TOKENS * stride
    padded = np.pad(pixels, ((0, 0), (side, side), (side, side)))
    use = np.zeros((len(tokens), codes), dtype=np.int32)
    for number, row in enumerate(flat):
        use[number] = np.bincount(row, minlength=codes)
    examples = {}
    for code in np.flatnonzero(use.any(0))[: 4 * LARGEST_DRAWN]:
        best = np.argsort(-use[:, code], kind="stable")[:most]
        pieces = []
        for number in best[use[best, code] > 0]:
            places = np.argwhere(tokens[number] == code)
            y, x = places[len(places) // 2]
            top = y * stride + stride // 2 - side // 2 + side
            left = x * stride + stride // 2 - side // 2 + side
            pieces.append(padded[number, top : top + side, left : left + side])
        examples[int(code)] = np.stack(pieces)
    return examples


def nearest_distances(vectors: FloatArray) -> FloatArray:
    """Return the distance of each code (codes, D) to the nearest other one, in chunks."""
    squares = (vectors**2).sum(1)
    nearest = np.empty(len(vectors))
    for start in range(0, len(vectors), 1024):
        part = vectors[start : start + 1024]
        distance = squares[start : start + 1024, None] + squares[None] - 2 * part @ vectors.T
        distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        nearest[start : start + 1024] = distance.min(1)
    return np.sqrt(np.maximum(nearest, 0.0))


def similarity_order(vectors: FloatArray, *, start: int = 0) -> NDArray[np.int64]:
    """Return all codes (codes, D) in an order in which each follows its nearest that is left.

    Parameters
    ----------
    vectors : ndarray, shape (codes, D)
        The codes.
    start : int
        Code to begin with.
    """
    left = np.ones(len(vectors), dtype=bool)
    order = np.empty(len(vectors), dtype=np.int64)
    here = start
    for place in range(len(vectors)):
        order[place] = here
        left[here] = False
        if place + 1 < len(vectors):
            remaining = np.flatnonzero(left)
            here = int(remaining[((vectors[remaining] - vectors[here]) ** 2).sum(1).argmin()])
    return order


def project(vectors: FloatArray) -> tuple[FloatArray, float]:
    """Return codes (codes, D) on their first two principal components, and the share these hold."""
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    count = min(2, len(values))
    points = np.zeros((len(vectors), 2))
    points[:, :count] = left[:, :count] * values[:count]
    total = float((values**2).sum())
    return points, float((values[:count] ** 2).sum() / total) if total > 0 else 1.0


def iterate_usage(level: LevelStudy) -> Iterator[tuple[int, int, float]]:
    """Yield code, count and share of all tokens, the most used first."""
    total = max(int(level.counts.sum()), 1)
    for code in np.argsort(-level.counts, kind="stable"):
        yield int(code), int(level.counts[code]), float(level.counts[code] / total)
