"""A thousand files, one broken and one unreadable, with a worker and then the run itself killed.

Files are ZTF cutouts and crops of other instruments, written as FITS. The run is killed in the
middle and resumed; its outputs are compared with those of a serial run, byte for byte. Then the
same files are timed with one process and with two, and the memory of runs of two lengths compared.

Run: ``python tests/benchmarks/bench_batch.py [--files 1000] [--sky DIR] [--json OUT.json]``
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from astro_vq.batch.manifest import read_manifest
from astro_vq.io.image import find_images, iter_planes

DEFAULT_SKY = Path(__file__).resolve().parents[3] / "shared" / "sky"
BROKEN, UNREADABLE = "broken.fits", "unreadable.fits"


def make_files(
    folder: Path, count: int, sky: Path, *, side: int = 63, largest: int | None = None
) -> list[Path]:
    """Write ``count`` files of at most ``side`` pixels a side, two of which are no good.

    One is cut off in the middle of its pixels; reading the other is an error of the system. Frames
    of more than ``largest`` bytes are left out.
    """
    folder.mkdir(parents=True)
    names = []
    for number, pixels in zip(range(count - 2), _pixels(sky, largest), strict=False):
        path = folder / f"n{number // 100:02d}" / f"cutout{number:04d}.fits"
        path.parent.mkdir(exist_ok=True)
        hdu = fits.PrimaryHDU(pixels[:side, :side])
        hdu.header["OBJECT"] = f"cutout {number}"
        hdu.writeto(path, output_verify="ignore")  # a header of ours; checking takes longer
        names.append(path)
    broken = folder / BROKEN
    broken.write_bytes(names[0].read_bytes()[:3000])
    unreadable = folder / UNREADABLE
    if os.geteuid() and platform.system() != "Windows":
        unreadable.write_bytes(names[0].read_bytes())
        unreadable.chmod(0)
    else:
        unreadable.symlink_to("/proc/self/mem")  # the administrator reads every other file
    return [*names, broken, unreadable]


def _pixels(sky: Path, largest: int | None) -> Iterator[np.ndarray]:
    """Yield ZTF cutouts and crops of frames, in turn."""
    crops = _crops(sky / "eval", largest)
    for path in sorted(sky.glob("*/ztf/*.h5")):
        with h5py.File(path) as file:
            for kind in ("science", "reference", "difference"):
                for number, cutout in enumerate(file[kind]):
                    yield cutout
                    if number % 5 == 0:
                        yield next(crops)
    yield from crops


def _crops(folder: Path, largest: int | None, side: int = 63) -> Iterator[np.ndarray]:
    """Yield pieces of every frame, one of each, then another of each."""
    paths = [
        path for path in find_images(folder) if largest is None or path.stat().st_size <= largest
    ]
    for part in range(1, 100):
        for path in paths:
            plane = next(iter_planes(path))
            height, width = plane.shape
            y, x = (part * 97) % max(height - side, 1), (part * 61) % max(width - side, 1)
            yield np.asarray(plane.read(slice(y, y + side), slice(x, x + side)))


def command(*arguments: object) -> list[str]:
    """Return the command line of astro-vq with this interpreter."""
    return [sys.executable, "-m", "astro_vq", *map(str, arguments)]


def hashes(folder: Path, files: Sequence[Path] | None = None) -> dict[str, str]:
    """Return the hash of each file below a folder."""
    found = sorted(folder.rglob("*")) if files is None else files
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.is_file()
    }


def workers_of(pid: int) -> list[int]:
    """Return the processes of the pool that a run has started (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def count_done(manifest: Path) -> int:
    """Return how many lines of a manifest say done."""
    return manifest.read_bytes().count(b'"status": "done"') if manifest.exists() else 0


def run_killed(
    arguments: Sequence[object], manifest: Path, kills: Sequence[tuple[int, str]]
) -> int:
    """Start a run, and kill a worker or the run itself when so many files are done."""
    with subprocess.Popen(
        command(*arguments, "--manifest", manifest),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        for after, victim in kills:
            while count_done(manifest) < after and run.poll() is None:
                time.sleep(0.01)
            os.kill(workers_of(run.pid)[-1] if victim == "worker" else run.pid, signal.SIGKILL)
        run.communicate()
    return run.returncode


def check_manifest(manifest: Path, count: int) -> Counter[str]:
    """Check that all files but two are done once, and these two failed; return status counts."""
    statuses: dict[str, Counter[str]] = {}
    for record in read_manifest(manifest):
        if record["status"] != "run":
            name = Path(record["input"]).name
            statuses.setdefault(name, Counter())[record["status"]] += 1
    good = {name: c for name, c in statuses.items() if name not in (BROKEN, UNREADABLE)}
    wrong = {name: dict(c) for name, c in good.items() if c["done"] != 1 or c["failed"]}
    if len(good) != count - 2 or wrong:
        raise AssertionError(f"{len(good)} files, of which not done exactly once: {wrong}")
    if any(statuses[name]["done"] or not statuses[name]["failed"] for name in (BROKEN, UNREADABLE)):
        raise AssertionError("a bad file is not listed as failed")
    return sum(statuses.values(), Counter())


def survive(folder: Path, count: int, options: Sequence[object], *, done: int) -> dict[str, Any]:
    """Kill a worker and later the whole run; resume it; resume it again when all is done."""
    manifest, packed = folder / "run.jsonl", folder / "packed"
    arguments = ["compress", folder / "in", "-O", packed, "-j", 2, *options]
    code = run_killed(arguments, manifest, [(done // 3, "worker"), (2 * done // 3, "run")])
    if code != -signal.SIGKILL:
        raise AssertionError(f"the run ended with {code} before it was killed")
    interrupted = count_done(manifest)
    again = [*command(*arguments, "--manifest", manifest), "--resume"]
    resumed = subprocess.run(again, capture_output=True, text=True, check=False)
    named = f"2 of {count} files failed: "
    last = resumed.stderr.splitlines()[-1]
    if resumed.returncode != 1 or named not in last or BROKEN not in last or UNREADABLE not in last:
        raise AssertionError(resumed.stderr)
    statuses = check_manifest(manifest, count)
    nothing = subprocess.run(again, capture_output=True, text=True, check=False)
    if f"{count - 2} of {count} files were done already" not in nothing.stderr:
        raise AssertionError(nothing.stderr)
    check_manifest(manifest, count)
    leftovers = [path.name for path in packed.rglob(".*.part")]
    if leftovers:
        raise AssertionError(f"left over: {leftovers}")
    return {"done_when_killed": interrupted, "lines": dict(statuses)}


def timed(arguments: Sequence[object]) -> dict[str, float]:
    """Run a command; return wall and processor seconds, and MiB of its largest process."""
    started = time.perf_counter()
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,  # of all its processes
        "peak_mib": usage.ru_maxrss / 1024,
    }


def _rate(figures: dict[str, Any], name: str, count: int) -> float:
    """Return files per second without the time that processes take to start."""
    more = figures[name]["seconds"] - figures[f"{name}_of_200"]["seconds"]
    return (count - 200) / more


def main() -> None:
    """Run everything and print a table, or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--sky", type=Path, default=DEFAULT_SKY)
    parser.add_argument("--only", choices=["survive", "speed", "all"], default="all")
    parser.add_argument("--options", default="", help="further options of compress, as one word")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = given.options.split()
    figures: dict[str, Any] = {
        "files": given.files,
        "options": options,
        "machine": f"{os.cpu_count()} cores of {platform.machine()}",
    }
    with tempfile.TemporaryDirectory(prefix="bench-batch-") as name:
        folder = Path(name)
        make_files(folder / "in", given.files, given.sky)
        plain = ["compress", folder / "in", *options]
        figures["serial"] = timed([*plain, "-O", folder / "one"])
        if given.only != "speed":
            figures["survive"] = survive(folder, given.files, options, done=given.files)
            same = hashes(folder / "packed") == hashes(folder / "one")
            figures["identical_to_serial"] = same
            if not same:
                raise AssertionError("outputs differ from those of a serial run")
        if given.only != "survive":
            figures["two_processes"] = timed([*plain, "-O", folder / "two", "-j", 2])
            figures["speedup"] = figures["serial"]["seconds"] / figures["two_processes"]["seconds"]
            part = [*sorted((folder / "in").glob("n0[0-1]"))]
            figures["serial_of_200"] = timed(["compress", *part, *options, "-O", folder / "few"])
            few = timed(["compress", *part, *options, "-O", folder / "few2", "-j", 2])
            figures["two_processes_of_200"] = few
            rates = [_rate(figures, name, given.files) for name in ("serial", "two_processes")]
            figures["files_per_second"] = rates
            figures["speedup_without_start"] = rates[1] / rates[0]
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    else:
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
