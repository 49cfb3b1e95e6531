"""Fluxes of token files against the truth: simulated stars and galaxies in noise.

    python tests/benchmarks/bench_tokens_truth.py --seeds 12 --json out.json

Sources lie at random places (200 in 512 x 512 pixels): two thirds are stars, one third are
exponential discs of one to three pixels scale, of any flattening down to 0.3, smeared as stars
are. Fluxes are log-uniform from 4 to 300 in units of the error of an aperture flux (radius 4
pixels). Noise is white, or smoothed. For the noisy image and for token files of given rates:
median and scatter (1.4826 MAD) of measured less true aperture flux, in units of that error, by
true S/N; and the scatter over that of the image, with its error from resampled sources. Sources
with another within 12 pixels are left out.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from photutils.aperture import CircularAperture
from scipy import ndimage, signal

import astro_vq

SIDE, SOURCES, WIDTH, RADIUS, HALF = 512, 200, 1.3, 4.0, 16
BINS = ((5, 10), (10, 30), (30, 300))
RATES = (None, 0.05, 0.1, 0.25)


def profile(y: float, x: float, rng: np.random.Generator, galaxy: bool) -> np.ndarray:
    """Return a source (33, 33) of flux one, off the middle by a part of a pixel."""
    fine = 3  # samples across a pixel
    axis = (np.arange((2 * HALF + 1) * fine) - ((2 * HALF + 1) * fine - 1) / 2) / fine
    dy, dx = axis[:, None] - y, axis[None] - x
    psf = np.exp(-(axis[:, None] ** 2 + axis**2) / 2 / WIDTH**2)
    if galaxy:
        scale, flat, angle = rng.uniform(1, 3), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / scale
        v = (dy * np.cos(angle) - dx * np.sin(angle)) / scale / flat
        shape = signal.fftconvolve(np.exp(-np.hypot(u, v)), psf, mode="same")
    else:
        shape = np.exp(-(dy**2 + dx**2) / 2 / WIDTH**2)
    pixels = shape.reshape(2 * HALF + 1, fine, 2 * HALF + 1, fine).sum((1, 3))
    return np.asarray(pixels / pixels.sum())


def simulate(seed: int, smoothing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return image, places (N, 2) as x, y, true aperture fluxes, and their error."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(SIDE, SIDE))
    if smoothing:
        noise = ndimage.gaussian_filter(noise, smoothing, mode="wrap")
        noise /= noise.std()
    trial = CircularAperture(rng.uniform(10, SIDE - 10, (4000, 2)), RADIUS)
    error = float(np.std(trial.do_photometry(noise)[0]))
    places = rng.uniform(HALF + 2, SIDE - HALF - 2, (SOURCES, 2))
    wanted = error * np.exp(rng.uniform(np.log(4), np.log(300), SOURCES))
    image = 1000.0 + noise
    for k, ((x, y), flux) in enumerate(zip(places, wanted, strict=True)):
        i, j = round(y), round(x)
        shape = profile(y - i, x - j, rng, k % 3 == 0)
        place = (HALF + x - j, HALF + y - i)
        inside = CircularAperture([place], RADIUS).do_photometry(shape)[0][0]
        image[i - HALF : i + HALF + 1, j - HALF : j + HALF + 1] += flux / inside * shape
    return image.astype(np.float32), places, wanted, error


def isolated(places: np.ndarray) -> np.ndarray:
    """Return which places have no other within 12 pixels."""
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(away, np.inf)
    return np.asarray(away.min(1) > 12)


def offsets(image: np.ndarray, places: np.ndarray, flux: np.ndarray, error: float) -> np.ndarray:
    """Return measured less true aperture fluxes, in units of their error."""
    found = CircularAperture(places, RADIUS).do_photometry(image.astype(np.float64) - 1000.0)[0]
    return np.asarray((found - flux) / error)


def spread(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def compare(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Return bias and scatter of offsets, the latter also in that of the image."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (500, len(ours)))
    ratios = [spread(ours[p]) / spread(theirs[p]) for p in picks]
    return {
        "sources": len(ours),
        "bias": float(np.median(ours)),
        "scatter": spread(ours),
        "ratio": spread(ours) / spread(theirs),
        "ratio_error": float(np.std(ratios)),
    }


def encode(image: np.ndarray, model: str, rate: float) -> tuple[np.ndarray, int]:
    """Return what a token file of a rate decodes to, and its bytes."""
    file = io.BytesIO()
    done = astro_vq.compress(image, file, fidelity="tokens", model=model, bits_per_pixel=rate)
    file.seek(0)
    with astro_vq.open(file, model=model) as opened:
        return np.asarray(opened.data), done.token_bytes


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    for smoothing in (0.0, 0.8):
        frames = [simulate(seed, smoothing) for seed in range(options.seeds)]
        snr, original = [], []
        for image, places, flux, error in frames:
            alone = isolated(places)
            snr.append(flux[alone] / error)
            original.append(offsets(image, places[alone], flux[alone], error))
        for rate in RATES:
            found, size = [], 0
            for image, places, flux, error in frames:
                alone = isolated(places)
                decoded = image
                if rate is not None:
                    decoded, taken = encode(image, options.model, rate)
                    size += taken
                found.append(offsets(decoded, places[alone], flux[alone], error))
            here = np.concatenate(snr)
            bins = []
            for low, high in BINS:
                inside = (here >= low) & (here < high)
                pair = np.concatenate(found)[inside], np.concatenate(original)[inside]
                bins.append({"snr": [low, high], **compare(*pair)})
            line = {
                "smoothing": smoothing,
                "bits_per_pixel": 8 * size / len(frames) / SIDE**2,
                "bits_per_source": 8 * size / len(frames) / SOURCES,
                "bins": bins,
            }
            results.append(line)
            print(json.dumps(line), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
