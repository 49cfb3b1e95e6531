"""Train every configuration of a folder for the same number of steps, and evaluate all alike.

    python tests/benchmarks/bench_experiments.py docs/experiments --json out.json
        --train sky/train/sdss-2-5m --test sky/eval/sdss-2-5m

Data, steps, batch size and seed are the same for all runs, whatever the configurations say of
them. Models are judged on cutouts and frames of `--test`, which none has seen. `--json` is
written after each run, and runs that it holds already are not done again.
"""

import argparse
import json
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from astro_vq.checkpoint import load_model
from astro_vq.config import RunConfig, read_toml
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import AstroVQWarning
from astro_vq.metrics.likelihood import EvaluationData, evaluate
from astro_vq.models import VAE
from astro_vq.training import trainer
from astro_vq.training.loop import train
from astro_vq.training.settings import change_options


def describe(path: Path) -> str:
    """Return the first line of a configuration, a comment that says what it is for."""
    return path.read_text().splitlines()[0].lstrip("# ")


def run(
    config: RunConfig, data: EvaluationData, samples: int, folder: Path, name: str
) -> dict[str, Any]:
    """Train and evaluate one configuration."""
    started = time.process_time()
    result = train(config, folder)
    spent = time.process_time() - started
    loaded = load_model(folder)
    draws = samples if isinstance(loaded.model, VAE) else 0
    figures = evaluate(loaded, data, samples=draws, name=name)
    last = result.validation
    return {
        "name": name,
        "seed": config.training.seed,
        "steps": result.step,
        "cpu_seconds": round(spent, 1),
        "weights": sum(p.numel() for p in loaded.model.parameters()),
        "perplexity": None if last is None else last.perplexity,
        "codes_used": None if last is None or not last.counts else last.codes_used,
        **figures.to_dict(),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", type=Path, nargs="+", help="TOML files, or folders of them")
    parser.add_argument("--train", nargs="+", required=True, help="folders of FITS files")
    parser.add_argument("--test", nargs="+", required=True, help="folders of other FITS files")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--width", type=int, help="of the first layer, for all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=64, help="draws of the importance bound")
    parser.add_argument("--cutouts", type=int, default=128, help="test cutouts, at most")
    parser.add_argument("--frames", type=int, default=4, help="test frames for fluxes, at most")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer.VALIDATIONS, trainer.VALIDATION_CUTOUTS = 1, 128  # short runs, judged on other images
    warnings.simplefilter("ignore", AstroVQWarning)
    done: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        done = json.loads(arguments.json.read_text())["runs"]
    paths = [
        path
        for given in arguments.configs
        for path in (sorted(given.glob("*.toml")) if given.is_dir() else [given])
    ]
    for path in paths:  # all of them are right before any is run
        read_toml(path)
    data = EvaluationData.prepare(
        CutoutIndex.build(arguments.test),
        max_cutouts=arguments.cutouts,
        max_frames=arguments.frames,
    )
    for path in paths:
        if any(r["name"] == path.stem and r["seed"] == arguments.seed for r in done):
            continue
        options: dict[str, Any] = {
            "fits_dir": arguments.train,
            "steps": arguments.steps,
            "batch_size": arguments.batch_size,
            "seed": arguments.seed,
            "threads": 1,
            "device": "cpu",
            "validate_every": arguments.steps,
        }
        if arguments.width is not None:
            options["hidden_channels"] = arguments.width
        config = change_options(read_toml(path), options)
        with tempfile.TemporaryDirectory() as folder:
            row = run(config, data, arguments.samples, Path(folder) / "run", path.stem)
        done.append({"about": describe(path), **row})
        fluxes = row["fluxes"] or {}
        print(
            f"{path.stem:24} {row['cpu_seconds']:6.0f} s  bits/dim {row['bits_per_dim']:7.3f}  "
            f"bound {row['bound_bits_per_dim'] or 0:7.3f}  flux bias {fluxes.get('bias', 0):6.2f}  "
            f"scatter {fluxes.get('scatter', 0):6.2f}  found {fluxes.get('found', 0):.0%}",
            flush=True,
        )
        if arguments.json:
            figures = {
                "machine": platform.machine(),
                "torch": torch.__version__,
                "train": [Path(name).name for name in arguments.train],
                "test": [Path(name).name for name in arguments.test],
                "batch_size": arguments.batch_size,
                "width": arguments.width,
                "runs": done,
            }
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
