"""Throughput of compressing and decompressing, ours and that of other codecs."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from astro_vq.plotting import COLOURS
from astro_vq.report.study import ImageStudy


def draw_times(study: ImageStudy) -> Figure:
    """Draw the time of compressing and decompressing, ours and that of other codecs."""
    rows: list[tuple[str, float, float, bool]] = []
    pixels = study.subject.pixels.size
    first = next((t for t in study.trials if any(p.bytes for p in t.peers)), None)
    for item in study.asked:
        whole = item.trial.rate.pixels / 1e6
        label = item.trial.choice.label
        rows.append(
            (f"astro-vq, {label}", whole / item.trial.compress_seconds,
             whole / item.trial.decompress_seconds, True)
        )  # fmt: skip
        rows += [
            (
                f"{p.name}, {label}",
                pixels / 1e6 / p.encode_seconds,
                pixels / 1e6 / p.decode_seconds,
                False,
            )
            for p in item.peers
            if item is first and p.bytes and p.encode_seconds and p.decode_seconds
        ]
    figure = Figure(figsize=(9.4, 0.27 * len(rows) + 1.2), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(rows))[::-1]
    ax.barh(places + 0.2, [r[1] for r in rows], 0.38, color=COLOURS[0], label="compress")
    ax.barh(places - 0.2, [r[2] for r in rows], 0.38, color=COLOURS[5], label="decompress",
            edgecolor=COLOURS[0], linewidth=0.5)  # fmt: skip
    ax.set_yticks(places, [row[0] for row in rows], fontsize=8)
    for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row[3] else "normal")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("million pixels per second (files for astro-vq, memory for the others)")
    ax.margins(y=0.02)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize=9)
    return figure
