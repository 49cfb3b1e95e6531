"""Fluxes of token files against the truth: simulated stars in white and correlated noise.

    python tests/benchmarks/bench_tokens_truth.py --json out.json

Stars lie at random places (200 in 512 x 512 pixels), their fluxes log-uniform from 4 to 300 in
units of the error of their aperture flux (radius 4 pixels). For the noisy image and for token
files of several qualities: median and scatter (1.4826 MAD) of measured less true flux, in units
of that error, by true S/N; and bits per star that was coded.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from photutils.aperture import CircularAperture
from scipy import ndimage

import astro_vq

SIDE, STARS, WIDTH, RADIUS = 512, 200, 1.3, 4.0
BINS = ((5, 10), (10, 30), (30, 300))


def simulate(seed: int, smoothing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return image, places (N, 2) as x, y, fluxes, and the error of an aperture flux."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(SIDE, SIDE))
    if smoothing:
        noise = ndimage.gaussian_filter(noise, smoothing, mode="wrap")
        noise /= noise.std()
    trial = CircularAperture(rng.uniform(10, SIDE - 10, (4000, 2)), RADIUS)
    error = float(np.std(trial.do_photometry(noise)[0]))
    places = rng.uniform(12, SIDE - 12, (STARS, 2))
    flux = error * np.exp(rng.uniform(np.log(4), np.log(300), STARS))
    image = 1000.0 + noise
    yy, xx = np.mgrid[:SIDE, :SIDE]
    for (x, y), f in zip(places, flux, strict=True):
        part = np.s_[max(int(y) - 10, 0) : int(y) + 11, max(int(x) - 10, 0) : int(x) + 11]
        shape = np.exp(-((yy[part] - y) ** 2 + (xx[part] - x) ** 2) / 2 / WIDTH**2)
        image[part] += f * shape / (2 * np.pi * WIDTH**2)
    return image.astype(np.float32), places, flux, error


def isolated(places: np.ndarray) -> np.ndarray:
    """Return which places have no other within 12 pixels."""
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(away, np.inf)
    return np.asarray(away.min(1) > 12)


def measure(image: np.ndarray, places: np.ndarray, flux: np.ndarray, error: float) -> list[dict]:
    """Return bias and scatter of fluxes by true S/N."""
    found = CircularAperture(places, RADIUS).do_photometry(image.astype(np.float64) - 1000.0)[0]
    inside = CircularAperture([(20.0, 20.0)], RADIUS)
    yy, xx = np.mgrid[:41, :41]
    star = np.exp(-((yy - 20) ** 2 + (xx - 20) ** 2) / 2 / WIDTH**2)
    share = float(inside.do_photometry(star)[0][0] / star.sum())
    off = (found - flux * share) / error
    rows = []
    for low, high in BINS:
        here = off[(flux / error >= low) & (flux / error < high)]
        middle = float(np.median(here))
        scatter = float(1.4826 * np.median(np.abs(here - middle)))
        rows.append({"snr": [low, high], "stars": len(here), "bias": middle, "scatter": scatter})
    return rows


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sparse")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    for smoothing in (0.0, 0.8):
        for quality in (None, 8.0, 5.0, 3.5, 3.0):
            pooled = []
            rate = bits = 0.0
            for seed in range(options.seeds):
                image, places, flux, error = simulate(seed, smoothing)
                alone = isolated(places)
                if quality is not None:
                    file = io.BytesIO()
                    done = astro_vq.compress(
                        image, file, fidelity="tokens", model=options.model, quality=quality
                    )
                    file.seek(0)
                    image = np.asarray(astro_vq.open(file, model=options.model).data)
                    rate += 8 * done.token_bytes / image.size / options.seeds
                    bits += 8 * done.token_bytes / STARS / options.seeds
                pooled.append((image, places[alone], flux[alone], error))
            rows = [measure(*part) for part in pooled]
            merged = [
                {
                    "snr": bin_rows[0]["snr"],
                    "bias": float(np.mean([r["bias"] for r in bin_rows])),
                    "scatter": float(np.mean([r["scatter"] for r in bin_rows])),
                }
                for bin_rows in zip(*rows, strict=True)
            ]
            line = {
                "smoothing": smoothing,
                "quality": quality,
                "bits_per_pixel": rate,
                "bits_per_star": bits,
                "bins": merged,
            }
            results.append(line)
            print(json.dumps(line), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
