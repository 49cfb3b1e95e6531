"""The page of a codebook: how codes are used, what each draws, and how alike they are."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from astro_vq.metrics.codebook import CodebookStudy, LevelStudy, iterate_usage
from astro_vq.metrics.codebook_drift import Drift
from astro_vq.plotting import draw_usage
from astro_vq.report import html
from astro_vq.report.figures.codebook import (
    draw_atlas,
    draw_drift,
    draw_examples,
    draw_map,
    draw_projection,
)
from astro_vq.report.figures.style import data_uri, to_image
from astro_vq.report.html import number_cell, text_cell


def render_codebook(
    study: CodebookStudy,
    about: Mapping[str, str],
    history: Mapping[str, Sequence[float]],
    drift: Sequence[Drift] = (),
) -> tuple[str, dict[str, bytes]]:
    """Return the page of a model's codebooks, and its figures by name, as PNG files.

    Parameters
    ----------
    study : CodebookStudy
        Codebooks.
    about : mapping of str to str
        What to say of the model: ``name``, ``hash``, ``data``.
    history : mapping
        Of the training, see `read_history`; may be empty.
    drift : sequence of Drift
        How the codes of each level moved; may be empty.
    """
    drawn: dict[str, bytes] = {}
    body = list(_parts(study, about, history, drift, drawn))
    return html.render_page(f"astro-vq codebook: {about['name']}", body), drawn


def _parts(
    study: CodebookStudy,
    about: Mapping[str, str],
    history: Mapping[str, Sequence[float]],
    drift: Sequence[Drift],
    drawn: dict[str, bytes],
) -> Iterator[str]:
    yield html.heading(f"Codebook of {about['name']}", 1)
    yield html.paragraph(f"model hash {about['hash'][:16]} \u00b7 {about['data']}", "lead")
    yield html.cards(_key_figures(study))
    if len(study.levels) > 1:
        yield _level_table(study)
    if study.image is not None:
        yield html.heading("Codes over an image")
        yield _figure(
            drawn, "map", draw_map(study), "image and its codes",
            "Each token in the colour of its code's place in the order of similarity, so that "
            "alike codes have alike colours.",
        )  # fmt: skip
    for number, level in enumerate(study.levels):
        suffix = "" if len(study.levels) == 1 else f"-{level.name.replace(' ', '-')}"
        if len(study.levels) > 1:
            yield html.heading(level.name.capitalize())
        yield from _level_parts(level, suffix, drawn, stride=study.stride, first=number == 0)
    if history or drift:
        yield html.heading("Drift over training")
        yield _figure(
            drawn, "drift", draw_drift(history, drift), "codebook over training",
            "Use of the codes during training (metrics of the run), and how far codes were from "
            "where they ended (snapshots of the run), in units of the median distance between "
            "nearest codes. A code that is not nearest to itself has changed its place with "
            "others or was set anew.",
        )  # fmt: skip


def _key_figures(study: CodebookStudy) -> list[tuple[str, str]]:
    level = study.levels[0]
    items = [(str(len(level.counts)), f"codes of {level.vectors.shape[1]} numbers")]
    if level.counts.any():
        used = len(level.counts) - level.dead
        items += [
            (f"{100 * used / len(level.counts):.1f} %", f"of the codes used ({level.dead} dead)"),
            (f"{level.perplexity:.1f}", "perplexity"),
            (
                f"{level.entropy_bits:.2f}",
                f"bits a token, {np.log2(len(level.counts)):.1f} if even",
            ),
            (f"{level.entropy_bits / study.stride**2:.3f}", "bits a pixel at that entropy")
            if len(study.levels) == 1
            else (str(len(study.levels)), "levels"),
            (str(study.cutouts), f"cutouts, {int(level.counts.sum())} tokens"),
        ]
    return items


def _level_table(study: CodebookStudy) -> str:
    rows = []
    for level in study.levels:
        record = level.to_dict()
        rows.append(
            [text_cell(level.name)]
            + [
                number_cell(record[name])
                for name in (
                    "codes",
                    "perplexity",
                    "entropy_bits",
                    "dead",
                    "nearest_distance_median",
                )
            ]
        )
    titles = ("level", "codes", "perplexity", "bits a token", "dead", "nearest distance")
    return html.table(titles, rows)


def _level_parts(
    level: LevelStudy, suffix: str, drawn: dict[str, bytes], *, stride: int, first: bool
) -> Iterator[str]:
    size = 3 if first else 4
    yield html.heading("What each code draws", size)
    hidden = len(level.counts) - len(level.drawn)
    rest = f" The {hidden} least used ones are left out." if hidden else ""
    yield _figure(
        drawn, f"atlas{suffix}", draw_atlas(level), "atlas of codes",
        "Each code decoded alone amid the most frequent codes, in an order in which alike "
        "codes stand beside each other; one stretch for all. Crossed out: not used on this "
        f"data.{rest}",
    )  # fmt: skip
    if level.counts.any():
        yield html.heading("Use", size)
        yield _figure(
            drawn, f"usage{suffix}",
            draw_usage(level.counts.tolist(), perplexity=level.perplexity, title=level.name),
            "use of codes", "Share of all tokens, the most used codes first.",
        )  # fmt: skip
        yield _figure(
            drawn, f"examples{suffix}", draw_examples(level), "codes and cutouts that use them",
            "Codes from the most to the least used: in each square, top left what the code "
            "draws, then pieces of the three cutouts that use it most, each in its own stretch.",
        )  # fmt: skip
    yield html.heading("How alike they are", size)
    yield _figure(
        drawn, f"projection{suffix}", draw_projection(level), "projection of codes",
        "Codes on the plane of their largest variance; a larger point is used more, alike "
        "colours are near in the order of similarity. Right: distances between nearest codes.",
    )  # fmt: skip
    if level.counts.any():
        rows = [
            [
                number_cell(code, 6),
                number_cell(count, 9),
                number_cell(100 * share),
                number_cell(float(level.nearest[code])),
            ]
            for code, count, share in iterate_usage(level)
        ]
        titles = ("code", "tokens", "share %", "nearest distance")
        yield html.folded("All codes", html.table(titles, rows[:4096]))


def _figure(drawn: dict[str, bytes], name: str, figure: Figure, alt: str, caption: str) -> str:
    drawn[name] = to_image(figure)
    return html.picture(data_uri(drawn[name], "png"), alt, caption)
