"""Normal against MultivariateNormal on frames whose noise is correlated.

    python tests/benchmarks/bench_likelihoods.py --steps 500 --json out.json
    python tests/benchmarks/bench_likelihoods.py --real sky/train/2mass sky/eval/2mass

Without `--real`, frames are simulated and the truth is known: the covariance of the noise is
measured on frames without any source, and fluxes are compared with the light that was put in:
those in an aperture, and those of the best linear estimate of a star's flux in such noise. With
`--real` (folders to train on and to judge on, repeatable) the covariance is measured on the sky of
each frame that is judged, and fluxes are compared with those in the frame.

All runs have the same network, images, steps and seed. The cost of a training step is measured
apart (`--only-steps`), the two likelihoods in turn, with and without masked pixels.
"""

import argparse
import itertools
import json
import math
import platform
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astro_vq.data_recipes.profiles import FWHM_TO_SIGMA, PointSpread
from astro_vq.data_recipes.simulated import write_simulated_fits
from astro_vq.data_recipes.sky_header import truth_table
from astro_vq.data_recipes.sky_model import TRUTH_DTYPE, source_stamp
from astropy.io import fits
from scipy.ndimage import gaussian_filter
from step_cost import LAG, SIDE, measure_step, smooth_covariance
from true_fluxes import Noise, compare_with_truth, read_frame, weigh_aperture, weigh_star

from astro_vq.checkpoint import LoadedModel, load_model
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.noise import neighbour_correlation
from astro_vq.errors import AstroVQWarning
from astro_vq.likelihoods import MultivariateNormal
from astro_vq.metrics.likelihood import EvaluationData, evaluate, parameters_of
from astro_vq.training import noise, trainer
from astro_vq.training.loop import train
from astro_vq.training.noise import LEAST_POWER

FRAME = 512
"""Side of simulated frames, pixels."""

SKY_SIGMA = math.sqrt(200 * 1.5 + 5**2) / 1.5
"""Noise of the sky of simulated frames before anything is added to it, ADU."""

COLD = {"likelihood": "multivariate-normal", "noise_warmup": 0.0}
CORRELATED = COLD | {"noise_warmup": 0.5}
LEARNT = {"likelihood_scale": "learnt"}
VARIANTS: dict[str, dict[str, Any]] = {
    "normal": {},
    "normal-learnt": LEARNT,
    "correlated": CORRELATED,
    "correlated-early": COLD | {"noise_warmup": 0.2},
    "correlated-cold": COLD,
    "correlated-learnt": CORRELATED | LEARNT,
    "correlated-cold-learnt": COLD | LEARNT,
    "correlated-cold-floor": COLD | {"floor": 0.2},
    "vae-normal": {"model": "vae"},
    "vae-correlated-cold": {"model": "vae"} | COLD,
}
"""What can be trained, by name; 'floor' is the least power of the spectrum of the noise."""


def write_frames(
    folder: Path, count: int, seed: int, settings: argparse.Namespace, *, sources: bool = True
) -> None:
    """Write simulated frames, with stars and galaxies or without."""
    folder.mkdir(parents=True)
    for number in range(count):
        count = round(settings.density * FRAME**2 / 2500) if sources else 0
        stars = 0 if settings.brightest else count
        path = folder / f"frame{number}.fits"
        write_simulated_fits(
            path,
            (FRAME, FRAME),
            seed=seed + number,
            psf_fwhm=settings.psf,
            noise_correlation_fwhm=settings.fwhm,
            cosmic_rays=0,
            with_truth=not settings.brightest,
            n_stars=stars,
            n_galaxies=stars // 2,
        )
        if settings.background:
            add_background(path, settings, seed + number)
        if settings.brightest:
            add_faint_stars(path, settings, count, seed + number)


def add_background(path: Path, settings: argparse.Namespace, seed: int) -> None:
    """Add smooth noise to a frame, as an uneven background is."""
    with fits.open(path, mode="update") as file:
        image = file[0].data
        white = np.random.default_rng([seed, 1]).standard_normal(image.shape)
        smooth = gaussian_filter(white, settings.background_fwhm * FWHM_TO_SIGMA, mode="wrap")
        scale = settings.background * SKY_SIGMA / smooth.std()
        file[0].data = (image + scale * smooth).astype(image.dtype)


