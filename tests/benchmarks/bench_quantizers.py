"""Quantisers against vector-quantize-pytorch: memory and time of a search, time of a training step.

    python tests/benchmarks/bench_quantizers.py --json out.json

The search for the nearest of 8,192 codes of 64 dimensions is done for a million vectors in a
process of its own, whose peak of memory less what it held before is stated. Times are the best of
``--repeat``, both libraries in turn, on fewer vectors, which the other library takes in batches
that fit into memory (it holds a table of vectors x codes). A training step is forward, backward
and Adam of a VQ-VAE with the same encoder, decoder, likelihood and settings of the quantiser.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from astro_vq.config import ModelConfig
from astro_vq.models import VQVAE, PlainBatch, build_model
from astro_vq.quantizers.codebook import find_nearest

CODES, DIM = 8192, 64
PEER_ROWS = 4096  # 128 MiB of distances and as many one-hot numbers at a time


def memory(name: str) -> int:
    """Return a figure of this process in bytes: VmRSS (now) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def search_memory(rows: int, threads: int) -> dict[str, float]:
    """Search once in this process and return what it took."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, DIM, generator=generator)
    codebook = torch.randn(CODES, DIM, generator=generator)
    find_nearest(x[:1024], codebook)  # what the libraries themselves set up
    before, start = memory("VmRSS"), time.perf_counter()
    find_nearest(x, codebook)
    seconds = time.perf_counter() - start
    return {"rows": rows, "seconds": seconds, "extra_megabytes": (memory("VmHWM") - before) / 1e6}


def in_turn(work: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Return the shortest time of each piece of work, done in turn."""
    best = dict.fromkeys(work, math.inf)
    for _ in range(repeat):
        for name, action in work.items():
            start = time.perf_counter()
            action()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def make_peer(codes: int, dim: int, *, is_map: bool) -> VectorQuantize:
    """Return the other library's quantiser with the settings of ours."""
    return VectorQuantize(
        dim,
        codes,
        decay=0.99,
        commitment_weight=0.25,
        kmeans_init=is_map,
        threshold_ema_dead_code=0.05 if is_map else 0,
        rotation_trick=False,
        accept_image_fmap=is_map,
    )


def bench_search(rows: int, repeat: int) -> dict[str, Any]:
    """Time the search and check that both libraries find the same codes."""
    torch.manual_seed(0)
    x = torch.randn(rows, DIM)
    peer = make_peer(CODES, DIM, is_map=False).eval()
    codebook = peer.codebook.detach().clone()
    x = x * codebook.std()

    @torch.no_grad()
    def theirs() -> Tensor:
        return torch.cat([peer(part[None])[1][0] for part in x.split(PEER_ROWS)])

    def ours() -> Tensor:
        return find_nearest(x, codebook).indices

    same = float((theirs() == ours()).float().mean())
    seconds = in_turn({"astro-vq": ours, "vector-quantize-pytorch": theirs}, repeat)
    ratio = seconds["astro-vq"] / seconds["vector-quantize-pytorch"]
    return {"rows": rows, "same_indices": same, "seconds": seconds, "ratio": ratio}


class PeerVQVAE(nn.Module):
    """The network of a model of ours around the other library's quantiser."""

    def __init__(self, model: VQVAE) -> None:
        super().__init__()
        self.model = model
        self.quantizer = make_peer(model.codes, model.quantizer.dim, is_map=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the loss."""
        quantized, _, commitment = self.quantizer(self.model.encode(x))
        parameters = self.model.decode(quantized)
        log_prob = self.model.likelihood.log_prob(x, parameters)
        loss: Tensor = -log_prob.sum() / x.numel() + commitment.sum()
        return loss


def bench_step(config: ModelConfig, batch: int, side: int, repeat: int) -> dict[str, Any]:
    """Time training steps with either quantiser."""
    torch.manual_seed(0)
    x = torch.nn.functional.avg_pool2d(3 * torch.randn(batch, 1, side + 4, side + 4), 5, 1)
    models = [build_model(config, 1).train() for _ in range(2)]
    peer = PeerVQVAE(models[1]).train()
    optimizers = [torch.optim.Adam(m.parameters(), 1e-3) for m in (models[0], peer)]

    def step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    work = {
        "astro-vq": lambda: step(lambda: models[0].loss(PlainBatch(x))["loss"], optimizers[0]),
        "vector-quantize-pytorch": lambda: step(lambda: peer(x), optimizers[1]),
    }
    for action in work.values():  # k-means start
        action()
    seconds = in_turn(work, repeat)
    return {
        "network": config.network,
        "hidden_channels": config.hidden_channels,
        "codes": config.codes,
        "latent_channels": config.latent_channels,
        "batch": [batch, 1, side, side],
        "seconds": seconds,
        "ratio": seconds["astro-vq"] / seconds["vector-quantize-pytorch"],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors of the memory figure")
    parser.add_argument("--timed-rows", type=int, default=32_768, help="vectors that are timed")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    if arguments.memory_only:
        print(json.dumps(search_memory(arguments.rows, arguments.threads)))
        return
    torch.set_num_threads(arguments.threads)
    command = [sys.executable, __file__, "--memory-only", "--rows", str(arguments.rows)]
    command += ["--threads", str(arguments.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "vector-quantize-pytorch": version("vector-quantize-pytorch"),
        "threads": arguments.threads,
        "million": json.loads(done.stdout),
        "search": bench_search(arguments.timed_rows, arguments.repeat),
        "step": [
            bench_step(config, 16, side, 2 * arguments.repeat)
            for config, side in (
                (ModelConfig(), 64),
                (ModelConfig(codes=1024, latent_channels=64), 64),
                (ModelConfig(codes=8192, latent_channels=64), 64),
                (ModelConfig(network="oord", codes=512, latent_channels=64), 32),
            )
        ],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
