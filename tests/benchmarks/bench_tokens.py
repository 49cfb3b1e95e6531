"""Rate against photometry of token files and of other lossy codecs at low rates.

    python tests/benchmarks/bench_tokens.py --sky ../shared/sky/eval --json out.json

Both sides get the same pixels (centre of the first image plane) and are judged by the same
catalogue, made on the original: aperture fluxes (radius 4 pixels, sources of S/N above 5 in that
aperture), detections at S/N 5 under a matched filter, windowed positions, moments, RMSE in sigma.
JPEG-XL and JPEG2000 get the image scaled by asinh to 16 bits, HCOMPRESS a scale in sigma. Rates
are those of the streams: of token files with their side information, without FITS headers, which
no side is charged for. Curves are compared at fixed rates by interpolation in logarithms; a codec
that cannot go so low is not there at that rate.
"""

import argparse
import io
import itertools
import json
import platform
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits

import astro_vq
from astro_vq.metrics.photometry import Catalogue, compare_sources, make_catalogue

RATES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_COARSE = (800.0, 500.0, 300.0, 150.0, 100.0)
QUALITIES = (*_COARSE, 60.0, 30.0, 20.0, 14.0, 10.0, 7.0, 5.0, 4.0, 3.2, 2.5, 2.0, 1.5, 1.1)
LARGEST_BITS = 1.5
KEYS = (
    "flux_abs50",
    "flux_abs90",
    "rmse_sigma",
    "lost",
    "invented",
    "position_abs50",
    "ellipticity_abs50",
)
FILES = (
    "2mass/2010ai__2MASS__2MASS_H.fits",
    "90prime/ksb_160203_115029_ooi_r_v1-ccd2.fits",
    "cfht-megacam/CFHTLS-test_g.fits",
    "ctio-kpno-mosaic/tnx.fits",
    "decam-des-coadd/DES_r.fits",
    "galex/2010ai__GALEX__GALEX_NUV.fits",
    "herschel-spire/s250_im.fits",
    "hst-nicmos/n8q624e8q_cal.fits",
    "hst-wfc3-ir/abell_2744_cd_galaxy_f105w.fits.gz",
    "jwst-nircam/jw01324001001-01324-o001_t001_nircam_clear-f200w_i2d_stamp.fits",
    "kids-vst-omegacam/g.fits",
    "lco-0-4m-sbig-kb29/banzai_test_frame.fits.fz",
    "lco-1m-sinistro-fa05/mef_raw_test_frame.fits",
    "lco-1m-sinistro-fl15/lsc1m005-fl15-20170614-0130-e91_cropped.fits.bz2",
    "lofar/tbdsf_process_image.in_fits.pybdsf.ch0_I.fits",
    "mosaic-3/k4m_160319_075112_ooi_zd_ls9.CCD3.fits",
    "palomar-48in-schmidt/M6707HH.fits",
    "pan-starrs1/PS1_r.fits",
    "sdss-2-5m/reprojected_sdss_g.fits.bz2",
    "viking-vista-vircam/H.fits",
    "wise/w5.fits",
    "wise-allwise/2010ai__WISE__WISE_W1.fits",
)