def add_faint_stars(path: Path, settings: argparse.Namespace, count: int, seed: int) -> None:
    """Add stars up to a signal to noise (that of a matched filter in white noise) to a frame."""
    rng = np.random.default_rng([seed, 2])
    truth = np.zeros(count, dtype=TRUTH_DTYPE)
    for name in TRUTH_DTYPE.names[4:]:
        truth[name] = np.nan
    truth["type"] = "star"
    truth["x"], truth["y"] = rng.uniform(0, FRAME - 1, (2, count))
    unit = SKY_SIGMA * math.sqrt(4 * math.pi) * settings.psf * FWHM_TO_SIGMA
    truth["flux"] = unit * np.exp(rng.uniform(math.log(3), math.log(settings.brightest), count))
    psf = PointSpread(settings.psf, "moffat", 3.0)
    light = np.zeros((FRAME + 100, FRAME + 100))
    for star in truth:
        stamp, row, column = source_stamp(star, psf, 20)
        light[row + 50 : row + 91, column + 50 : column + 91] += stamp
    with fits.open(path, mode="update") as file:
        file[0].data = (file[0].data + light[50:-50, 50:-50]).astype(np.float32)
        file.append(truth_table(truth))


@torch.no_grad()
def true_nll(loaded: LoadedModel, data: EvaluationData, truth: MultivariateNormal) -> list[float]:
    """Return the negative log-likelihood of each cutout under a covariance."""
    values = []
    for batch, _ in data.cutouts:
        mean = loaded.model.likelihood.mean(parameters_of(loaded.model, batch.pixels))
        values += (-truth.log_prob(batch.pixels, truth(mean), batch.mask)).tolist()
    return values


@torch.no_grad()
def cost_of_nothing(data: EvaluationData, truth: MultivariateNormal) -> list[dict[str, float]]:
    """Return what an empty image costs by the brightest pixel of a cutout, network units.

    Squared residuals by pixel, as they are and in units of the true covariance: where these are
    not above one, correlated noise explains what is in the cutout, and nothing is to be learnt.
    """
    rows = []
    for batch, _ in data.cutouts:
        zero = truth(torch.zeros_like(batch.pixels))
        best = truth.log_prob(torch.zeros_like(batch.pixels), zero, batch.mask)
        white = 2 * (best - truth.log_prob(batch.pixels, zero, batch.mask))
        count = batch.mask.flatten(1).sum(1)
        rows.append(
            torch.stack(
                [
                    batch.pixels.amax((1, 2, 3)),
                    batch.pixels.square().sum((1, 2, 3)) / count,
                    white / count,
                ]
            )
        )
    peak, plain, white = torch.cat(rows, dim=1)
    parts = []
    for low, high in itertools.pairwise((0.0, 2.5, 4.0, 5.5, 7.0, math.inf)):
        inside = (peak >= low) & (peak < high)
        if inside.any():
            squares = {"plain": float(plain[inside].mean()), "white": float(white[inside].mean())}
            parts.append({"peak_from": low, "number": int(inside.sum()), **squares})
    return parts


def fit(
    arguments: argparse.Namespace, name: str, seed: int, folder: Path, output: Path
) -> LoadedModel:
    """Train one variant on a folder."""
    options = {
        "fits_dir": [str(folder)],
        "likelihood_lag": arguments.lag,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "learning_rate": 1.5e-3,
        "warmup": 50,
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "validate_every": arguments.steps,
        "cutout_size": arguments.side,
        "model": arguments.model,
        "codes": arguments.codes,
        "latent_channels": arguments.latent,
        "hidden_channels": arguments.width,
        **VARIANTS[name],
    }
    noise.LEAST_POWER = options.pop("floor", LEAST_POWER)
    train(options, output, overwrite=True)
    return load_model(output)


