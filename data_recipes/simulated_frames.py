"""The recipe of simulated frames: four kinds of images, made on the spot."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_vq.errors import ConfigError
from astro_vq.io.atomic import atomic_writer

from .base import BuildOptions, Recipe, Report
from .folder import BuildFolder
from .radio import simulate_radio
from .simulated import write_simulated_fits

KINDS = ("plain", "correlated", "radio", "counts")
"""Kinds of frames, which take turns."""


def build_simulated(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Write frames that differ in seeing, depth and noise; four kinds take turns.

    Plain CCD frames, frames with correlated noise (as resampling leaves), radio maps with a beam,
    and maps of single counts.
    """
    count = recipe.count if options.count is None else options.count
    side = options.size or 1024
    if count < 1 or side < 32:
        raise ConfigError(f"need one frame and 32 pixels at least, got {count} and {side}")
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        name = f"{kind}-{options.seed:04d}-{number:04d}"
        path = folder.place(name, f"{name}.fits")
        if not folder.has(path):
            _write_frame(path, kind, (side, side), np.random.default_rng([options.seed, number]))
            folder.add(path)
        report(f"{number + 1} of {count}: {path.name}")


def _write_frame(path: Path, kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    seed = int(rng.integers(2**31))
    fwhm, sky = float(rng.uniform(2.0, 5.0)), float(rng.uniform(50, 2000))
    correlation = float(rng.uniform(1.0, 2.5))
    if kind == "radio":
        major, ratio = float(rng.uniform(3.5, 7.0)), float(rng.uniform(0.6, 1.0))
        image, header = simulate_radio(
            shape,
            seed=seed,
            beam_fwhm=(major, major * ratio),
            beam_angle=float(rng.uniform(0, np.pi)),
        )
        with atomic_writer(path, overwrite=True) as file:
            fits.PrimaryHDU(image, header).writeto(file)
    elif kind == "counts":
        write_simulated_fits(
            path, shape, seed=seed, psf_fwhm=fwhm, sky=float(rng.uniform(0.1, 2.0)), gain=1.0,
            read_noise=0.0, cosmic_rays=0, dtype=np.uint16, overwrite=True,
        )  # fmt: skip
    else:
        write_simulated_fits(
            path, shape, seed=seed, psf_fwhm=fwhm, sky=sky, overwrite=True,
            noise_correlation_fwhm=correlation if kind == "correlated" else 0.0,
        )  # fmt: skip


RECIPE = Recipe(
    name="simulated",
    summary="simulated frames with known truth: CCD, correlated noise, radio, counts; no network",
    description=(
        "Frames of four kinds in turn. CCD frames (float32) with stars, Sersic galaxies, a Moffat "
        "PSF, Poisson and read noise, cosmic rays and a WCS; the same with correlated noise; radio "
        "maps (float32, Jy/beam) of compact and double sources and noise seen through one beam; "
        "counts (uint16) of a low background. The table TRUTH lists positions and fluxes (not of "
        "radio maps)."
    ),
    licence="none needed: the images are made on the spot",
    citation="none needed; name astro-vq, its version and the seed",
    home="",
    urls=(),
    size="4 MB a frame of 1024 x 1024 pixels",
    count=20,
    options=frozenset({"count", "seed", "size"}),
    build=build_simulated,
)
