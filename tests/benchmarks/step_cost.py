"""What a training step costs with each likelihood, with and without masked pixels."""

import time
from typing import Any

import numpy as np
import torch

from astro_vq.config import ModelConfig
from astro_vq.models import PlainBatch, build_model

LIKELIHOODS = ("normal", "multivariate-normal")
LAG = 8
SIDE = 64


def smooth_covariance() -> np.ndarray:
    """Return an autocovariance like that of resampled images."""
    lags = np.arange(-LAG, LAG + 1)
    smooth = np.exp(-(lags[:, None] ** 2 + lags**2) / 2.6)
    smooth[LAG, LAG] += 0.03
    return smooth


def draw_mask(kind: str, batch: int, generator: torch.Generator) -> torch.Tensor | None:
    """Return a mask (B, 1, H, W) of a batch of cutouts, another one at every call.

    'small': images smaller than the cutout. 'holes': a quarter of the cutouts has a round hole of
    about 400 pixels and a corner without data, more than in the real images there are.
    """
    if kind == "none":
        return None
    mask = torch.ones(batch, 1, SIDE, SIDE, dtype=torch.bool)
    if kind == "small":
        mask[...] = False
        mask[:, :, 7:57, 7:57] = True
        return mask
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for one in mask[::4, 0]:
        cy, cx, slope, offset = torch.rand(4, generator=generator).tolist()
        one &= (y - SIDE * cy) ** 2 + (x - SIDE * cx) ** 2 > 128
        one &= y + (0.2 + slope) * x > 12 + 12 * offset
    return mask


def step_seconds(autocovariance: np.ndarray, repeat: int, kind: str) -> dict[str, float]:
    """Return the median time of a training step with each likelihood, taken in turn."""
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for name in LIKELIHOODS:
        torch.manual_seed(0)
        model = build_model(ModelConfig(likelihood=name), 1).train()
        if name != "normal":
            model.likelihood.set_autocovariance(autocovariance)
        parts[name] = model, torch.optim.Adam(model.parameters())
    times: dict[str, list[float]] = {name: [] for name in LIKELIHOODS}
    for _ in range(repeat):
        pixels = torch.randn(16, 1, SIDE, SIDE, generator=generator)
        batch = PlainBatch(pixels, draw_mask(kind, 16, generator))
        for name, (model, optimizer) in parts.items():
            start = time.perf_counter()
            optimizer.zero_grad()
            model.loss(batch)["loss"].backward()
            optimizer.step()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def measure_step(autocovariance: np.ndarray, repeat: int) -> dict[str, Any]:
    """Return the cost of a step with each likelihood and each kind of mask."""
    figures: dict[str, Any] = {}
    for kind in ("none", "small", "holes"):
        seconds = step_seconds(autocovariance, repeat, kind)
        ratio = seconds["multivariate-normal"] / seconds["normal"]
        figures[kind] = {"seconds": seconds, "ratio": ratio}
        print(f"step, masks {kind}: {ratio:.2f} times as long", flush=True)
    return figures
