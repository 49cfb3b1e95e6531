"""Which codes a model uses on cutouts of images."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.datasets import CutoutDataset, collate
from astro_vq.metrics.codebook_levels import Level, device_of, level_maps
from astro_vq.models import Model


class CutoutCodes(NamedTuple):
    """Cutouts (N, C, S, S) and their indices (N, K, h, w)."""

    pixels: NDArray[np.float32]
    indices: NDArray[np.int64]

    def maps(self, level: Level) -> NDArray[np.int64]:
        """Return the codes (N, h, w) of a level."""
        return level_maps(self.indices, level)

    def richest(self) -> int:
        """Return the cutout with the largest number of different codes."""
        flat = self.indices.reshape(len(self.indices), -1)
        return int(np.argmax([np.unique(row).size for row in flat]))


def count_codes(
    model: Model, index: CutoutIndex, size: int, max_cutouts: int, seed: int
) -> CutoutCodes:
    """Encode cutouts of an index, at most so many, spread over all images."""
    data = CutoutDataset(index, size=size, source_fraction=0.5, seed=seed)
    chosen = np.unique(np.linspace(0, len(data) - 1, min(max_cutouts, len(data))).astype(int))
    pixels, indices = [], []
    for start in range(0, len(chosen), 16):
        batch = collate([data[int(i)] for i in chosen[start : start + 16]])
        pixels.append(batch.pixels.numpy())
        indices.append(encode_pixels(model, batch.pixels))
    return CutoutCodes(np.concatenate(pixels), np.concatenate(indices))


@torch.inference_mode()
def encode_pixels(model: Model, pixels: Tensor) -> NDArray[np.int64]:
    """Return the indices (N, K, h, w) of pixels (N, C, H, W)."""
    indices: Tensor = model.encode_indices(pixels.to(device_of(model)))  # type: ignore[operator]
    return np.asarray(indices.cpu().numpy(), dtype=np.int64)


def most_frequent(model: Model, counted: CutoutCodes | None) -> NDArray[np.int64]:
    """Return the index of each channel of the index map that is drawn around a code.

    The most frequent ones of the data; without data those of an empty sky.
    """
    if counted is None:
        side = 8 * model.stride
        indices = encode_pixels(model, torch.zeros(1, model.channels, side, side))
    else:
        indices = counted.indices
    slots = indices.swapaxes(0, 1).reshape(indices.shape[1], -1)
    return np.array([np.bincount(slot).argmax() for slot in slots])
