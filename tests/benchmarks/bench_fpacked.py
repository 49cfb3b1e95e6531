"""Sizes of recoded tile-compressed images against those of the files themselves.

    python tests/benchmarks/bench_fpacked.py --sky ../shared/sky --json out.json

Both sizes are those of the whole data unit: streams, rows of the table, side information. Pixels
are compared bit by bit with what astropy and fitsio (CFITSIO, as funpack) give.
"""

import argparse
import io
import json
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
from astropy.io import fits

import astro_vq
from astro_vq.errors import AstroVQError
from astro_vq.io.fits import open_fits


def find_files(sky: Path, only: list[str] | None) -> Iterator[Path]:
    """Yield files with a tile-compressed floating point image."""
    for path in sorted(p for p in sky.rglob("*.fits*") if p.suffix not in (".gz", ".bz2")):
        if only and not any(word in str(path) for word in only):
            continue
        try:
            with open_fits(path) as file:
                found = any(hdu.kind == "compressed-image" and hdu.bitpix < 0 for hdu in file.hdus)
        except AstroVQError:
            continue
        if found:
            yield path


def data_bytes(file: io.BytesIO | Path, index: int) -> int:
    """Return the bytes of the data unit of an HDU."""
    with fits.open(file, disable_image_compression=True) as hdus:
        header = hdus[index].header
        return int(header["NAXIS1"] * header["NAXIS2"] + header["PCOUNT"])


def measure(path: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each compressed floating point image of a file."""
    packed, back = io.BytesIO(), io.BytesIO()
    start = time.perf_counter()
    astro_vq.compress(path, packed, tokens=False, **options)
    encoded = time.perf_counter()
    packed.seek(0)
    astro_vq.decompress(packed, back)
    decoded = time.perf_counter()
    rows = []
    with open_fits(path) as file:
        numbers = [
            hdu.index for hdu in file.hdus if hdu.kind == "compressed-image" and hdu.bitpix < 0
        ]
    for number in numbers:
        back.seek(0)
        packed.seek(0)
        with fits.open(back) as ours, fits.open(path) as theirs:
            bits = [h[number].data.astype("=f4").view("u4") for h in (ours, theirs)]
            cfitsio = fitsio.read(str(path), ext=number).astype("=f4")
            mine = ours[number].data.astype("=f4")
        rows.append(
            {
                "file": str(path),
                "hdu": number,
                "shape": list(mine.shape),
                "fz_bytes": data_bytes(path, number),
                "bytes": data_bytes(packed, number + 1),
                "same_as_astropy": bool(np.array_equal(*bits)),
                "same_as_cfitsio": bool(np.array_equal(mine, cfitsio, equal_nan=True)),
                "encode_s": encoded - start,
                "decode_s": decoded - encoded,
            }
        )
    return rows


def main() -> None:
    """Print a line per image; write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", type=Path, required=True, help="folder of FITS images")
    parser.add_argument("--only", nargs="+", help="words of which file names hold one")
    parser.add_argument("--max-error", help="a bound, such as 0.125sigma; lossless without")
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    options: dict[str, Any] = {"effort": arguments.effort}
    if arguments.max_error:
        options["max_error"] = arguments.max_error
    else:
        options["fidelity"] = "lossless"
    rows = []
    for path in find_files(arguments.sky, arguments.only):
        for row in measure(path, options):
            rows.append(row)
            pixels = np.prod(row["shape"])
            print(
                f"{str(path.relative_to(arguments.sky))[-52:]:52} {row['fz_bytes']:8d} "
                f"{row['bytes']:8d} {row['bytes'] / row['fz_bytes']:.4f}  "
                f"{8 * row['fz_bytes'] / pixels:6.3f} {8 * row['bytes'] / pixels:6.3f} bit/pixel  "
                f"same {row['same_as_astropy']} {row['same_as_cfitsio']}  "
                f"{row['encode_s']:.1f} s, {row['decode_s']:.1f} s",
                flush=True,
            )
    ratios = [row["bytes"] / row["fz_bytes"] for row in rows]
    if ratios:
        mean = float(np.exp(np.mean(np.log(ratios))))
        print(f"{len(ratios)} images, geometric mean {mean:.4f}, worst {max(ratios):.4f}")
    if arguments.json:
        report = {"machine": platform.processor() or platform.machine(), "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
