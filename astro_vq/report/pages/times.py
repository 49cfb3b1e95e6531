"""Time and throughput: by stage, on each device, and beside other codecs."""

from collections.abc import Iterator
from typing import Any

from astro_vq.report import html
from astro_vq.report.figures import style, times
from astro_vq.report.html import Cell, number_cell, text_cell, truth_cell
from astro_vq.report.study import ImageStudy

_STAGES = ("read", "model", "coding", "write")


def time_parts(study: ImageStudy) -> Iterator[str]:
    """Yield a table of stages for each device, the comparison of devices, and the figure."""
    yield html.heading("Time")
    yield _stage_table(study)
    yield html.paragraph(
        "Seconds, and in brackets megabytes of uncompressed images a second. Reading, the model "
        "and writing were run on their own after a warm-up; coding is the rest of the time of "
        "compressing. The start of the program is in none of them."
    )
    if any(len(item.record["devices"]) > 1 for item in study.asked):
        yield html.heading("Devices", 3)
        yield _device_table(study)
    yield html.picture(
        style.to_data_uri(times.draw_times(study)),
        "throughput of compressing and decompressing",
        "Throughput on this machine. astro-vq reads and writes whole files; other codecs work in "
        "memory on one thread.",
    )


def _stage_table(study: ImageStudy) -> str:
    titles = ("fidelity", "device", *_STAGES, "compress", "decompress")
    rows = []
    for item in study.asked:
        megabytes = item.record["image_bytes"] / 1e6
        for run in item.record["devices"]:
            cells = [_speed_cell(run["stages"][name], megabytes) for name in _STAGES]
            whole = [run["compress_seconds"], run["decompress_seconds"]]
            cells += [_speed_cell(seconds, megabytes) for seconds in whole]
            rows.append([text_cell(item.trial.choice.label), text_cell(run["device"]), *cells])
    return html.table(titles, rows)


def _speed_cell(seconds: float | None, megabytes: float) -> Cell:
    """Return a time with the throughput that it means."""
    if seconds is None:
        return number_cell(None)
    if seconds == 0:  # less than what was run on its own took
        return number_cell(0.0)
    speed = html.format_number(megabytes / seconds, 2)
    return Cell(f"{html.format_number(seconds, 2)} ({speed})", seconds)


def _device_table(study: ImageStudy) -> str:
    """Return what further devices did beside the first."""
    titles = ("fidelity", "device", "compress, times as fast", "decompress, times as fast",
              "same file", "same pixels")  # fmt: skip
    rows = []
    for item in study.asked:
        first, *others = item.record["devices"]
        rows += [
            [
                text_cell(item.trial.choice.label),
                text_cell(f"{run['device']} beside {first['device']}"),
                _ratio_cell(first, run, "compress_seconds"),
                _ratio_cell(first, run, "decompress_seconds"),
                truth_cell(run["same_bytes"], "yes", "NO"),
                truth_cell(run["same_pixels"], "yes", "NO"),
            ]
            for run in others
        ]
    return html.table(titles, rows)


def _ratio_cell(first: dict[str, Any], run: dict[str, Any], name: str) -> Cell:
    return number_cell(first[name] / max(run[name], 1e-9))
