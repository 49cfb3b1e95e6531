"""What codes draw, and pieces of data that use them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_vq.metrics.codebook_levels import Level, device_of
from astro_vq.models import Model

LARGEST_DRAWN = 1024
"""Codes that are drawn and shown at most, the most used first."""

_CHUNK = 64  # codes decoded at a time
_AROUND = 2  # tokens of sky on each side of a code that is drawn
_EXAMPLE_TOKENS = 4  # side of an example, in tokens of its level


@torch.inference_mode()
def draw_codes(
    model: Model, level: Level, drawn: NDArray[np.int64], background: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Decode each code at the middle of a field of the background."""
    device = device_of(model)
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


def find_examples(
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