def simulated(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and judge on simulated frames."""
    write_frames(folder / "train", 8, 100, arguments)
    write_frames(folder / "test", arguments.test_frames, 900, arguments)
    write_frames(folder / "empty", 4, 500, arguments, sources=False)
    empty = CutoutIndex.build([folder / "empty"])
    measured = noise.measure_noise(empty, arguments.lag, is_turned=False).values
    truth = MultivariateNormal.from_autocovariance(measured)
    test = CutoutIndex.build([folder / "test"])
    data = EvaluationData.prepare(test, cutout_size=SIDE, max_cutouts=96, max_frames=2)
    psf = PointSpread(arguments.psf, "moffat", 3.0)
    described = Noise(arguments.fwhm, arguments.background, arguments.background_fwhm)
    paths = sorted((folder / "empty").glob("*.fits"))
    kinds = {
        "aperture_fluxes": weigh_aperture(paths, is_local=arguments.background > 0),
        "star_fluxes": weigh_star(paths, psf, described),
    }
    planes = [image.planes[0] for image in test.images]
    frames = [read_frame(Path(plane.address.path), plane, psf) for plane in planes]
    figures: dict[str, Any] = {
        "noise_correlation_fwhm": arguments.fwhm,
        "background_sigma": arguments.background,
        "background_fwhm": arguments.background_fwhm,
        "likelihood_lag": arguments.lag,
        "psf_fwhm": arguments.psf,
        "lag_one_of_true_noise": neighbour_correlation(measured[0]),
        "empty_image": cost_of_nothing(data, truth),
        "frames": {n: compare_with_truth(None, frames, kind) for n, kind in kinds.items()},
        "runs": [],
    }
    for seed in range(arguments.seeds):
        for name in arguments.variants:
            loaded = fit(arguments, name, seed, folder / "train", folder / "run")
            row = {
                "variant": name,
                "seed": seed,
                "nll_true_covariance": float(np.mean(true_nll(loaded, data, truth))),
                **{n: compare_with_truth(loaded.model, frames, kind) for n, kind in kinds.items()},
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
            measured = noise.measure_noise(alone, arguments.lag, is_turned=False).values
            truth = MultivariateNormal.from_autocovariance(measured)
            cutouts = EvaluationData.prepare(alone, cutout_size=SIDE, max_cutouts=16, max_frames=0)
            judged.append((truth, cutouts, neighbour_correlation(measured[0])))
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
    parser.add_argument("--side", type=int, default=SIDE, help="of the cutouts trained on")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=["normal", "correlated", "correlated-cold"],
        help="what to train",
    )
    parser.add_argument("--model", default="vqvae")
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--latent", type=int, default=16, help="numbers in a code or latent")
    parser.add_argument("--width", type=int, default=32, help="of the first layer")
    parser.add_argument("--real", nargs=2, action="append", metavar=("TRAIN", "TEST"))
    parser.add_argument("--only-steps", action="store_true", help="measure steps, train nothing")
    parser.add_argument("--fwhm", type=float, default=1.8, help="of the noise correlation, pixels")
    parser.add_argument(
        "--background", type=float, default=0.0, help="sigma of smooth noise, in that of the sky"
    )
    parser.add_argument("--background-fwhm", type=float, default=8.0, help="its width, pixels")
    parser.add_argument("--lag", type=int, default=LAG, help="of the covariance, pixels")
    parser.add_argument("--psf", type=float, default=3.0, help="FWHM of stars, pixels")
    parser.add_argument("--density", type=float, default=1.0, help="of simulated sources")
    parser.add_argument("--brightest", type=float, help="stars only, of S/N from 3 to this")
    parser.add_argument("--test-frames", type=int, default=4, help="simulated frames to judge on")
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
        "latent_channels": arguments.latent,
        "width": arguments.width,
        "side": arguments.side,
        "density": arguments.density,
        "brightest": arguments.brightest,
    }
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only_steps:
            figures["step"] = measure_step(smooth_covariance(), arguments.repeat)
        elif arguments.real:
            figures["real"] = real(arguments, Path(folder))
        else:
            figures |= simulated(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
