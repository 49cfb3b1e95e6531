"""Normal against MultivariateNormal on frames whose noise is correlated.

    python tests/benchmarks/bench_likelihoods.py --steps 500 --json out.json
    python tests/benchmarks/bench_likelihoods.py --real sky/train/2mass sky/eval/2mass

Without `--real`, frames are simulated and the truth is known: the covariance of the noise is
measured on frames without any source, and fluxes are compared with the light that was put in. With
`--real` (folders to train on and to judge on, repeatable) the covariance is measured on the sky of
each frame that is judged, and fluxes are compared with those in the frame.

All runs have the same network, images, steps and seed. The cost of a training step is measured
apart, the two likelihoods in turn, with and without masked pixels: medians of `--repeat`.
"""

import argparse
import json
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astro_vq.data_recipes.simulated import write_simulated_fits
from true_fluxes import aperture_error, compare_with_truth, read_frame

from astro_vq.checkpoint import LoadedModel, load_model
from astro_vq.config import ModelConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.noise import neighbour_correlation
from astro_vq.errors import AstroVQWarning
from astro_vq.likelihoods import MultivariateNormal
from astro_vq.metrics.likelihood import EvaluationData, evaluate, parameters_of
from astro_vq.models import PlainBatch, build_model
from astro_vq.training import trainer
from astro_vq.training.loop import train
from astro_vq.training.noise import measure_noise

LIKELIHOODS = ("normal", "multivariate-normal")
LAG = 8
SIDE = 64

CORRELATED = {"likelihood": "multivariate-normal"}
VARIANTS: dict[str, dict[str, Any]] = {
    "normal": {},
    "normal-learnt": {"likelihood_scale": "learnt"},
    "correlated": CORRELATED | {"noise_warmup": 0.5},
    "correlated-cold": CORRELATED | {"noise_warmup": 0.0},
    "correlated-learnt": CORRELATED | {"noise_warmup": 0.5, "likelihood_scale": "learnt"},
}
"""What can be trained, by name."""


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


@torch.no_grad()
def true_nll(loaded: LoadedModel, data: EvaluationData, truth: MultivariateNormal) -> list[float]:
    """Return the negative log-likelihood of each cutout under a covariance."""
    values = []
    for batch, _ in data.cutouts:
        mean = loaded.model.likelihood.mean(parameters_of(loaded.model, batch.pixels))
        values += (-truth.log_prob(batch.pixels, truth(mean), batch.mask)).tolist()
    return values


def fit(
    arguments: argparse.Namespace, name: str, seed: int, folder: Path, output: Path
) -> LoadedModel:
    """Train one variant on a folder."""
    options = {
        "fits_dir": [str(folder)],
        "likelihood_lag": LAG,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "learning_rate": 1.5e-3,
        "warmup": 50,
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "validate_every": arguments.steps,
        "cutout_size": SIDE,
        "model": arguments.model,
        "codes": arguments.codes,
        "hidden_channels": arguments.width,
        **VARIANTS[name],
    }
    train(options, output, overwrite=True)
    return load_model(output)


def simulated(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and judge on simulated frames."""
    write_frames(folder / "train", 8, 100, arguments.fwhm)
    write_frames(folder / "test", 4, 900, arguments.fwhm)
    write_frames(folder / "empty", 4, 500, arguments.fwhm, sources=False)
    measured = measure_noise(CutoutIndex.build([folder / "empty"]), LAG, is_turned=False).values
    truth = MultivariateNormal.from_autocovariance(measured)
    test = CutoutIndex.build([folder / "test"])
    data = EvaluationData.prepare(test, cutout_size=SIDE, max_cutouts=96, max_frames=2)
    error = aperture_error(sorted((folder / "empty").glob("*.fits")))
    planes = [image.planes[0] for image in test.images]
    frames = [read_frame(Path(plane.address.path), plane, error) for plane in planes]
    figures: dict[str, Any] = {
        "noise_correlation_fwhm": arguments.fwhm,
        "lag_one_of_true_noise": neighbour_correlation(measured[0]),
        "step": measure_step(measured, arguments.repeat),
        "fluxes_in_the_frames": compare_with_truth(None, frames, error),
        "runs": [],
    }
    for seed in range(arguments.seeds):
        for name in arguments.variants:
            loaded = fit(arguments, name, seed, folder / "train", folder / "run")
            row = {
                "variant": name,
                "seed": seed,
                "nll_true_covariance": float(np.mean(true_nll(loaded, data, truth))),
                "true_fluxes": compare_with_truth(loaded.model, frames, error),
                **evaluate(loaded, data, name=name).to_dict(),
            }
            figures["runs"].append(row)
            print(json.dumps(row), flush=True)
    return figures


def real(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and judge on real images."""
    figures: dict[str, Any] = {}
    for train_on, test_on in arguments.real:
        index = CutoutIndex.build([test_on])
        data = EvaluationData.prepare(index, cutout_size=SIDE, max_cutouts=96, max_frames=4)
        judged = []
        for image in index.images[:8]:
            alone = CutoutIndex((image,), index.bands, ())
            noise = measure_noise(alone, LAG, is_turned=False).values
            truth = MultivariateNormal.from_autocovariance(noise)
            cutouts = EvaluationData.prepare(alone, cutout_size=SIDE, max_cutouts=16, max_frames=0)
            judged.append((truth, cutouts, neighbour_correlation(noise[0])))
        runs = []
        for seed in range(arguments.seeds):
            for name in arguments.variants:
                loaded = fit(arguments, name, seed, Path(train_on), folder / "run")
                values = [v for truth, part, _ in judged for v in true_nll(loaded, part, truth)]
                row = {
                    "variant": name,
                    "seed": seed,
                    "nll_measured_covariance": float(np.mean(values)),
                    **evaluate(loaded, data, name=name).to_dict(),
                }
                runs.append(row)
                print(json.dumps(row), flush=True)
        figures[Path(test_on).name] = {"lag_one": [lag for _, _, lag in judged], "runs": runs}
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="what to train"
    )
    parser.add_argument("--model", default="vqvae")
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--width", type=int, default=32, help="of the first layer")
    parser.add_argument("--real", nargs=2, action="append", metavar=("TRAIN", "TEST"))
    parser.add_argument("--only-steps", action="store_true", help="measure steps, train nothing")
    parser.add_argument("--fwhm", type=float, default=1.8, help="of the noise correlation, pixels")
    parser.add_argument("--repeat", type=int, default=20, help="steps timed for each likelihood")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer.VALIDATIONS, trainer.VALIDATION_CUTOUTS = 1, 128  # short runs, judged on other images
    warnings.simplefilter("ignore", AstroVQWarning)
    figures: dict[str, Any] = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "model": arguments.model,
        "codes": arguments.codes,
        "width": arguments.width,
    }
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only_steps:
            lags = np.arange(-LAG, LAG + 1)
            smooth = np.exp(-(lags[:, None] ** 2 + lags**2) / 2.6)
            smooth[LAG, LAG] += 0.03
            figures["step"] = measure_step(smooth, arguments.repeat)
        elif arguments.real:
            figures["real"] = real(arguments, Path(folder))
        else:
            figures |= simulated(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
