"""Speed of sparse tokens in batches on a device: pixels of many frames to bytes, and back.

    python tests/benchmarks/bench_tokens_gpu.py --sky ../shared/sky/eval --json out.json

A batch is a stack of frames of one size in the memory of the host, in sigma: level, noise and star
shape are known. Its tokens are taken on the device, and coded frame by frame in threads of the
host, as files hold them, while the device takes those of the next batch; then the streams are
decoded, and drawn on the device while the next ones are decoded. Stars of the
simulated batch are all different; of real images there are as many frames as they have, turned
over, and then the same again.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_tokens import first_plane
from torch import Tensor

from astro_vq.checkpoint import load_model
from astro_vq.data.noise import autocovariance
from astro_vq.data.scaling import Scaling
from astro_vq.entropy.map_shape import MapShape
from astro_vq.entropy.sparse_maps import decode_maps, encode_maps, first_contexts
from astro_vq.entropy.threads import in_threads
from astro_vq.models.sparse import SparseVQ
from astro_vq.models.sparse_atoms import LEVELS, STAR_CODES, StarShape
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.sparse_stars import fit_star
from astro_vq.models.stack_frames import number_at_place
from astro_vq.models.stack_scales import Drawn
from astro_vq.models.token_maps import fill_map, list_tokens

FILES = {
    "KiDS": "kids-vst-omegacam/g.fits",
    "WISE": "wise/w5.fits",
    "tnx": "ctio-kpno-mosaic/tnx.fits",
}
STARS = 60  # of a simulated frame of 512 x 512
WIDTH = 1.5  # sigma of their profile, pixels


def simulate(frames: int, side: int, device: str) -> Tensor:
    """Return frames (B, side, side) of noise and stars of 20 to 20,000 sigma."""
    torch.manual_seed(0)
    pixels = torch.randn(frames, side, side, device=device)
    number = frames * STARS * side**2 // 512**2
    y, x = torch.rand(2, number, device=device) * side
    flux = 20 * torch.rand(number, device=device).clamp(min=1e-3) ** -1.0
    frame = torch.randint(0, frames, (number,), device=device)
    axis = torch.arange(16, device=device)
    top, left = y.long() - 8, x.long() - 8
    dy, dx = (first[:, None] + axis + 0.5 - at[:, None] for first, at in ((top, y), (left, x)))
    profiles = torch.exp(-(dy[:, :, None] ** 2 + dx[:, None] ** 2) / (2 * WIDTH**2))
    values = profiles * flux[:, None, None] / (2 * np.pi * WIDTH**2) * (2 * np.sqrt(np.pi) * WIDTH)
    Drawn(values, frame, top, left).add_to(pixels)
    return pixels.cpu()


def repeated(path: Path, frames: int, side: int) -> Tensor:
    """Return frames (B, side, side) of a real image, in sigma."""
    plane = first_plane(path, 4096)
    scaling = Scaling.measure(plane)
    sigmas = np.nan_to_num((plane - scaling.sky) / scaling.sigma).astype(np.float32)
    sides = [min(side, n) for n in sigmas.shape]
    crops = [
        sigmas[y : y + sides[0], x : x + sides[1]]
        for y in range(0, sigmas.shape[0] - sides[0] + 1, sides[0])
        for x in range(0, sigmas.shape[1] - sides[1] + 1, sides[1])
    ]
    turned = [crop[::a, ::b] for crop in crops for a in (1, -1) for b in (1, -1)]
    return torch.from_numpy(np.stack([turned[k % len(turned)] for k in range(frames)]))


class Batch:
    """Frames, and what turns them into bytes and back."""

    def __init__(self, model: SparseVQ, pixels: Tensor, device: str) -> None:
        self.model, self.device = model, device
        on_gpu = device.startswith("cuda")
        self.pixels = pixels.pin_memory() if on_gpu else pixels
        self.decoded = torch.empty(pixels.shape, pin_memory=on_gpu)
        first = pixels[0].numpy()
        self.star: StarShape = fit_star(first, model.maker.basis)
        self.noise = autocovariance(first.astype(np.float64), 8)
        self.shape = MapShape(LEVELS, model.book.shape[0], STAR_CODES, model.tokens)
        self.cells = (-(-pixels.shape[1] // 4), -(-pixels.shape[2] // 4))

    def take(self, quality: float) -> np.ndarray:
        """Return the tokens (T, 6) of the pixels."""
        pixels = self.pixels.to(self.device, non_blocking=True)
        rows = self.model.encode_stack(pixels, Quality(quality), self.star, self.noise)
        return rows.cpu().numpy()

    def code(self, rows: np.ndarray) -> list[bytes]:
        """Return the stream of each frame."""
        ends = np.searchsorted(rows[:, 0], np.arange(len(self.pixels) + 1))
        per_level = self.model.codes_per_level
        # no deeper than need be: one more than the fullest position has, or all
        fullest = int(number_at_place(torch.from_numpy(rows)).max()) + 1 if len(rows) else 0
        most = min(fullest + 1, self.model.tokens)

        def code(frame: int) -> bytes:
            here = np.ascontiguousarray(rows[ends[frame] : ends[frame + 1], 1:])
            maps = np.zeros((2 * most, *self.cells), np.int32)
            fill_map(maps, here, per_level)
            return encode_maps(maps, self.shape, (0, 0), first_contexts(self.shape))

        return in_threads(code, range(len(self.pixels)))

    def decode(self, streams: list[bytes]) -> np.ndarray:
        """Return the tokens (T, 6) of streams."""
        size = (2 * self.model.tokens, *self.cells)

        def decode(frame: int) -> np.ndarray:
            given = size, self.shape, (0, 0), first_contexts(self.shape)
            rows = list_tokens(decode_maps(streams[frame], *given), self.model.codes_per_level)
            return np.column_stack([np.full(len(rows), frame), rows])

        return np.concatenate(in_threads(decode, range(len(streams))))

    def draw(self, rows: np.ndarray) -> None:
        """Draw tokens, and bring what is drawn back."""
        shape = tuple(self.pixels.shape)
        means = self.model.draw_stack(torch.from_numpy(rows).to(self.device), shape, self.star)
        self.decoded.copy_(means)


def seconds_of(work: Callable[[], Any], repeats: int, device: str) -> tuple[float, Any]:
    """Return the median of the seconds that some work takes, and what it gives."""
    seconds, result = [], work()
    for _ in range(repeats):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def in_a_row(first: Callable[[], Any], then: Callable[[Any], Any], batches: int) -> float:
    """Return seconds a batch where a thread does the second half while the next one is begun."""
    with ThreadPoolExecutor(1) as helper:
        start = time.perf_counter()
        futures = [helper.submit(then, first()) for _ in range(batches)]
        for future in futures:
            future.result()
        return (time.perf_counter() - start) / batches


def measure(batch: Batch, quality: float, repeats: int) -> dict[str, Any]:
    """Return medians over some runs, after one that warms up."""
    device = batch.device
    take, rows = seconds_of(lambda: batch.take(quality), repeats, device)
    code, streams = seconds_of(lambda: batch.code(rows), repeats, device)
    decode, again = seconds_of(lambda: batch.decode(streams), repeats, device)
    draw, _ = seconds_of(lambda: batch.draw(again), repeats, device)
    assert {tuple(row) for row in rows[:1000]} <= {tuple(row) for row in again}
    there = in_a_row(lambda: batch.take(quality), batch.code, repeats + 2)
    back = in_a_row(lambda: batch.decode(streams), batch.draw, repeats + 2)
    pixels = batch.pixels.numel()
    left = batch.pixels[:64] - batch.decoded[:64]
    return {
        "frames": list(batch.pixels.shape),
        "encode": pixels / 1e6 / there,
        "decode": pixels / 1e6 / back,
        "seconds": {"take": take, "code": code, "decode": decode, "draw": draw},
        "tokens": len(rows),
        "bits_per_pixel": 8 * sum(map(len, streams)) / pixels,
        "rmse_sigma": float(left.square().mean().sqrt()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sky", type=Path)
    parser.add_argument("--frames", type=int, default=2048)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--quality", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = load_model("default", device="cpu").model
    assert isinstance(model, SparseVQ)
    stacks = {"simulated": lambda: simulate(arguments.frames, arguments.side, arguments.device)}
    for name, path in FILES.items() if arguments.sky else ():
        stacks[name] = lambda path=path: repeated(
            arguments.sky / path, arguments.frames, arguments.side
        )
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if arguments.device.startswith("cuda"):
        machine += f", {torch.cuda.get_device_name(arguments.device)}"
    result: dict[str, Any] = {"machine": machine, "torch": torch.__version__, "batches": {}}
    for name, make in stacks.items():
        row = measure(Batch(model, make(), arguments.device), arguments.quality, arguments.repeats)
        result["batches"][name] = row
        print(
            f"{name:10} {row['frames']}: encode {row['encode']:.0f} Mpix/s, "
            f"decode {row['decode']:.0f}, {row['bits_per_pixel']:.4f} bit/pixel,",
            *(f"{step} {seconds:.3f} s" for step, seconds in row["seconds"].items()),
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
