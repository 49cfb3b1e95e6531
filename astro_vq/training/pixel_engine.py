"""Train the learned model of pixels that the coding engine ships as format data.

Run as ``python -m astro_vq.training.pixel_engine SKY_DIR OUT.safetensors``. Frames are turned into
integers (integers as they are, floats at several steps of their noise); pixels of all levels are
sampled with their contexts, and for each kind of phase a network learns to pick a template. The
network is trained with the rounding of `astro_vq.entropy.integer_network` in place; the loss goes
from the bits of the soft mixture of templates to the expected bits of picking one.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from astro_vq.codec.lattice import KINDS, Phase, count_levels
from astro_vq.codec.predict import choose_weights, predict, sample_phase
from astro_vq.codec.shared import Shared
from astro_vq.codec.statistics import measure_statistics
from astro_vq.data.noise import pixel_noise
from astro_vq.entropy.contexts import ContextTables
from astro_vq.entropy.integer_network import HIDDEN, INPUTS, STATISTICS
from astro_vq.entropy.lanes import TOTAL
from astro_vq.entropy.templates import CELLS, GRID
from astro_vq.errors import AstroVQError
from astro_vq.io.fits import open_fits
from astro_vq.io.image import find_images

TEMPLATES, COMPONENTS = 32, 3
STEPS_PER_SIGMA = (0.5, 1.0, 2.0, 4.0, 16.0)
_LEVELS = 4
_SMALLEST_SIDE = 30
_LARGEST_SIDE = 640
_FILES_PER_FOLDER = 8
_PIXELS = 8000
_RANGE = 1 << 22

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """Pixels of one kind: inputs (28, n), statistics (8, n), scale (n,) and error (n,)."""

    inputs: npt.NDArray[np.float32]
    statistics: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32]


def make_tables() -> ContextTables:
    """Return the lookup tables of the contexts."""
    ratio = np.arange(-4095, 4096) / 32
    compress = np.clip(np.rint(np.arcsinh(ratio) * 24), -127, 127).astype(np.int8)
    mantissa = 1 + np.arange(2048) / 2048
    return ContextTables(compress, np.floor(16 * np.log2(mantissa) + 1e-9).astype(np.int64))


def read_integers(folder: Path) -> Iterator[npt.NDArray[np.int64]]:
    """Yield frames as integers: the centre of the first plane of up to eight files a folder."""
    groups: dict[Path, list[Path]] = {}
    for path in find_images(folder):
        groups.setdefault(path.parent, []).append(path)
    for paths in groups.values():
        for path in paths[:_FILES_PER_FOLDER]:
            frame = _read_frame(path)
            if frame is None:
                continue
            finite = frame[np.isfinite(frame)]
            filled = np.where(np.isfinite(frame), frame, np.median(finite))
            if np.array_equal(finite, np.rint(finite)):
                steps = [1.0]
            else:
                sigma = pixel_noise(frame)
                steps = [sigma / n for n in STEPS_PER_SIGMA] if sigma > 0 else []
            for step in steps:
                integers = np.rint(filled / step)
                integers -= np.rint(np.median(integers))
                if np.abs(integers).max() < _RANGE:
                    yield integers.astype(np.int64)


def _read_frame(path: Path) -> npt.NDArray[np.float64] | None:
    try:
        with open_fits(path) as file:
            for hdu in file.hdus:
                if hdu.kind not in ("image", "compressed-image"):
                    continue
                height, width = hdu.plane_shape
                if min(height, width) < _SMALLEST_SIDE:
                    continue
                top, left = (max(0, (n - _LARGEST_SIDE) // 2) for n in (height, width))
                part = hdu.read_stored(
                    0, slice(top, top + _LARGEST_SIDE), slice(left, left + _LARGEST_SIDE)
                )
                frame = np.asarray(hdu.to_physical(part), np.float64)
                if np.isfinite(frame).mean() > 0.5 and np.nanstd(frame) > 0:
                    return frame
    except (AstroVQError, OSError) as err:
        log.warning("%s: %s", path, err)
    return None


def collect(folder: Path, seed: int = 0) -> list[Sample]:
    """Return samples of pixels of each kind from the images of a folder."""
    rng = np.random.default_rng(seed)
    tables = make_tables()
    parts: list[list[Sample]] = [[] for _ in range(KINDS)]
    for integers in read_integers(folder):
        shared, work = Shared(), integers[None]
        for level in range(min(_LEVELS, count_levels((work.shape[1], work.shape[2])))):
            for kind in range(KINDS):
                one = _collect_kind(work, level, kind, shared, tables)
                keep = rng.permutation(len(one.error))[: _PIXELS >> level]
                parts[kind].append(Sample(*(part[..., keep] for part in one)))
    return [Sample(*(np.concatenate(p, axis=-1) for p in zip(*k, strict=True))) for k in parts]


def _collect_kind(
    work: npt.NDArray[np.int64], level: int, kind: int, shared: Shared, tables: ContextTables
) -> Sample:
    contexts, errors, rows = [], [], []
    for phase in (Phase(level, 4 * kind + n) for n in range(4)):
        sample = sample_phase([work], phase)
        weights = choose_weights(sample, shared.weights_of(phase), len(sample.values))
        if weights is not None:
            shared.weights[phase] = weights
        prediction = predict(sample.neighbours, shared.weights_of(phase))
        context = tables.context(sample.neighbours, prediction)
        contexts.append(context)
        errors.append(sample.values - prediction / 16)
        rows.append((prediction, context.scale, sample.values))
    statistics = measure_statistics(*(np.concatenate(r) for r in zip(*rows, strict=True)))
    scale = np.concatenate([c.scale for c in contexts]) / 192
    return Sample(
        np.concatenate([c.inputs for c in contexts], axis=1),
        np.repeat(statistics[:, None].astype(np.float32), len(scale), axis=1),
        scale.astype(np.float32),
        np.concatenate(errors).astype(np.float32),
    )


def _straight(x: Tensor, rounded: Tensor) -> Tensor:
    return x + (rounded - x).detach()


def _weight(w: Tensor) -> Tensor:
    return _straight(w, torch.clamp(torch.round(w * 64), -127, 127) / 64)


def _bias(b: Tensor) -> Tensor:
    return _straight(b, torch.round(b * 1024) / 1024)


def _activate(x: Tensor) -> Tensor:
    x = torch.clamp(x, 0, 127 / 16)
    return _straight(x, torch.floor(x * 16) / 16)


class RoundedNetwork(nn.Module):
    """The integer network and its templates with gradients; units are 1/16, 1/64 and 1/1024."""

    def __init__(self) -> None:
        super().__init__()
        outputs = 2 + TEMPLATES
        self.statistics = nn.Linear(STATISTICS, HIDDEN)
        self.modulation = nn.Linear(HIDDEN, 2 * HIDDEN + outputs)
        self.first = nn.Linear(INPUTS, HIDDEN, bias=False)
        self.second = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.last = nn.Linear(HIDDEN, outputs, bias=False)
        shape = (TEMPLATES, COMPONENTS)
        self.share = nn.Parameter(0.5 * torch.randn(shape))
        self.place = nn.Parameter(0.3 * torch.randn(shape))
        widths = torch.linspace(-1.5, 1.0, COMPONENTS).expand(shape)
        self.log_width = nn.Parameter(widths + 0.3 * torch.randn(shape))
        with torch.no_grad():
            self.modulation.weight.mul_(0.1)
            self.modulation.bias.zero_()
            self.first.weight.mul_(0.5)
            self.last.weight.mul_(0.3)

    def forward(self, batch: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return bits (n,) of the soft mixture, expected bits, and bits of the template picked."""
        inputs, statistics, scale, error = batch
        bias, total = _bias(self.statistics.bias), _weight(self.statistics.weight)
        hidden = _activate(F.linear(statistics / 16, total, bias))
        biases = F.linear(hidden, _weight(self.modulation.weight), _bias(self.modulation.bias))
        one, two, three = biases.split([HIDDEN, HIDDEN, 2 + TEMPLATES], 1)
        hidden = _activate(F.linear(inputs / 16, _weight(self.first.weight)) + one)
        hidden = _activate(F.linear(hidden, _weight(self.second.weight)) + two)
        out = F.linear(hidden, _weight(self.last.weight)) + three
        width = scale * 0.5 * torch.exp2(out[:, 1].clamp(-8, 8)) + 1e-3
        t = (error - out[:, 0] * scale * 0.375) / width
        half = (0.5 / width)[:, None, None]
        away = (t[:, None, None] - self.place).abs()
        narrow = torch.exp(self.log_width)
        mass = torch.sigmoid((half - away) / narrow) - torch.sigmoid((-half - away) / narrow)
        p = (mass * self.share.softmax(1)).sum(2) * (1 - 2**-12) + 2**-26
        scores = out[:, 2:] * 4
        chance, bits = scores.softmax(1), -torch.log2(p)
        picked = bits.gather(1, scores.argmax(1, keepdim=True))[:, 0]
        return -torch.log2((chance * p).sum(1)), (chance * bits).sum(1), picked


