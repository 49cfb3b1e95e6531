"""``astro-vq info``: what is inside a compressed file."""

import math
from collections.abc import Iterator
from typing import Any

import click

import astro_vq

from .console import Column, Console, Table, format_bytes, format_number
from .options import option, pass_console, verbosity_options
from .streams import STDIN, STREAM, Source, SourceParam, opened


@click.command()
@click.argument("file", type=SourceParam())
@option("max-pixels")
@click.option(
    "--tokens",
    "with_tokens",
    is_flag=True,
    help="Decode the tokens too, and say what one takes: coded, at fixed width, by its entropy.",
)
@option("json", help="Write everything as one JSON object instead of a table.")
@verbosity_options
@pass_console
def info(
    console: Console, file: Source, *, max_pixels: int, with_tokens: bool, as_json: bool
) -> None:
    """Show what is inside a compressed FILE (a name, a URL, or - for stdin).

    Names the fidelity and the bound of each HDU (in the unit of the image), where the bytes went
    (pixels, tokens), and the model by name and content hash. For images that are kept as tokens
    only, it gives the errors that were measured when the file was written. Nothing is decoded,
    unless --tokens asks for it.

    \b
    Examples:
      astro-vq info m31.fits.avq
      astro-vq info https://example.org/m31.fits.avq --json
    """  # noqa: D301 - click reads the character \b
    with opened(file) as source, astro_vq.open(source, max_pixels=max_pixels) as compressed:
        about: dict[str, Any] = compressed.info()
        if with_tokens:
            for number, hdu in enumerate(compressed.hdus):
                if hdu.has_tokens:
                    about["hdus"][number]["tokens"] |= {"bits": hdu.measure_tokens()}
    if str(file) == STREAM:
        about["file"] = STDIN
    if as_json:
        console.json(about)
        return
    for line in describe_file(about):
        console.result(line)
    console.result("")
    rows = [cells_of(hdu) for hdu in about["hdus"]]
    titles = ["hdu", "kind", "name", "shape", "type", "unit", "fidelity", "max error"]
    titles += ["bits/pixel", "tiles", "pixels", "tokens", "all"]
    widths = [max(len(row[place]) for row in rows) for place in range(len(titles))]
    table = Table(
        [
            Column(title, width, "<" if title in TEXTS else ">")
            for title, width in zip(titles, widths, strict=True)
        ]
    )
    console.result(table.header)
    for row in rows:
        console.result(table.row(row))


TEXTS = {"kind", "name", "shape", "type", "unit", "fidelity"}
"""Columns that are aligned to the left."""


def describe_file(about: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that stand above the table."""
    original = about["original"] or "an image without a file name"
    size = about["original_bytes"]
    ratio = f" ({format_bytes(size)}), ratio {size / about['bytes']:.4g}" if size else ""
    pixels = sum(math.prod(hdu["shape"]) for hdu in about["hdus"] if "shape" in hdu)
    bits = f", {8 * about['bytes'] / pixels:.4g} bits/pixel" if pixels else ""
    yield f"file      {about['file']}, {format_bytes(about['bytes'])}{bits}"
    yield f"original  {original}{ratio}"
    yield f"format    version {about['format']}, written by {about['writer'] or 'unknown'}"
    model = about["model"]
    if model is None:
        yield "model     none"
    else:
        place = f"embedded, {format_bytes(model['bytes'])}" if model["embedded"] else "not embedded"
        yield f"model     {model['name']} ({place}), hash {model['hash']}"
    for hdu in about["hdus"]:
        if "non_negative" in hdu:
            yield f"promised  HDU {hdu['index']}: no pixel is negative, zeros are exact"
        if "dither_seed" in hdu:
            yield f"dithered  HDU {hdu['index']}: seed {hdu['dither_seed']}"
        bits = hdu.get("tokens", {}).get("bits", {})
        if bits.get("count"):
            yield (
                f"tokens    HDU {hdu['index']}: {bits['count']}, of {bits['coded']:.3g} bits "
                f"(fixed width {bits['fixed_width']}, order-0 entropy {bits['order_0']:.3g})"
            )
        if bits.get("detail_bytes"):
            yield f"detail    HDU {hdu['index']}: {format_bytes(bits['detail_bytes'])}"
        if "rms_error_sigma" in hdu:
            yield (
                f"measured  HDU {hdu['index']}: rms error {format_number(hdu['rms_error_sigma'])} "
                f"sigma, largest error {format_number(hdu['largest_error'])} {hdu['unit']}".rstrip()
            )


def cells_of(hdu: dict[str, Any]) -> list[str]:
    """Return the cells of one HDU; what it does not have is left empty."""
    has_pixels = "shape" in hdu
    return [
        str(hdu["index"]),
        hdu["kind"],
        hdu["name"],
        " x ".join(map(str, hdu["shape"])) if has_pixels else "",
        hdu.get("dtype", ""),
        hdu.get("unit", ""),
        hdu["fidelity"],
        ("none" if hdu["max_error"] is None else format_number(hdu["max_error"]))
        if has_pixels
        else "",
        format_number(hdu["bits_per_pixel"]) if "bits_per_pixel" in hdu else "",
        str(hdu["tiles"]) if has_pixels else "",
        format_bytes(hdu["pixel_bytes"]) if has_pixels else "",
        format_bytes(hdu["token_bytes"]) if has_pixels else "",
        format_bytes(hdu["bytes"]),
    ]
