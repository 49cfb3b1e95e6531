"""Which bound is acceptable: effects of all bounds tried against their limits."""

from collections.abc import Iterator

from astro_vq.report import html
from astro_vq.report.figures import style, sweep
from astro_vq.report.html import number_cell, text_cell
from astro_vq.report.limits import LIMITS, effects_of
from astro_vq.report.study import ImageStudy


def sweep_parts(study: ImageStudy) -> Iterator[str]:
    """Yield the figure and the table of a sweep."""
    yield html.heading("Which bound is acceptable?")
    limits = study.record["limits"]
    yield html.picture(
        style.to_data_uri(sweep.draw_sweep(study)),
        "effects over their limits against the bound",
        "Each effect over its limit; the shaded part is not acceptable. The dashed line is the "
        "loosest bound within all limits, tighter ones included.",
    )
    swept = sorted(
        (t.record for t in study.trials if t.record["factor"] and t.trial.bound),
        key=lambda record: float(record["factor"]),
    )
    rows = []
    for name, limit in limits.items():
        values = [effects_of(record).get(name) for record in swept]
        cells = [number_cell(v, 2, "no" if v is not None and v > limit else "") for v in values]
        rows.append([text_cell(name), number_cell(limit), *cells, text_cell(LIMITS[name].meaning)])
    titles = [
        "effect",
        "limit",
        *(html.format_number(r["factor"]) + " \u03c3" for r in swept),
        "what it is",
    ]
    yield html.table(titles, rows)
