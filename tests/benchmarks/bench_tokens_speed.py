"""Speed of sparse tokens: pixels a second that they are made and decoded with, by threads.

    python tests/benchmarks/bench_tokens_speed.py --sky ../shared/sky/eval --json out.json

Frames are first planes of real images, repeated to fill the side that is asked for. Each number of
threads runs in a process of its own, since libraries read it when they start. Files must be the
same whatever the number. Several files at a time, a process and a thread each, are what a batch
does: their speeds are summed.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_tokens import first_plane

import astro_vq

FILES = {
    "KiDS": "kids-vst-omegacam/g.fits",
    "DES": "decam-des-coadd/DES_r.fits",
    "WFC3": "hst-wfc3-ir/abell_2744_cd_galaxy_f105w.fits.gz",
    "tnx": "ctio-kpno-mosaic/tnx.fits",
}


def frame(path: Path, side: int) -> np.ndarray:
    """Return the first plane of a file, repeated or cut to a square."""
    plane = first_plane(path, side)
    if plane is None:
        raise SystemExit(f"{path}: no image in it")
    times = -(-side // min(plane.shape))
    return np.ascontiguousarray(np.tile(plane, (times, times))[:side, :side])


def measure(image: np.ndarray, quality: float, repeats: int) -> dict[str, Any]:
    """Return medians of Mpix/s of compressing and decompressing, and the bytes' digest."""
    seconds: dict[str, list[float]] = {"compress": [], "decompress": [], "processor": []}
    for _ in range(repeats):
        packed = io.BytesIO()
        start, processor = time.perf_counter(), time.process_time()
        result = astro_vq.compress(image, packed, fidelity="tokens", quality=quality)
        seconds["compress"].append(time.perf_counter() - start)
        seconds["processor"].append(time.process_time() - processor)
        packed.seek(0)
        start = time.perf_counter()
        with astro_vq.open(packed) as file:
            np.asarray(file.data)
        seconds["decompress"].append(time.perf_counter() - start)
    pixels = image.size / 1e6
    return {
        "compress": pixels / statistics.median(seconds["compress"]),
        "compress_processor": pixels / statistics.median(seconds["processor"]),
        "decompress": pixels / statistics.median(seconds["decompress"]),
        "bits_per_pixel": 8 * result.token_bytes / image.size,
        "digest": hashlib.sha256(packed.getvalue()).hexdigest()[:16],
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all frames with the threads that this process has."""
    small = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    small[::40, ::40] += 50
    measure(small, 5.0, 1)  # what is compiled or read once
    rows = []
    for side in arguments.sides:
        for name in arguments.frames:
            image = frame(arguments.sky / FILES[name], side)
            for quality in arguments.qualities:
                row = measure(image, quality, arguments.repeats)
                row |= {"frame": name, "side": side, "quality": quality}
                row["threads"] = int(os.environ["OMP_NUM_THREADS"])
                row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                rows.append(row)
    return rows


def parse() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sky", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frames", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--sides", nargs="+", type=int, default=[2048, 4096])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--qualities", nargs="+", type=float, default=[5.0, 10.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, default=2, help="at a time, a process each")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def start(threads: int) -> subprocess.Popen[str]:
    """Start a process that measures all frames with some threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    command = [sys.executable, __file__, "--within", *sys.argv[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Return what a process has measured."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a process ended with status {process.returncode}")
    return json.loads(output.splitlines()[-1])


def summed(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return rows of processes that ran at the same time as one: their speeds together."""
    rows = []
    for same in zip(*parts, strict=True):
        row = {**same[0], "files": len(same)}
        for speed in ("compress", "decompress"):
            row[speed] = sum(part[speed] for part in same)
        rows.append(row)
    return rows


def main() -> None:
    """Run a process for each number of threads, and several at a time, and show what they found."""
    arguments = parse()
    if arguments.within:
        print(json.dumps(run(arguments)))
        return
    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        rows += summed([result_of(start(threads))])
    if arguments.files > 1:
        processes = [start(1) for _ in range(arguments.files)]
        rows += summed([result_of(process) for process in processes])
    digests: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        key = row["frame"], row["side"], row["quality"]
        digests.setdefault(key, set()).add(row["digest"])
        print(
            f"{row['frame']:5} {row['side']:5} {row['quality']:5.1f} sigma {row['threads']} threads"
            f" {row['files']} files"
            f"  compress {row['compress']:5.2f} Mpix/s (processor {row['compress_processor']:5.2f})"
            f"  decompress {row['decompress']:5.1f} Mpix/s  {row['bits_per_pixel']:.4f} bits/pixel"
        )
    same = all(len(found) == 1 for found in digests.values())
    print(f"files are {'the same' if same else 'NOT the same'} whatever the number of threads")
    if arguments.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        arguments.json.write_text(json.dumps({"rows": rows, "same": same, **machine}, indent=1))


if __name__ == "__main__":
    main()
