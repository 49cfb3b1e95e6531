"""Put every FITS file of some folders through compression and back, and check all promises.

    python tests/benchmarks/check_roundtrip.py FOLDER... [--json out.json] [--model NAME]

For each file and for lossless and max-error (with a model also tokens): the file that comes back
is identical to the (unpacked) original byte for byte, or within its bound with everything else
identical; verify against the original finds nothing; astropy and fitsio open the compressed file;
fitsverify finds no more errors and warnings in it than in the original.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

import astro_vq
from astro_vq.io.fits import open_fits
from astro_vq.io.image import find_images

CASES = ("lossless", "max-error", "tokens")
_COUNT = re.compile(rb"(\d+) warnings? and (\d+) errors?")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--model", help="store tokens of this model too")
    options = parser.parse_args()
    files = [path for folder in options.folders for path in find_images(folder)]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for path in files:
            for case in CASES if options.model else CASES[:2]:
                row = check(path, case, options.model, Path(scratch))
                rows.append(row)
                state = "ok  " if not row["problems"] else "FAIL"
                print(
                    f"{state} {case:9} {row.get('bits_per_pixel') or 0:7.3f} bit/pixel "
                    f"{row.get('ratio', 0):7.2f} {path} {'; '.join(row['problems'])}",
                    flush=True,
                )
    failed = [row for row in rows if row["problems"]]
    print(f"{len(files)} files, {len(rows)} round trips, {len(failed)} with problems")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 1 if failed else 0


def check(path: Path, case: str, model: str | None, scratch: Path) -> dict:
    packed, back, plain = scratch / "x.avq", scratch / "back.fits", scratch / "plain.fits"
    row = {"file": str(path), "case": case, "problems": []}
    problems = row["problems"]
    try:
        tokens = {"tokens": False} if model is None else {"model": model}
        result = astro_vq.compress(path, packed, overwrite=True, fidelity=case, **tokens)
        row |= result.to_dict()
        unpack(path, plain)
        started = time.perf_counter()
        astro_vq.decompress(packed, back, overwrite=True)
        row["decompress_seconds"] = time.perf_counter() - started
        report = astro_vq.verify(packed, against=path)
        problems += report.problems
        expanded = any("tiles" in hdu for hdu in row["hdus"] if hdu["kind"] == "compressed-image")
        if case == "lossless" and not expanded and plain.read_bytes() != back.read_bytes():
            problems.append("not identical")
        problems += compare_with_astropy(path, back, row)
        same = set(open_elsewhere(plain))
        problems += [text for text in open_elsewhere(packed) if text not in same]
        before, after = run_fitsverify(plain), run_fitsverify(packed)
        row["fitsverify"] = {"original": before, "compressed": after, "back": run_fitsverify(back)}
        if after is not None and before is not None and (after > before):
            problems.append(f"fitsverify: {before} before, {after} after")
        back_found = row["fitsverify"]["back"]  # fewer when wrong checksums became right
        if back_found is not None and not expanded:
            worse = back_found > before
            if worse or (back_found != before and result.fidelity == "lossless"):
                problems.append(f"fitsverify: {before} before, {back_found} back")
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    return row


def unpack(path: Path, plain: Path) -> None:
    with open_fits(path) as file, plain.open("wb") as out:
        for hdu in file.hdus:
            for piece in hdu.iter_raw():
                out.write(piece)
        out.write(file.trailing)


def compare_with_astropy(path: Path, back: Path, row: dict) -> list[str]:
    """Compare pixels as astropy reads them, which is what users do."""
    problems = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as before, fits.open(back) as after:
            if len(before) != len(after):
                return [f"{len(before)} HDUs before, {len(after)} after"]
            for number, (one, other) in enumerate(zip(before, after, strict=True)):
                if not one.is_image or one.data is None:
                    continue
                bound = row["hdus"][number]["max_error"]
                first, second = np.asarray(one.data), np.asarray(other.data)
                native = first.dtype.newbyteorder("="), second.dtype.newbyteorder("=")
                if first.shape != second.shape or native[0] != native[1]:
                    problems.append(f"HDU {number}: {first.dtype} {first.shape} differs")
                    continue
                if first.dtype.kind == "f":
                    finite = np.isfinite(first)
                    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
                        problems.append(f"HDU {number}: missing pixels differ")
                    first, second = first[finite], second[finite]
                if first.size:
                    error = np.abs(first.astype(np.float64) - second.astype(np.float64)).max()
                    row["hdus"][number]["largest_error"] = float(error)
                    if bound is not None and error > bound:
                        problems.append(f"HDU {number}: error {error} above {bound}")
    return problems


def open_elsewhere(path: Path) -> list[str]:
    """Return the complaints of other readers; those about the original too are not ours."""
    problems = []
    try:
        with warnings.catch_warnings(), fits.open(path, checksum=True) as hdus:
            warnings.simplefilter("error")
            for hdu in hdus:
                _ = hdu.header, hdu.data
    except Exception as error:
        problems.append(f"astropy: {error}")
    try:
        import fitsio

        with fitsio.FITS(str(path)) as hdus:
            for hdu in hdus:
                hdu.read_header()
                if hdu.has_data():
                    hdu.read()
    except ImportError:
        pass
    except Exception as error:
        problems.append(f"fitsio: {error}")
    return problems


def run_fitsverify(path: Path) -> tuple[int, int] | None:
    """Return errors and warnings, or None where fitsverify is not installed."""
    program = shutil.which("fitsverify")
    if program is None:
        return None
    done = subprocess.run([program, "-q", str(path)], capture_output=True, check=False)
    match = _COUNT.search(done.stdout)
    return (int(match[2]), int(match[1])) if match else (0, 0)


if __name__ == "__main__":
    sys.exit(main())