def train_kind(sample: Sample, *, steps: int, seed: int, batch: int = 6144) -> RoundedNetwork:
    """Return a trained network for one kind of phase."""
    torch.manual_seed(seed)
    data = [torch.from_numpy(np.ascontiguousarray(part.T)) for part in sample]
    network = RoundedNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    average = 0.0
    for step in range(steps):
        index = torch.randint(0, len(data[3]), (batch,))
        soft, expected, picked = network([part[index] for part in data])
        mix = max(0.0, 1 - 1.6 * step / steps)
        optimizer.zero_grad()
        (mix * soft + (1 - mix) * expected).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average += 0.01 * (picked.mean().item() - average)
        if step % 500 == 499:
            log.info("step %d: %.4f bit/pixel", step + 1, average)
    return network


def export(network: RoundedNetwork, sample: Sample) -> dict[str, npt.NDArray[np.integer]]:
    """Return the integers of a trained network and its templates."""

    def weight(layer: nn.Linear) -> npt.NDArray[np.integer]:
        return np.clip(np.rint(layer.weight.detach().numpy() * 64), -127, 127).astype(np.int8)

    def bias(layer: nn.Linear) -> npt.NDArray[np.integer]:
        return np.rint(layer.bias.detach().numpy() * 1024).astype(np.int32)

    with torch.no_grad():
        t = ((torch.arange(CELLS + 1).double() - CELLS / 2) / GRID)[None, :, None]
        width = network.log_width.double().exp()[:, None]
        steps = torch.sigmoid((t - network.place.double()[:, None]) / width)
        cumulative = (steps * network.share.double().softmax(1)[:, None]).sum(2).numpy()
    low, high = cumulative[:, :1], cumulative[:, -1:]
    counts = np.rint((cumulative - low) / (high - low) * TOTAL).astype(np.int64)
    typical = np.rint(np.median(sample.statistics[:, ::50], axis=1))
    return {
        "statistics": weight(network.statistics),
        "statistics_bias": bias(network.statistics),
        "modulation": weight(network.modulation),
        "modulation_bias": bias(network.modulation),
        "first": weight(network.first),
        "second": weight(network.second),
        "last": weight(network.last),
        "templates": np.maximum.accumulate(counts, axis=1).astype(np.uint32),
        "typical": typical.astype(np.int8),
    }


def main() -> None:
    """Train all kinds and write the format data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="images to train on")
    parser.add_argument("output", type=Path, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps for each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tables = make_tables()
    tensors: dict[str, npt.NDArray[np.integer]] = {
        "compress": tables.compress,
        "logarithm": tables.logarithm.astype(np.uint8),
    }
    for kind, sample in enumerate(collect(options.folder, options.seed)):
        log.info("kind %d: %d pixels", kind, len(sample.error))
        network = train_kind(sample, steps=options.steps, seed=options.seed)
        own = export(network, sample)
        tensors |= {f"phase{kind}.{name}": np.ascontiguousarray(v) for name, v in own.items()}
    save_file(tensors, options.output)


if __name__ == "__main__":
    main()
