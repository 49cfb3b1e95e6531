"""The page of a codebook: how codes are used, what each draws, and how alike they are."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_vq.io.atomic import atomic_writer
from astro_vq.metrics.codebook import CodebookStudy, LevelStudy, iterate_usage
from astro_vq.plotting import COLOURS, draw_usage
from astro_vq.report import html
from astro_vq.report.figures import colour_map, to_data_uri
from astro_vq.report.html import number_cell, text_cell

_SHOWN_EXAMPLES = 24
_COLOUR_MAP = "cividis"  # even for all colour vision, and in grey


def draw_atlas(level: LevelStudy) -> Figure:
    """Draw what every code draws, similar ones beside each other, dead ones framed.

    All drawings of a level share one stretch, symmetric about its background.
    """
    count = len(level.drawn)
    columns = min(32, max(8, int(np.ceil(np.sqrt(2 * count)))))
    rows = -(-count // columns)
    side = level.drawings.shape[-1]
    images = level.drawings[:, 0]
    level_of_sky = float(np.median(images))
    limit = max(float(np.quantile(np.abs(images - level_of_sky), 0.995)), 1e-6)
    gap = max(side // 12, 1)
    sheet = np.full((rows * (side + gap) + gap, columns * (side + gap) + gap), np.nan)
    dead = level.counts[level.drawn] == 0 if level.counts.any() else np.zeros(count, dtype=bool)
    figure = Figure(figsize=(10.6, 10.6 * rows / columns + 0.7), layout="constrained")
    ax = figure.subplots()
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = gap + row * (side + gap), gap + column * (side + gap)
        sheet[top : top + side, left : left + side] = image - level_of_sky
        if dead[number]:
            x, y = [left, left + side], [top, top + side]
            ax.plot(x, y, color=COLOURS[4], linewidth=0.7)
            ax.plot(x, y[::-1], color=COLOURS[4], linewidth=0.7)
    # faint codes are seen beside those of star cores
    norm = AsinhNorm(linear_width=0.03 * limit, vmin=-limit, vmax=limit)
    shown = ax.imshow(
        np.ma.masked_invalid(sheet),
        cmap=colour_map("RdBu_r", "white"),
        norm=norm,
        interpolation="nearest",
    )
    ax.set_axis_off()
    figure.colorbar(shown, ax=ax, label="network units", shrink=0.7, aspect=30, pad=0.01)
    return figure


def draw_projection(level: LevelStudy) -> Figure:
    """Draw codes on their first two principal components, the size of a point its use."""
    figure = Figure(figsize=(10.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    share = level.counts / max(int(level.counts.max()), 1)
    used = level.counts > 0 if level.counts.any() else np.ones(len(share), dtype=bool)
    rank = np.empty(len(share))
    rank[level.order] = np.arange(len(share))
    left.scatter(
        *level.projection[used].T, s=6 + 130 * np.sqrt(share[used]), c=rank[used],
        cmap=_COLOUR_MAP, alpha=0.75, linewidths=0,
    )  # fmt: skip
    if not used.all():
        left.plot(*level.projection[~used].T, "x", color=COLOURS[1], markersize=4, label="dead")
        left.legend(frameon=False)
    left.set_xlabel("first principal component")
    left.set_ylabel("second principal component")
    left.set_title(f"{100 * level.explained:.0f} % of the variance", loc="left", fontsize=10)
    right.hist(level.nearest, bins=40, color=COLOURS[0])
    right.set_xlabel("distance to the nearest other code")
    right.set_ylabel("codes")
    for ax in (left, right):
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    return figure


def draw_map(study: CodebookStudy) -> Figure:
    """Draw an image beside the codes of each level, coloured by their place in the order."""
    if study.image is None:
        raise ValueError("there is no image to map codes over")
    panels = 1 + len(study.image_codes)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    shape = study.image.shape
    height = min(max(3.5 * shape[0] / shape[1], 1.2), 6.0)
    figure = Figure(figsize=(10.6, rows * (height + 0.4)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = np.quantile(study.image, (0.005, 0.998))
    axes[0].imshow(
        study.image, origin="lower", cmap="gray", vmin=low, vmax=max(high, low + 2),
        interpolation="nearest",
    )  # fmt: skip
    axes[0].set_title("image (network units)", loc="left", fontsize=10)
    for ax, level, codes in zip(axes[1:], study.levels, study.image_codes, strict=False):
        rank = np.empty(len(level.order))
        rank[level.order] = np.arange(len(level.order))
        ax.imshow(rank[codes], origin="lower", cmap=_COLOUR_MAP, interpolation="nearest")
        ax.set_title(f"{level.name}: {np.unique(codes).size} codes", loc="left", fontsize=10)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure


def draw_examples(level: LevelStudy) -> Figure:
    """Draw the most used codes beside pieces of the data that use them."""
    codes = [code for code, count, _ in iterate_usage(level) if count and code in level.examples]
    # some of the most used, then some of the less used ones
    spread = np.linspace(0, len(codes) - 1, min(len(codes), _SHOWN_EXAMPLES)).astype(int)
    chosen = [codes[i] for i in np.unique(spread)]
    columns = 6
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(10.6, 2.0 * max(rows, 1)), layout="constrained")
    grid = figure.subplots(max(rows, 1), columns, squeeze=False).ravel()
    place = {int(code): number for number, code in enumerate(level.drawn)}
    for ax in grid:
        ax.set_axis_off()
    for ax, code in zip(grid, chosen, strict=False):
        pieces = list(level.examples[code][:3])
        if code in place:
            pieces.insert(0, level.drawings[place[code], 0])
        _draw_row(ax, pieces)
        share = level.counts[code] / level.counts.sum()
        ax.set_title(f"{code}: {100 * share:.2g} %", fontsize=8)
    return figure


def _draw_row(ax: Axes, pieces: Sequence[NDArray[Any]]) -> None:
    """Draw up to four pieces in a square, each in its own stretch; the first is the code."""
    side = 24
    sheet = np.full((2 * side + 2, 2 * side + 2), np.nan)
    for number, piece in enumerate(pieces[:4]):
        step = np.linspace(0, piece.shape[0] - 1, side).round().astype(int)
        small = piece[np.ix_(step, step)]
        low, high = np.quantile(small, (0.01, 0.99))
        row, column = divmod(number, 2)
        top, left = row * (side + 2), column * (side + 2)
        sheet[top : top + side, left : left + side] = (small - low) / max(high - low, 1.0)
    ax.imshow(
        np.ma.masked_invalid(np.clip(sheet, 0, 1)),
        cmap=colour_map("gray", "white"),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )


def draw_drift(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw how perplexity and dead codes went during training."""
    figure = Figure(figsize=(10.6, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, name, title in zip(
        axes, ("perplexity", "dead_codes"), ("perplexity", "dead codes"), strict=True
    ):
        ax.plot(history["step"], history[name], "o-", markersize=3, color=COLOURS[0])
        ax.set_xlabel("step")
        ax.set_ylabel(title)
        ax.set_ylim(bottom=0)
        ax.grid(color="0.92")
    return figure


def read_history(run: Path) -> dict[str, list[float]]:
    """Return step, perplexity and dead codes of the metrics of a run; empty where there are none.

    Rows of validation are taken where they have these figures, or else those of training.
    """
    try:
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    names = ("step", "perplexity", "dead_codes")
    complete = [row for row in rows if all(_is_number(row.get(name)) for name in names)]
    validated = [row for row in complete if row.get("split") == "validation"]
    chosen = validated if len(validated) > 1 else complete
    if len(chosen) < 2:
        return {}
    return {name: [float(row[name]) for row in chosen] for name in names}


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False


def render_codebook(
    study: CodebookStudy, about: Mapping[str, str], history: Mapping[str, Sequence[float]]
) -> tuple[str, dict[str, Figure]]:
    """Return the page of a model's codebooks, and its figures by name.

    Parameters
    ----------
    study : CodebookStudy
        Codebooks.
    about : mapping of str to str
        What to say of the model: ``name``, ``hash``, ``data``.
    history : mapping
        Of the training, see `read_history`; may be empty.
    """
    drawn: dict[str, Figure] = {}
    body = list(_parts(study, about, history, drawn))
    return html.render_page(f"astro-vq codebook: {about['name']}", body), drawn


def _parts(
    study: CodebookStudy,
    about: Mapping[str, str],
    history: Mapping[str, Sequence[float]],
    drawn: dict[str, Figure],
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
    if history:
        yield html.heading("Drift over training")
        yield _figure(drawn, "drift", draw_drift(history), "perplexity over training",
                      "Use of the codes during training (metrics.csv of the run).")  # fmt: skip


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
    level: LevelStudy, suffix: str, drawn: dict[str, Figure], *, stride: int, first: bool
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


def _figure(drawn: dict[str, Figure], name: str, figure: Figure, alt: str, caption: str) -> str:
    drawn[name] = figure
    return html.picture(to_data_uri(figure), alt, caption)


def write_hdf5(path: Path, study: CodebookStudy, *, overwrite: bool) -> None:
    """Write the arrays of a study: one group a level, and the map over the image.

    Parameters
    ----------
    path : Path
        File to write.
    study : CodebookStudy
        Codebooks.
    overwrite : bool
        Replace a file that exists.
    """
    with atomic_writer(path, overwrite=overwrite) as raw, h5py.File(raw, "w") as file:
        file.attrs["stride"] = study.stride
        file.attrs["cutouts"] = study.cutouts
        for level in study.levels:
            group = file.create_group(level.name)
            for name in ("vectors", "counts", "drawn", "nearest", "order", "projection"):
                group[name] = getattr(level, name)
            group.create_dataset("drawings", data=level.drawings, compression="gzip", shuffle=True)
            if level.counts.any():
                group.attrs["perplexity"] = level.perplexity
                group.attrs["entropy_bits"] = level.entropy_bits
        if study.image is not None:
            file["image"] = study.image
            for level, codes in zip(study.levels, study.image_codes, strict=True):
                file[f"image_codes/{level.name}"] = codes
