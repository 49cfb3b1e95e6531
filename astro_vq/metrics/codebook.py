"""What a codebook holds and how it is used: counts, distances, and what each code draws."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_vq.checkpoint import LoadedModel
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import DataError, ModelMismatchError
from astro_vq.metrics.codebook_drawings import LARGEST_DRAWN, draw_codes, find_examples
from astro_vq.metrics.codebook_geometry import nearest_distances, project, similarity_order
from astro_vq.metrics.codebook_levels import (
    FloatArray,
    Level,
    code_vectors,
    find_levels,
    level_maps,
)
from astro_vq.metrics.codebook_usage import (
    CutoutCodes,
    count_codes,
    encode_pixels,
    most_frequent,
)
from astro_vq.models import Model


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
        counted = count_codes(model, index, size, max_cutouts, seed)
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
        indices = encode_pixels(model, torch.from_numpy(np.ascontiguousarray(pixels))[None])
        codes = [level_maps(indices, level)[0] for level in levels]
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


def _study_level(
    model: Model,
    levels: list[Level],
    number: int,
    tokens: NDArray[np.int64] | None,
    counted: CutoutCodes | None,
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
        examples = find_examples(tokens, counted.pixels[:, 0], pixels_per_token, codes)
    return LevelStudy(
        name=level.name,
        vectors=vectors,
        counts=counts,
        drawings=draw_codes(model, level, drawn, most_frequent(model, counted)),
        drawn=drawn,
        nearest=nearest_distances(vectors),
        order=order,
        projection=projection,
        explained=explained,
        examples=examples,
    )


def iterate_usage(level: LevelStudy) -> Iterator[tuple[int, int, float]]:
    """Yield code, count and share of all tokens, the most used first."""
    total = max(int(level.counts.sum()), 1)
    for code in np.argsort(-level.counts, kind="stable"):
        yield int(code), int(level.counts[code]), float(level.counts[code] / total)
