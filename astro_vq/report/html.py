"""Small pieces of HTML that pages are put together from; all text is escaped here."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from astro_vq import __version__

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
<footer>Made by astro-vq {version}. Needs no network; tables sort by their titles.</footer>
</main>
<script>
{script}</script>
</body>
</html>
"""


class Cell(NamedTuple):
    """One cell of a table.

    Attributes
    ----------
    text : str
        What is shown.
    value : float or None
        What it is sorted by; its text otherwise.
    style : str
        Class: '', 'text', 'yes', 'no' or 'text long'.
    link : str
        Address that the text points to, or ''.
    """

    text: str
    value: float | None = None
    style: str = ""
    link: str = ""


def render_page(title: str, body: Iterable[str]) -> str:
    """Return a whole page that needs nothing beside it.

    Parameters
    ----------
    title : str
        Of the window.
    body : iterable of str
        HTML of the parts.
    """
    folder = files("astro_vq.report")
    return PAGE.format(
        title=escape(title),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        body="\n".join(body),
        version=escape(__version__),
    )


def heading(text: str, level: int = 2, *, anchor: str = "") -> str:
    """Return a heading."""
    where = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{where}>{escape(text)}</h{level}>"


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of plain text."""
    kind = f' class="{escape(style)}"' if style else ""
    return f"<p{kind}>{escape(text)}</p>"


def verdict(strong: str, text: str) -> str:
    """Return a highlighted statement."""
    return f'<div class="verdict"><b>{escape(strong)}</b><br>{escape(text)}</div>'


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Return a row of figures, each a value and what it is."""
    parts = [
        f'<div class="card"><b>{escape(v)}</b><span>{escape(t)}</span></div>' for v, t in items
    ]
    return '<div class="cards">' + "".join(parts) + "</div>"


def notes(lines: Sequence[str]) -> str:
    """Return a list of notes, '' without any."""
    if not lines:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def picture(uri: str, alt: str, caption: str) -> str:
    """Return a figure with its caption."""
    return (
        f'<figure><img src="{escape(uri)}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def folded(title: str, body: str) -> str:
    """Return a part that is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    ours: Sequence[bool] | None = None,
    sortable: bool = True,
) -> str:
    """Return a table.

    Parameters
    ----------
    titles : sequence of str
        One for each column.
    rows : sequence of sequence of Cell
        The cells.
    ours : sequence of bool, optional
        Rows to stress.
    sortable : bool
        Whether clicks on titles sort it.
    """
    if not rows:
        return ""
    texts = ["text" in cell.style for cell in rows[0]]
    head = "".join(
        f'<th scope="col"{_class("text") if text else ""}>{escape(title)}</th>'
        for title, text in zip(titles, texts, strict=True)
    )
    lines = []
    for number, row in enumerate(rows):
        kind = _class("ours") if ours is not None and ours[number] else ""
        lines.append(f"<tr{kind}>" + "".join(_render_cell(cell) for cell in row) + "</tr>")
    kind = _class("sortable") if sortable and len(rows) > 1 else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{escape(name)}"'


def _render_cell(cell: Cell) -> str:
    value = f' data-value="{cell.value!r}"' if cell.value is not None else ""
    if cell.value is None and not cell.style.startswith("text") and cell.text == "-":
        value = ' data-value="nan"'
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="{escape(cell.link)}">{text}</a>'
    return f"<td{_class(cell.style) if cell.style else ''}{value}>{text}</td>"


def text_cell(text: str, *, link: str = "", long: bool = False) -> Cell:
    """Return a cell of text, on the left."""
    return Cell(text, None, "text long" if long else "text", link)


def number_cell(value: Any, digits: int = 3, style: str = "") -> Cell:  # noqa: ANN401
    """Return a cell of a number; a dash for None, and all digits of an integer."""
    if value is None:
        return Cell("-", None, style)
    if isinstance(value, int):
        return Cell(f"{value:,}".replace(",", "\u2009"), float(value), style)
    return Cell(format_number(float(value), digits), float(value), style)


def truth_cell(value: bool | None, yes: str = "yes", no: str = "no") -> Cell:
    """Return a cell that says whether something holds; a dash for None."""
    if value is None:
        return Cell("-")
    return Cell(yes if value else no, float(value), "yes" if value else "no")


def format_number(value: float, digits: int = 3) -> str:
    """Return a number with so many digits, without an exponent where that is readable."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 10**digits:
        places = max(digits - 1 - math.floor(math.log10(size)), 0)
        return f"{value:.{places}f}"
    if 10**digits <= size < 1e7:
        return f"{value:,.0f}".replace(",", "\u2009")
    return f"{value:.{digits - 1}e}"


def format_bytes(count: float) -> str:
    """Return a number of bytes for people, powers of ten."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
