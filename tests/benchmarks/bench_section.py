"""What a small section of a large file costs: bytes, requests and time.

    python tests/benchmarks/bench_section.py FILE.avq... --json out.json
    python tests/benchmarks/bench_section.py --make 10000 --folder SCRATCH --json out.json

Every section is read by an `astro_vq.open` of its own, from places drawn at random: once from the
disk, once over HTTP from a server in this process that gives ranges and counts what it sends.
`--make` simulates a square frame and compresses it as it is by default, lossless as int16, and as
tokens alone. `--latency` adds a wait to each request, as a distant server would.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import astro_vq
from astro_vq.codec.reader import AvqFile
from astro_vq.io.byte_source import LocalFile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from range_server import serving


class CountingFile(LocalFile):
    """A local file that counts what is read of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bytes_read = self.reads = 0

    def read(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of the file."""
        data = super().read(start, n_bytes)
        self.bytes_read += len(data)
        self.reads += 1
        return data


def make_files(folder: Path, side: int) -> Iterator[Path]:
    """Simulate frames, compress them in three ways, and yield the names of the files."""
    from astro_vq.data_recipes.simulated import write_simulated_fits

    for dtype, choices in (
        ("float32", {}),
        ("float32", {"fidelity": "tokens"}),
        ("int16", {"fidelity": "lossless"}),
    ):
        original = folder / f"{dtype}-{side}.fits"
        packed = folder / f"{dtype}-{side}-{choices.get('fidelity', 'default')}.fits.avq"
        if not packed.exists():
            if not original.exists():
                write_simulated_fits(original, (side, side), dtype=dtype, with_truth=False)
            astro_vq.compress(original, packed, **choices)
        yield packed


def sections(shape: tuple[int, ...], side: int, count: int) -> list[tuple[slice, slice]]:
    """Return places of sections, the same in every run."""
    rng = np.random.default_rng(0)
    tops = rng.integers(0, shape[-2] - side + 1, count)
    lefts = rng.integers(0, shape[-1] - side + 1, count)
    return [
        (slice(y, y + side), slice(x, x + side))
        for y, x in zip(tops.tolist(), lefts.tolist(), strict=True)
    ]


def summary(rows: list[tuple[float, float, int, int]], size: int) -> dict[str, Any]:
    """Return median and largest figures of seconds, bytes and requests."""
    seconds, busy, sizes, requests = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "seconds_median": float(np.median(seconds)),
        "seconds_largest": float(seconds.max()),
        "processor_seconds_median": float(np.median(busy)),
        "processor_seconds_largest": float(busy.max()),
        "bytes_median": int(np.median(sizes)),
        "bytes_largest": int(sizes.max()),
        "share_largest": float(sizes.max() / size),
        "requests_median": int(np.median(requests)),
        "requests_largest": int(requests.max()),
    }


def measure(path: Path, side: int, count: int, latency: float) -> dict[str, Any]:
    """Measure one file."""
    size = path.stat().st_size
    with astro_vq.open(path) as file:
        shape = file.shape
        places = sections(shape, side, count)
        expected = [file.section[place] for place in places]
    local = []
    for place, due in zip(places, expected, strict=True):
        start, before = time.perf_counter(), time.process_time()
        source = CountingFile(path)
        with AvqFile(source) as file:
            part = file.section[place]
        times = time.perf_counter() - start, time.process_time() - before
        local.append((*times, source.bytes_read, source.reads))
        assert np.allclose(part, due, equal_nan=True)
    remote = []
    with serving({"file.avq": path.read_bytes()}, latency=latency) as server:
        for place, due in zip(places, expected, strict=True):
            server.reset()
            start, before = time.perf_counter(), time.process_time()
            with astro_vq.open(server.url("file.avq")) as file:
                part = file.section[place]
            times = time.perf_counter() - start, time.process_time() - before
            remote.append((*times, server.bytes_sent, len(server.requests) + 1))  # and HEAD
            assert np.allclose(part, due, equal_nan=True)
    return {
        "file": path.name,
        "bytes": size,
        "shape": list(shape),
        "section": [side, side],
        "sections": count,
        "latency": latency,
        "disk": summary(local, size),
        "http": summary(remote, size),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--make", type=int, metavar="SIDE", help="simulate frames of this size")
    parser.add_argument("--folder", type=Path, default=Path(), help="where simulated ones go")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    choices = parser.parse_args()
    files = [*choices.files, *(make_files(choices.folder, choices.make) if choices.make else ())]
    results = []
    for path in files:
        result = measure(path, choices.side, choices.count, choices.latency)
        results.append(result)
        for where in ("disk", "http"):
            found = result[where]
            print(
                f"{path.name} {where}: {found['bytes_largest']} bytes at most "
                f"({100 * found['share_largest']:.3f} %), {found['requests_median']} requests, "
                f"{found['seconds_median']:.3f} s, at most {found['seconds_largest']:.3f} s, "
                f"processor at most {found['processor_seconds_largest']:.3f} s"
            )
    if choices.json:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        choices.json.write_text(json.dumps(machine | {"results": results}, indent=2))


if __name__ == "__main__":
    main()
