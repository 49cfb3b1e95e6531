"""Normal against MultivariateNormal on simulated frames whose noise is correlated.

    python tests/benchmarks/bench_likelihoods.py --steps 600 --json out.json

Both runs have the same network, images, steps and seed. They are judged on other frames: by the
log-likelihood under the true covariance of the noise (measured on frames without any source),
whiteness of residuals, and fluxes of sources. The cost of a training step is measured apart, the
two likelihoods in turn, best of `--repeat`.
"""

import argparse
import json
import math
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astro_vq.data_recipes.simulated import write_simulated_fits

from astro_vq.checkpoint import LoadedModel, load_model
from astro_vq.config import ModelConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.noise import neighbour_correlation
from astro_vq.likelihoods import MultivariateNormal
from astro_vq.metrics.likelihood import EvaluationData, evaluate, parameters_of
from astro_vq.models import PlainBatch, build_model
from astro_vq.training.loop import train
from astro_vq.training.noise import measure_noise

LIKELIHOODS = ("normal", "multivariate-normal")
LAG = 8


def write_frames(folder: Path, count: int, seed: int, fwhm: float, *, sources: bool = True) -> None:
    """Write frames of 512 x 512 pixels, with stars and galaxies or without."""
    folder.mkdir(parents=True)
    for number in range(count):
        some = {} if sources else {"n_stars": 0, "n_galaxies": 0}
        write_simulated_fits(
            folder / f"frame{number}.fits",
            (512, 512),
            seed=seed + number,
            noise_correlation_fwhm=fwhm,
            cosmic_rays=0,
            **some,
        )


def step_seconds(autocovariance: np.ndarray, repeat: int) -> dict[str, float]:
    """Return the shortest time of a training step with each likelihood, taken in turn."""
    torch.manual_seed(0)
    batch = PlainBatch(torch.randn(16, 1, 64, 64))
    parts = {}
    for name in LIKELIHOODS:
        model = build_model(ModelConfig(likelihood=name), 1).train()
        if name != "normal":
            model.likelihood.set_autocovariance(autocovariance)
        parts[name] = model, torch.optim.Adam(model.parameters())
    best = dict.fromkeys(LIKELIHOODS, math.inf)
    for _ in range(repeat):
        for name, (model, optimizer) in parts.items():
            start = time.perf_counter()
            optimizer.zero_grad()
            model.loss(batch)["loss"].backward()
            optimizer.step()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


@torch.no_grad()
def true_nll(
    loaded: LoadedModel, data: EvaluationData, truth: MultivariateNormal
) -> dict[str, float]:
    """Return mean and median over cutouts of the negative log-likelihood under the truth."""
    values = []
    for batch, _ in data.cutouts:
        mean = loaded.model.likelihood.mean(parameters_of(loaded.model, batch.pixels))
        values.append(-truth.log_prob(batch.pixels, truth(mean), batch.mask))
    each = torch.cat(values).double()
    return {"mean": float(each.mean()), "median": float(each.median())}


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Simulate, train, evaluate; return all figures."""
    write_frames(folder / "train", 8, 100, arguments.fwhm)
    write_frames(folder / "test", 4, 900, arguments.fwhm)
    write_frames(folder / "empty", 4, 500, arguments.fwhm, sources=False)
    empty = CutoutIndex.build([folder / "empty"])
    measured = measure_noise(empty, LAG, is_turned=False).values
    truth = MultivariateNormal.from_autocovariance(measured)
    test = CutoutIndex.build([folder / "test"])
    data = EvaluationData.prepare(test, cutout_size=64, max_cutouts=256, max_frames=4)
    seconds = step_seconds(measured, arguments.repeat)
    figures: dict[str, Any] = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "steps": arguments.steps,
        "noise_correlation_fwhm": arguments.fwhm,
        "lag_one_of_true_noise": neighbour_correlation(measured[0]),
        "step_seconds": seconds,
        "step_cost": seconds["multivariate-normal"] / seconds["normal"],
        "runs": [],
    }
    for seed in range(arguments.seeds):
        for name in LIKELIHOODS:
            output = folder / f"{name}-{seed}"
            options = {
                "fits_dir": [str(folder / "train")],
                "likelihood": name,
                "likelihood_lag": LAG,
                "steps": arguments.steps,
                "batch_size": 16,
                "seed": seed,
                "threads": 1,
                "device": "cpu",
                "validate_every": arguments.steps,
            }
            start = time.perf_counter()
            train(options, output)
            spent = time.perf_counter() - start
            loaded = load_model(output)
            result = evaluate(loaded, data, name=name)
            row = {
                "likelihood": name,
                "seed": seed,
                "train_seconds": round(spent, 1),
                "nll_true_covariance": true_nll(loaded, data, truth),
                **result.to_dict(),
            }
            figures["runs"].append(row)
            print(json.dumps(row), flush=True)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fwhm", type=float, default=1.8, help="of the noise correlation, pixels")
    parser.add_argument("--repeat", type=int, default=20, help="steps timed for each likelihood")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"step cost {figures['step_cost']:.2f}")


if __name__ == "__main__":
    main()
