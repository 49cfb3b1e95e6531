"""Models on MNIST, beside published figures.

    python tests/benchmarks/bench_mnist.py --what iwae --epochs 600 --json out.json

``iwae`` and ``vae``: one stochastic layer of 50, two hidden layers of 200 tanh, Bernoulli pixels;
training images are binarised anew in each epoch (a pixel of grey value g is one with probability
g / 255), test images once, with seed 0. Judged by the importance bound on all test images.
``oord``: autoencoder, VAE and VQ-VAE with the network of the VQ-VAE paper, pixels in [-1, 1],
normal likelihood of variance one. ``vqvae``: 128 codes of 16, `compact` network, pixels in
[-1/2, 1/2], squared error over the variance of the data; codes by gradient and by moving average.

A run ends at ``--epochs`` or at ``--time-budget``, whichever comes first; the learning rate falls
as half a cosine over it. What is judged is the exponential moving average of the weights. With
``--folder`` each epoch is saved there and ``--resume`` continues from it.
"""

import argparse
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from soap import Soap
from torch import Tensor

from astro_vq.config import ModelConfig
from astro_vq.layers import count_weights
from astro_vq.models import VAE, VQVAE, Model, PlainBatch, build_model
from astro_vq.quantizers import measure_usage
from astro_vq.training.schedule import Schedule

DATA = Path("../shared/mnist/mnist.npz")


@dataclass(frozen=True)
class Recipe:
    """A model, how its pixels are scaled, and how it is trained."""

    model: ModelConfig
    pixels: str  # binary, signed ([-1, 1]) or centred ([-1/2, 1/2])
    batch_size: int = 128
    learning_rate: float = 1e-3
    average: float = 0.999  # decay of the moving average of the weights, per step
    optimizer: str = "adam"


def mlp(model: str, **options: Any) -> ModelConfig:
    """Return the network of Burda et al. with one stochastic layer."""
    return ModelConfig(
        model=model,
        network="mlp",
        image_size=28,
        latent_channels=50,
        hidden_channels=200,
        activation="tanh",
        likelihood="bernoulli",
        **options,
    )


def seed_vqvae(quantizer: str) -> ModelConfig:
    """Return the small VQ-VAE: 128 codes of 16."""
    return ModelConfig(
        quantizer=quantizer, codes=128, latent_channels=16, reconstruction="data-variance"
    )


def recipes(hidden: int | None) -> dict[str, dict[str, Recipe]]:
    """Return the runs of each choice of ``--what``."""

    def oord(model: str, **options: Any) -> Recipe:
        network = {"network": "oord", "latent_channels": 64, "hidden_channels": hidden}
        config = ModelConfig(model=model, **network, **options)
        return Recipe(config, "signed", batch_size=64, learning_rate=5e-4)

    return {
        "iwae": {"iwae": Recipe(mlp("iwae", samples=5), "binary", 200, 2e-3, 0.9995, "soap")},
        "vae": {"vae": Recipe(mlp("vae"), "binary", 200, 2e-3, 0.9995, "soap")},
        "oord": {
            "autoencoder": oord("autoencoder"),
            "vae": oord("vae"),
            "vqvae": oord("vqvae", codes=512),
        },
        "vqvae": {
            "gradient": Recipe(seed_vqvae("vector"), "centred"),
            "ema": Recipe(seed_vqvae("ema"), "centred"),
        },
    }


def scale_pixels(images: Tensor, kind: str, seed: int) -> Tensor:
    """Return pixels (N, 1, 28, 28) of grey values (N, 28, 28) uint8."""
    grey = images[:, None].float() / 255
    if kind == "signed":
        return 2 * grey - 1
    if kind == "centred":
        return grey - 0.5
    return torch.bernoulli(grey, generator=torch.Generator().manual_seed(seed))


@dataclass
class State:
    """Where a run stands, and its curve."""

    epoch: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


