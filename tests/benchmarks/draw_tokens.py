"""Draw what `bench_tokens.py --json` measured: flux errors and RMSE against the rate.

python tests/benchmarks/draw_tokens.py out.json [more.json] -o docs/figures/token-rates.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

RATES = np.geomspace(0.02, 1, 41)
LINES = ("#0072b2", "#009e73", "#999999")


def curve(rows: list[dict[str, Any]], codec: str, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rates and a figure of a codec, rates rising."""
    points = sorted((r["bits_per_pixel"], r[figure]) for r in rows if r["codec"] == codec)
    points = [(rate, value) for rate, value in points if value is not None and value > 0]
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])


def at_rates(rates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a curve at `RATES`, between its points by the logarithms, NaN outside."""
    if len(rates) < 2:
        return np.full(len(RATES), np.nan)
    out = np.exp(np.interp(np.log(RATES), np.log(rates), np.log(values)))
    out[(rates[0] > RATES) | (rates[-1] < RATES)] = np.nan
    return out


def median(images: list[dict[str, Any]], codec: str, figure: str) -> np.ndarray:
    """Return the median over images at `RATES`, where at least half of them have a value."""
    each = np.array([at_rates(*curve(image["rows"], codec, figure)) for image in images])
    enough = np.isfinite(each).sum(0) >= len(images) / 2
    out = np.full(len(RATES), np.nan)
    out[enough] = np.nanmedian(each[:, enough], axis=0)
    return out


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, nargs="+", help="JSON of bench_tokens.py")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    images = [i for path in options.figures for i in json.loads(path.read_text())["images"]]
    codecs = sorted({row["codec"] for image in images for row in image["rows"]} - {"tokens"})
    plots = (
        ("flux_abs50", "median flux error / error of the flux"),
        ("flux_abs90", "90th percentile of it"),
        ("rmse_sigma", "RMSE / sigma of the sky"),
    )
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    for axis, (name, label) in zip(axes, plots, strict=True):
        for codec, colour in zip(["tokens", *codecs], ("#d55e00", *LINES), strict=False):
            width = 2.2 if codec == "tokens" else 1.2
            axis.loglog(RATES, median(images, codec, name), color=colour, lw=width, label=codec)
        axis.set(xlabel="bits per pixel", title=label)
        axis.title.set_fontsize(9)
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3, which="both", lw=0.4)
    axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"median over {len(images)} images", fontsize=9)
    figure.savefig(options.output, dpi=90)


if __name__ == "__main__":
    main()
