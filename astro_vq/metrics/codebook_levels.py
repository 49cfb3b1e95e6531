"""The codebooks of a model, whatever its quantiser: each is a `Level`.

One codebook, levels of a residual quantiser, finite scalar quantisers, and both levels of a
VQ-VAE-2.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from astro_vq.errors import ModelMismatchError
from astro_vq.models import Model
from astro_vq.quantizers import Quantizer

FloatArray = NDArray[np.float64]


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
    device = device_of(quantizer)
    indices = torch.zeros(1, quantizer.depth, 1, quantizer.codes, dtype=torch.int64, device=device)
    base = quantizer.lookup(indices)
    indices[0, level.depth, 0] = torch.arange(quantizer.codes, device=device)
    vectors = quantizer.lookup(indices)
    if level.depth > 0:
        vectors = vectors - base
    return np.asarray(vectors[0, :, 0].T.double().cpu().numpy())


def level_maps(indices: NDArray[np.int64], level: Level) -> NDArray[np.int64]:
    """Return the codes (N, h, w) of a level from index maps (N, K, h, w) of a model."""
    if level.finer == 1:
        return indices[:, level.slots[0]]
    count, _, height, width = indices.shape
    side = level.finer
    blocks = indices[:, level.slots].reshape(count, side, side, height, width)
    return blocks.transpose(0, 3, 1, 4, 2).reshape(count, height * side, width * side)


def device_of(module: torch.nn.Module) -> torch.device:
    """Return where a module is; the CPU when it holds nothing."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