class Run:
    """One training with a moving average of its weights."""

    def __init__(self, recipe: Recipe, seed: int, schedule: Schedule, folder: Path | None) -> None:
        torch.manual_seed(seed)
        self.recipe = recipe
        self.seed = seed
        self.schedule = schedule
        self.folder = folder
        self.model = build_model(recipe.model, 1).train()
        self.average = build_model(recipe.model, 1).eval()
        self.average.load_state_dict(self.model.state_dict())
        make = {"adam": partial(torch.optim.Adam, fused=True), "soap": Soap}[recipe.optimizer]
        self.optimizer: torch.optim.Optimizer = make(self.model.parameters(), lr=1e-3)
        self.state = State()
        self.step = 0

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights towards the current ones; copy buffers."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        ours, theirs = zip(*pairs, strict=True)
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, current in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(current)

    def train_epoch(self, images: Tensor) -> float:
        """Train on all images once, or until the time is over; return the mean loss, nats."""
        epoch = self.state.epoch
        pixels = scale_pixels(images, self.recipe.pixels, 1 + self.seed * 1_000_003 + epoch)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        torch.manual_seed(self.seed * 1_000_003 + epoch)  # draws of the latents
        order = torch.randperm(len(pixels), generator=generator)
        if isinstance(self.model, VQVAE) and self.step == 0:
            self.model.set_data_variance(float(pixels.var(correction=0)))
        total, steps, start = 0.0, 0, time.perf_counter()
        for places in order.split(self.recipe.batch_size)[: len(order) // self.recipe.batch_size]:
            seconds = self.state.seconds + time.perf_counter() - start
            progress = self.schedule.progress(self.step, seconds)
            if progress >= 1:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.step, progress)
            terms = self.model.loss(PlainBatch(pixels[places]))
            self.optimizer.zero_grad()
            terms["loss"].backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.follow()
            total += terms["loss"].item() * 784
            steps += 1
        self.state.epoch += 1
        self.state.seconds += time.perf_counter() - start
        return total / max(steps, 1)

    def save(self) -> None:
        """Save weights, averages and optimiser; what was there stays until this is complete."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items()}
        about = {"step": str(self.step), "state": json.dumps(asdict(self.state))}
        about["model"] = json.dumps(self.recipe.model.to_dict())
        new = self.folder / "new.safetensors"
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, new, about)
        new.replace(self.folder / "last.safetensors")

    def resume(self) -> None:
        """Continue from what `save` wrote, if it did."""
        path = None if self.folder is None else self.folder / "last.safetensors"
        if path is None or not path.exists():
            return
        with safe_open(path, "pt") as file:
            about = file.metadata()
        tensors = load_file(path)

        def part(prefix: str) -> dict[str, Tensor]:
            n = len(prefix)
            return {k[n:]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.average.load_state_dict(part("average."))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            number, key = name.split(".", 1)
            states.setdefault(int(number), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step = int(about["step"])
        self.state = State(**json.loads(about["state"]))


@torch.no_grad()
def bound(model: VAE, pixels: Tensor, samples: int, seed: int = 0) -> tuple[float, float]:
    """Return mean and standard error over images of the importance bound, nats."""
    generator = torch.Generator().manual_seed(seed)
    values = [
        model.importance_bound(PlainBatch(part), samples=samples, chunk=50, generator=generator)
        for part in pixels.split(20)  # 1000 rows at a time: stays in the cache
    ]
    each = torch.cat(values)
    return float(each.mean()), float(each.std() / math.sqrt(len(each)))


@torch.no_grad()
def judge(model: Model, pixels: Tensor) -> dict[str, float]:
    """Return the terms of the loss over all test images, and the usage of codes."""
    torch.manual_seed(0)
    total: dict[str, float] = {}
    indices = []
    for part in pixels.split(200):
        for name, value in model.loss(PlainBatch(part)).items():
            total[name] = total.get(name, 0.0) + float(value) * len(part) / len(pixels)
        if isinstance(model, VQVAE):
            indices.append(model.encode_indices(part).flatten())
    total["mse_over_variance"] = total.get("mse", math.nan) / float(pixels.var(correction=0))
    if isinstance(model, VQVAE):
        usage = measure_usage(torch.cat(indices), model.codes)
        total |= {"perplexity": float(usage.perplexity), "dead_codes": float(usage.dead)}
    return total


def finish(recipe: Recipe, model: Model, pixels: Tensor, samples: int) -> dict[str, float]:
    """Return the final figures of a model on the test images."""
    figures = judge(model, pixels)
    if recipe.pixels == "signed":
        # a grey level is 2 / 255 wide in [-1, 1]: density per unit to mass per level
        figures["bits_per_dim_levels"] = figures["nll"] / (784 * math.log(2)) + math.log2(127.5)
    if isinstance(model, VAE) and samples:
        start = time.perf_counter()
        figures["bound"], figures["bound_error"] = bound(model, pixels, samples)
        figures["bound_samples"] = samples
        figures["bound_seconds"] = time.perf_counter() - start
    return figures


def execute(name: str, recipe: Recipe, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one model and judge it; return all figures."""
    with np.load(arguments.data) as file:
        train = torch.from_numpy(file["train_images"])
        test = torch.from_numpy(file["test_images"])
    if arguments.images:
        train, test = train[: arguments.images], test[: arguments.images]
    pixels = scale_pixels(test, recipe.pixels, 0)
    per_epoch = len(train) // recipe.batch_size
    schedule = Schedule(
        steps=arguments.epochs * per_epoch,
        time_budget=arguments.time_budget * 60 if arguments.time_budget else None,
        learning_rate=arguments.learning_rate or recipe.learning_rate,
        warmup=300,
    )
    folder = arguments.folder / name if arguments.folder else None
    run = Run(recipe, arguments.seed, schedule, folder)
    if arguments.resume:
        run.resume()
    while schedule.progress(run.step, run.state.seconds) < 1:
        loss = run.train_epoch(train)
        row = {"epoch": run.state.epoch, "seconds": round(run.state.seconds, 1), "loss": loss}
        if isinstance(run.model, VAE) and run.state.epoch % arguments.watch_every == 0:
            row["bound_100"] = bound(run.average, pixels[::10], 100)[0]
        run.state.curve.append(row)
        run.save()
        print(json.dumps({"run": name, **row}), flush=True)
    return {
        "run": name,
        "config": recipe.model.to_dict(),
        "weights": count_weights(run.model),
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "learning_rate": schedule.learning_rate,
        "images_seen": run.step * recipe.batch_size,
        "epochs": run.step / per_epoch,
        "train_seconds": round(run.state.seconds, 1),
        "test": finish(recipe, run.average, pixels, arguments.samples),
        "curve": run.state.curve,
    }


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write figures, a line for each run; runs of other configurations in the file are kept."""
    new = [(run["run"], run["config"]) for run in figures["runs"]]
    old = json.loads(path.read_text())["runs"] if path.exists() else []
    runs = [run for run in old if (run["run"], run["config"]) not in new] + figures["runs"]
    head = json.dumps({name: value for name, value in figures.items() if name != "runs"})
    lines = ",\n".join(json.dumps(run) for run in runs)
    path.write_text(f'{head[:-1]}, "runs": [\n{lines}\n]}}\n')


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["iwae", "vae", "oord", "vqvae"], default="iwae")
    parser.add_argument("--only", help="one of the runs of --what, such as vqvae or ema")
    parser.add_argument("--data", type=Path, default=DATA, help="mnist.npz")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--time-budget", type=float, help="minutes of training for each run")
    parser.add_argument("--learning-rate", type=float, help="peak; each run has its own")
    parser.add_argument("--optimizer", choices=["adam", "soap"], help="each run has its own")
    parser.add_argument("--hidden", type=int, help="width of the oord network (256)")
    parser.add_argument("--images", type=int, help="first images only, for a trial")
    parser.add_argument("--samples", type=int, default=5000, help="of the final bound; 0 for none")
    parser.add_argument("--watch-every", type=int, default=10, help="epochs between bounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to save each epoch")
    parser.add_argument("--resume", action="store_true", help="continue from --folder")
    parser.add_argument(
        "--json", type=Path, help="file to write figures to, beside those of other runs in it"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients through saturated units: denormals halve the speed
    figures: dict[str, Any] = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": 1,
        "runs": [],
    }
    for name, recipe in recipes(arguments.hidden)[arguments.what].items():
        if arguments.optimizer:
            recipe = replace(recipe, optimizer=arguments.optimizer)
        if arguments.only in (None, name):
            figures["runs"].append(execute(name, recipe, arguments))
            print(json.dumps({k: v for k, v in figures["runs"][-1].items() if k != "curve"}))
            if arguments.json:
                write_figures(arguments.json, figures)


if __name__ == "__main__":
    main()