def first_plane(path: Path, crop: int) -> np.ndarray | None:
    """Return the centre of the first image plane as float32."""
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            data = hdu.data if getattr(hdu, "is_image", False) else None
            if data is None or data.ndim < 2 or min(data.shape[-2:]) < 64:
                continue
            plane = data.reshape(-1, *data.shape[-2:])[0]
            top, left = (max(0, (n - crop) // 2) for n in plane.shape)
            return np.ascontiguousarray(plane[top : top + crop, left : left + crop], np.float32)
    return None


def judge(
    image: np.ndarray, catalogue: Catalogue, decoded: np.ndarray, bright: np.ndarray
) -> dict[str, float]:
    """Return the errors of a decoded image; fluxes in units of their errors."""
    there = np.isfinite(image)
    decoded = np.where(there, decoded, np.nan)
    change = compare_sources(catalogue, decoded)
    flux = change.differences["flux"][bright]
    flux = flux[np.isfinite(flux)]
    e = np.abs(change.differences["e1"][np.isfinite(change.differences["e1"])])
    return {
        "flux_bias": float(np.median(flux)),
        "flux_abs50": float(np.median(np.abs(flux))),
        "flux_abs90": float(np.quantile(np.abs(flux), 0.9)),
        "all_abs50": change.spreads["flux"].median,
        "lost": change.lost,
        "invented": change.invented,
        "position_abs50": change.spreads["position"].median,
        "ellipticity_abs50": float(np.median(e)) if e.size else 0.0,
        "rmse_sigma": float(
            np.sqrt(np.mean((decoded - image)[there] ** 2)) / catalogue.field.sigma
        ),
    }


def ours(image: np.ndarray, model: str) -> Iterator[tuple[str, float, np.ndarray, dict[str, Any]]]:
    """Yield token files at several qualities: name, bits per pixel, decoded image, details."""
    for quality in QUALITIES:
        packed = io.BytesIO()
        start = time.perf_counter()
        result = astro_vq.compress(image, packed, fidelity="tokens", model=model, quality=quality)
        middle = time.perf_counter()
        packed.seek(0)
        with astro_vq.open(packed, model=model) as file:
            decoded = np.asarray(file.data, np.float64)
            end = time.perf_counter()
            tokens = int(np.count_nonzero(file.tokens[0::2]))
        side = 16 + 8
        rate = 8 * (result.token_bytes + side) / image.size
        details = {
            "quality": quality,
            "tokens": tokens,
            "encode_s": middle - start,
            "decode_s": end - middle,
        }
        yield "tokens", rate, decoded, details
        if rate > LARGEST_BITS:
            return


def peers(
    image: np.ndarray, sigma: float
) -> Iterator[tuple[str, float, np.ndarray, dict[str, Any]]]:
    """Yield what other codecs make of an image at several settings."""
    import imagecodecs

    there = np.isfinite(image)
    sky = float(np.median(image[there]))
    scaled = np.arcsinh((np.where(there, image, sky).astype(np.float64) - sky) / sigma)
    low, high = float(scaled.min()), float(scaled.max())
    step = max(high - low, 1e-9) / 65535
    words = np.rint((scaled - low) / step).astype(np.uint16)

    def back(values: np.ndarray) -> np.ndarray:
        return np.asarray(sky + sigma * np.sinh(values.astype(np.float64) * step + low))

    for distance in (0.5, 1, 1.5, 2, 3, 4, 5.5, 7, 9, 11, 13, 15, 18, 21, 25):
        data = imagecodecs.jpegxl_encode(
            words, distance=distance, lossless=False, effort=7, numthreads=1
        )
        decoded = back(imagecodecs.jpegxl_decode(data))
        yield "JPEG-XL", 8 * len(data) / image.size, decoded, {"distance": distance}
    for level in np.arange(16, 50, 1.5):
        data = imagecodecs.jpeg2k_encode(
            words, level=float(level), reversible=False, codecformat="J2K", numthreads=1
        )
        rate = 8 * len(data) / image.size
        if rate <= 2 * LARGEST_BITS:
            yield "JPEG2000", rate, back(imagecodecs.jpeg2k_decode(data)), {"level": float(level)}
    filled = np.where(there, image, np.float32(sky))
    for scale in (3, 4, 6, 8, 11, 15, 20, 27, 36):
        file = io.BytesIO()
        hdu = fits.CompImageHDU(
            filled,
            compression_type="HCOMPRESS_1",
            hcomp_scale=scale,
            quantize_level=4.0,
            tile_shape=filled.shape,
        )
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
        with fits.open(io.BytesIO(file.getvalue())) as opened:
            decoded = np.asarray(opened[1].data, np.float64)
        with fits.open(io.BytesIO(file.getvalue()), disable_image_compression=True) as opened:
            rate = 8 * opened[1].header["PCOUNT"] / image.size
        if rate <= 2 * LARGEST_BITS:
            yield "HCOMPRESS", rate, decoded, {"scale": scale}


def measure(job: tuple[str, str, str, int]) -> dict[str, Any] | None:
    """Return all curves of one file."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sky, name, model, crop = job
    image = first_plane(Path(sky) / name, crop)
    if image is None:
        return None
    catalogue = make_catalogue(image, radius=4.0)
    with np.errstate(invalid="ignore"):
        bright = catalogue.measured.flux / catalogue.errors.flux > 5
    if bright.sum() < 3:
        return None
    rows = []
    for source in (ours(image, model), peers(image, catalogue.field.sigma)):
        for codec, rate, decoded, details in source:
            errors = judge(image, catalogue, decoded, bright)
            rows.append({"codec": codec, "bits_per_pixel": rate, **errors, **details})
    return {
        "file": name,
        "shape": list(image.shape),
        "sources": int(bright.sum()),
        "detected": int(catalogue.found.x.size),
        "fwhm": catalogue.field.fwhm,
        "rows": rows,
    }


def at_rate(rows: list[dict[str, Any]], codec: str, rate: float, key: str) -> float:
    """Return a figure of a codec at a rate, interpolated in logarithms; NaN outside its range."""
    points = sorted(
        (r["bits_per_pixel"], max(abs(r[key]), 1e-4)) for r in rows if r["codec"] == codec
    )
    if not points or not points[0][0] <= rate <= points[-1][0]:
        return float("nan")
    x, y = np.log(np.array(points)).T
    return float(np.exp(np.interp(np.log(rate), x, y)))


def best_peer(rows: list[dict[str, Any]], rate: float, key: str) -> float:
    """Return the smallest figure of the peers at a rate."""
    names = {r["codec"] for r in rows} - {"tokens"}
    values = [at_rate(rows, name, rate, key) for name in names]
    values = [v for v in values if np.isfinite(v)]
    return min(values) if values else float("nan")


def rate_at(rows: list[dict[str, Any]], codec: str, error: float) -> float:
    """Return the least rate at which a codec's median flux error is at most `error`."""
    points = sorted((r["bits_per_pixel"], r["flux_abs50"]) for r in rows if r["codec"] == codec)
    for (r0, e0), (r1, e1) in itertools.pairwise(points):
        if e0 > error >= e1:
            part = np.log(e0 / error) / np.log(e0 / max(e1, 1e-4))
            return float(np.exp(np.log(r0) + part * np.log(r1 / r0)))
    return points[0][0] if points and points[0][1] <= error else float("nan")


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over images that the documentation states."""
    table = []
    for rate in RATES:
        line: dict[str, Any] = {"bits_per_pixel": rate}
        for key in KEYS:
            pairs = [
                (at_rate(r["rows"], "tokens", rate, key), best_peer(r["rows"], rate, key))
                for r in results
            ]
            both = np.array([p for p in pairs if np.isfinite(p).all()]).reshape(-1, 2)
            mine = np.array([p[0] for p in pairs if np.isfinite(p[0])])
            line[key] = {
                "images": len(both),
                "tokens": float(np.median(mine)) if mine.size else None,
                "peer": float(np.median(both[:, 1])) if len(both) else None,
                "ratio": float(np.median(both[:, 0] / both[:, 1])) if len(both) else None,
                "largest_ratio": float((both[:, 0] / both[:, 1]).max()) if len(both) else None,
                "worse": float((both[:, 0] > both[:, 1]).mean()) if len(both) else None,
            }
        bias = [at_rate(r["rows"], "tokens", rate, "flux_bias") for r in results]
        line["tokens_bias"] = float(np.nanmedian(bias)) if np.isfinite(bias).any() else None
        table.append(line)
    saved = []
    for error in (1.0, 0.5, 0.3):
        shares = []
        for r in results:
            mine = rate_at(r["rows"], "tokens", error)
            others = [rate_at(r["rows"], c, error) for c in ("JPEG-XL", "JPEG2000", "HCOMPRESS")]
            others = [v for v in others if np.isfinite(v)]
            if np.isfinite(mine) and others:
                shares.append(1 - mine / min(others))
        share = float(np.median(shares)) if shares else None
        saved.append({"flux_abs50": error, "images": len(shares), "fewer_bits": share})
    return {"at_rate": table, "at_error": saved}


def main() -> None:
    """Run, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--crop", type=int, default=1024)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--files", nargs="*", default=FILES)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    jobs = [(arguments.sky, name, arguments.model, arguments.crop) for name in arguments.files]
    results = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(measure, jobs):
            if result is None:
                continue
            results.append(result)
            line = [f"{result['file'][:46]:46} {result['sources']:5}"]
            for rate in RATES:
                mine = at_rate(result["rows"], "tokens", rate, "flux_abs50")
                line.append(f"{mine:5.2f}/{best_peer(result['rows'], rate, 'flux_abs50'):5.2f}")
            print("  ".join(line), flush=True)
    summary = summarise(results)
    for line in summary["at_rate"]:
        print(json.dumps(line))
    print(json.dumps(summary["at_error"]))
    if arguments.json:
        about = {"machine": platform.processor() or platform.machine(), "crop": arguments.crop}
        document = {"about": about, "summary": summary, "images": results}
        Path(arguments.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
