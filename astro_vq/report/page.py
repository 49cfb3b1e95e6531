"""The page of one image: key figures, tables, pictures, and what they mean."""

from collections.abc import Iterator
from typing import Any

from astro_vq.report import figures, html
from astro_vq.report.html import Cell, number_cell, text_cell, truth_cell
from astro_vq.report.limits import LIMITS, effects_of
from astro_vq.report.study import ImageStudy, TrialStudy

_KINDS = {"sky": "sky image", "radio": "radio map", "counts": "image of counts"}
_QUANTITY_NAMES = {
    "flux": "aperture flux",
    "psf_flux": "PSF flux",
    "peak": "peak",
    "position": "position",
    "size": "size",
    "e1": "ellipticity e1",
    "e2": "ellipticity e2",
}


def render_image(study: ImageStudy) -> str:
    """Return the self-contained page of one image."""
    return html.render_page(f"astro-vq: {study.subject.path.name}", render_parts(study))


def render_parts(study: ImageStudy, *, anchor: str = "") -> Iterator[str]:
    """Yield the parts of an image's page.

    Parameters
    ----------
    study : ImageStudy
        The image.
    anchor : str
        Name that links on the same page point to.
    """
    record = study.record
    yield html.heading(study.subject.path.name, 1, anchor=anchor)
    yield html.paragraph(_lead(record), "lead")
    yield _key_figures(study)
    if study.recommendation is not None:
        found = study.recommendation.factor is not None
        title = "Recommended bound" if found else "No bound is acceptable"
        yield html.verdict(title, study.recommendation.describe())
    yield html.notes(record["notes"] + [_failure(item) for item in record["failures"]])
    yield html.heading("Sizes and errors")
    yield _size_table(study)
    yield html.paragraph(
        "Ratio is the size of the input file over that of the compressed file; bits per pixel "
        "count all of the compressed file. The noise floor is what the sky noise alone costs "
        "at that bound, its correlation between neighbours used; sources cost more. Where a "
        "file has several images, errors are over all of them, but those in units of the noise "
        "are of the image shown."
    )
    yield html.heading("Bits per pixel by layer, and time", 3)
    yield _layer_table(study)
    yield from _devices(study)
    yield html.notes(sorted({n for t in study.trials for n in t.trial.notes}))
    if _hdu_rows(study):
        yield html.folded("Errors of each image HDU", _hdu_table(study))
    yield html.heading("Pictures")
    yield from _pictures(study)
    yield from _science(study)
    yield from _residuals(study)
    yield from _rates(study)
    if study.recommendation is not None:
        yield from _sweep(study)
    yield html.heading("Time")
    yield html.picture(
        figures.to_data_uri(figures.draw_times(study)),
        "throughput of compressing and decompressing",
        "Throughput on this machine. astro-vq reads and writes whole files, its own start "
        "included in the first of them; other codecs work in memory on one thread.",
    )


def _lead(record: dict[str, Any]) -> str:
    image = record["image"]
    words = image["keywords"]
    parts = [
        f"{_KINDS[image['kind']]} of {image['shape'][1]} x {image['shape'][0]} pixels, "
        f"{image['dtype']}",
        f"HDU {image['hdu']}",
        *(words[name] for name in ("TELESCOP", "INSTRUME", "FILTER", "OBJECT") if name in words),
    ]
    if image["unit"]:
        parts.append(f"in {image['unit']}")
    return " \u00b7 ".join(parts)


def _failure(item: dict[str, str]) -> str:
    return f"{item['choice']} failed: {item['error']}"


def _asked(study: ImageStudy) -> list[TrialStudy]:
    return [trial for trial in study.trials if not trial.swept]


def _key_figures(study: ImageStudy) -> str:
    image = study.record["image"]
    items = []
    for trial in _asked(study)[:4]:
        rate = trial.trial.rate
        label = trial.trial.choice.label
        if trial.trial.choice.fidelity is None:
            label = f"default ({_promise(trial)})"
        items.append(
            (
                f"{rate.ratio:.2f} \u00d7",
                f"smaller: {label}, {rate.bits_per_pixel():.3g} bits/pixel",
            )
        )
    items.append(
        (html.format_number(image["pixel_noise"]), f"noise of a pixel {image['unit']}".strip())
    )
    items.append((str(image["sources"]), f"sources above {image['threshold']:g} sigma"))
    return html.cards(items)


def _promise(trial: TrialStudy) -> str:
    if trial.trial.fidelity != "max-error":
        return trial.trial.fidelity
    factor = trial.record["factor"]
    return "max error" if factor is None else f"max error {html.format_number(factor)} sigma"


def _size_table(study: ImageStudy) -> str:
    titles = (
        "fidelity", "ratio", "bits/pixel", "noise floor", "above it", "max error allowed",
        "max error seen", "rms / noise", "kept", "bytes",
    )  # fmt: skip
    rows = []
    for item in study.trials:
        record = item.record
        rows.append(
            [
                text_cell(item.trial.choice.label),
                number_cell(record["ratio"], 4),
                number_cell(record["bits_per_pixel"], 4),
                number_cell(record["noise_floor_bits"], 4),
                number_cell(record["bits_above_floor"]),
                number_cell(record["max_error_allowed"]),
                number_cell(record["max_error"]),
                number_cell(record["rms_error_sigma"]),
                _kept_cell(record),
                number_cell(record["output_bytes"], 9),
            ]
        )
    return html.table(titles, rows, ours=_stressed(study))


def _kept_cell(record: dict[str, Any]) -> Cell:
    if record["fidelity"] == "lossless":
        return truth_cell(record["identical"], "identical", "NOT identical")
    return truth_cell(record["keeps_bound"], "yes", "NO")


def _stressed(study: ImageStudy) -> list[bool]:
    """Return which trials were asked for, when a sweep adds others."""
    swept = any(item.swept for item in study.trials)
    return [swept and not item.swept for item in study.trials]


def _layer_table(study: ImageStudy) -> str:
    titles = (
        "fidelity", "header", "tokens", "pixels", "model", "whole", "compress s", "MB/s",
        "decompress s", "MB/s",
    )  # fmt: skip
    rows = []
    for item in study.trials:
        record, layers = item.record, item.record["layer_bits_per_pixel"]
        rows.append(
            [
                text_cell(item.trial.choice.label),
                *(number_cell(layers[name]) for name in ("header", "token", "pixel", "model")),
                number_cell(record["bits_per_pixel"]),
                number_cell(record["compress_seconds"]),
                number_cell(record["compress_megabytes_per_second"]),
                number_cell(record["decompress_seconds"]),
                number_cell(record["decompress_megabytes_per_second"]),
            ]
        )
    return html.table(titles, rows, ours=_stressed(study))


def _devices(study: ImageStudy) -> Iterator[str]:
    """Yield a table of devices where more than one was asked for."""
    rows = [
        [
            text_cell(item.trial.choice.label),
            text_cell(other["device"]),
            number_cell(other["compress_seconds"]),
            number_cell(item.trial.compress_seconds),
            truth_cell(other["same_bytes"], "yes", "NO"),
        ]
        for item in study.trials
        for other in item.record["devices"]
    ]
    if rows:
        yield html.heading("Devices", 3)
        titles = ("fidelity", "device", "compress s", "first device, s", "same bytes")
        yield html.table(titles, rows)


def _hdu_rows(study: ImageStudy) -> list[list[Cell]]:
    rows = []
    for item in _asked(study):
        if len(item.record["hdus"]) < 2:
            continue
        for hdu in item.record["hdus"]:
            rows.append(
                [
                    text_cell(item.trial.choice.label),
                    number_cell(hdu["index"]),
                    text_cell(hdu["name"]),
                    text_cell(" x ".join(str(n) for n in hdu["shape"])),
                    text_cell(hdu["dtype"]),
                    number_cell(hdu["max_error_allowed"]),
                    number_cell(hdu["max_error"]),
                    truth_cell(hdu["keeps_bound"], "yes", "NO"),
                    truth_cell(hdu["identical"]),
                    number_cell(hdu["missing"]),
                    number_cell(hdu["misplaced"]),
                ]
            )
    return rows


def _hdu_table(study: ImageStudy) -> str:
    titles = ("fidelity", "HDU", "name", "shape", "dtype", "allowed", "max error", "kept",
              "identical", "missing", "misplaced")  # fmt: skip
    return html.table(titles, _hdu_rows(study))


def _pictures(study: ImageStudy) -> Iterator[str]:
    for number, item in enumerate(study.trials):
        if item.swept:
            continue
        if item.trial.distortion.max_error == 0 and number:
            yield html.paragraph(f"{item.trial.choice.label}: every pixel is the same.")
            continue
        uri = figures.to_data_uri(figures.draw_images(study, number), photograph=True)
        yield html.heading(f"{item.trial.choice.label}, ratio {item.record['ratio']:.2f}", 3)
        yield html.picture(
            uri,
            f"original, decoded and residual: {item.trial.choice.label}",
            "Original and decoded in the same stretch (asinh), and the residual in units of "
            "the pixel noise; below, the piece in the orange square at full resolution. "
            "Missing pixels are olive.",
        )


def _science(study: ImageStudy) -> Iterator[str]:
    image = study.record["image"]
    yield html.heading("What it does to sources")
    if not image["sources"]:
        yield html.paragraph(
            f"No source above {image['threshold']:g} sigma was found on the original, so that "
            "there are no fluxes or positions to compare."
        )
        invented = [item for item in study.trials if item.photometry.invented]
        for item in invented:
            yield html.paragraph(
                f"{item.trial.choice.label}: {item.photometry.invented} detections on the "
                "decoded image."
            )
    else:
        yield html.paragraph(
            f"{image['sources']} sources above {image['threshold']:g} sigma on the original "
            f"(FWHM {image['fwhm']:.2f} pixels, aperture radius {image['aperture_radius']:.2f} "
            "pixels), measured on both images. Differences are in units of the standard error "
            "that the sky noise gives each measurement; 0.1 means a tenth of what noise does "
            "anyway. Lost and invented count sources that cross the threshold, with the "
            "significance of the worst."
        )
        yield _photometry_table(study)
        if any(item.photometry.usable for item in study.trials):
            yield html.picture(
                figures.to_data_uri(figures.draw_fluxes(study)),
                "flux difference against signal to noise",
                "Aperture flux differences. The grey band is one standard error; lines are the "
                "median and the 10th and 90th percentile.",
            )
        yield html.folded("Other quantities", _quantity_table(study))
    if image["kind"] in ("radio", "counts"):
        yield from _totals(study, image["kind"])


def _photometry_table(study: ImageStudy) -> str:
    titles = (
        "fidelity", "flux bias", "flux median", "flux 90 %", "PSF flux 90 %", "position 90 %",
        "position 90 %, pixels", "size 90 %", "lost (S/N)", "invented (S/N)", "sky level",
        "sky noise",
    )  # fmt: skip
    rows = []
    for item in study.trials:
        change, sky = item.photometry, item.record["sky"]
        spreads = change.spreads
        rows.append(
            [
                text_cell(item.trial.choice.label),
                number_cell(spreads["flux"].bias, 2),
                number_cell(spreads["flux"].median, 2),
                number_cell(spreads["flux"].percentile_90, 2),
                number_cell(spreads["psf_flux"].percentile_90, 2),
                number_cell(spreads["position"].percentile_90, 2),
                number_cell(change.position_pixels, 2),
                number_cell(spreads["size"].percentile_90, 2),
                _crossing_cell(change.lost, change.lost_snr),
                _crossing_cell(change.invented, change.invented_snr),
                _sky_cell(sky, "level"),
                _sky_cell(sky, "noise"),
            ]
        )
    return html.table(titles, rows)


def _crossing_cell(count: int, snr: float) -> Cell:
    """Return a number of sources with the significance of the worst."""
    return Cell(f"{count} ({snr:.2g})" if count else "0", float(count))


def _sky_cell(sky: dict[str, float] | None, which: str) -> Cell:
    if not sky or not sky["sigma_before"]:
        return number_cell(None)
    if which == "level":
        change = (sky["level_after"] - sky["level_before"]) / sky["sigma_before"]
        return Cell(f"{change:+.2g} \u03c3", change)
    change = 100 * (sky["sigma_after"] / sky["sigma_before"] - 1)
    return Cell(f"{change:+.2g} %", change)


def _quantity_table(study: ImageStudy) -> str:
    titles = ("fidelity", "quantity", "sources", "bias", "median", "90 %", "largest")
    rows = []
    for item in _asked(study):
        for name, title in _QUANTITY_NAMES.items():
            spread = item.photometry.spreads[name]
            rows.append(
                [text_cell(item.trial.choice.label), text_cell(title), number_cell(spread.number)]
                + [number_cell(value, 2) for value in spread[1:]]
            )
        for low, high, spread in item.photometry.spreads_by_snr:
            label = f"flux, S/N {low:g} to {high:g}" if high < 1e9 else f"flux, S/N above {low:g}"
            rows.append(
                [text_cell(item.trial.choice.label), text_cell(label), number_cell(spread.number)]
                + [number_cell(value, 2) for value in spread[1:]]
            )
    return html.table(titles, rows)


def _totals(study: ImageStudy, kind: str) -> Iterator[str]:
    image = study.record["image"]
    what = "Fluxes per beam" if kind == "radio" else "Counts"
    yield html.heading(what, 3)
    if image["beam"]:
        beam = image["beam"]
        yield html.paragraph(
            f"The beam is {beam['major']:.2f} x {beam['minor']:.2f} pixels, {beam['area']:.2f} "
            "pixels in area; integrated fluxes are sums within the aperture over that area."
        )
    rows = []
    for item in study.trials:
        totals = item.record[kind]
        before, after = totals["total_before"], totals["total_after"]
        change = after / before - 1 if before else None
        rows.append(
            [
                text_cell(item.trial.choice.label),
                number_cell(before, 6),
                number_cell(after, 6),
                Cell("-") if change is None else Cell(f"{100 * change:+.2g} %", change),
            ]
        )
    yield html.table(("fidelity", "total before", "total after", "change"), rows)
    for item in _asked(study):
        bright = item.record[kind]["brightest"]
        if not bright or item.trial.distortion.max_error == 0:
            continue
        cells = [[number_cell(row[name], 4) for name in row] for row in bright]
        titles = ("x", "y", "S/N", "peak", "change", "integrated", "change", "error")
        yield html.folded(
            f"Brightest sources, {item.trial.choice.label}", html.table(titles, cells)
        )


def _residuals(study: ImageStudy) -> Iterator[str]:
    lossy = [item for item in study.trials if item.trial.distortion.max_error > 0]
    if not lossy:
        return
    yield html.heading("Residuals")
    titles = ("fidelity", "mean / noise", "rms / noise", "chi squared", "correlation x",
              "correlation y", "with image", "skewness", "kurtosis")  # fmt: skip
    rows = [
        [text_cell(item.trial.choice.label)]
        + [number_cell(value, 2) for value in item.record["residual"].values()]
        for item in lossy
    ]
    yield html.table(titles, rows)
    yield html.picture(
        figures.to_data_uri(figures.draw_residuals(study)),
        "histogram and power spectrum of residuals",
        "Left: distribution of the residuals, each over its own width; a uniform one is the "
        "rounding of a quantiser. Right: power spectra, in units of white noise of one pixel "
        "sigma; a flat residual far below the original changes no scale more than others.",
    )


def _rates(study: ImageStudy) -> Iterator[str]:
    yield html.heading("Rate against error")
    yield html.picture(
        figures.to_data_uri(figures.draw_rates(study)),
        "bits per pixel against the largest error",
        "Grey: what the noise costs at each bound, by its measured correlation. Other codecs "
        "compressed the same plane within the same bound, without headers.",
    )
    for item in _asked(study):
        if not item.peers:
            continue
        yield html.heading(f"Other codecs, {item.trial.choice.label}", 3)
        yield _peer_table(item)


def _peer_table(item: TrialStudy) -> str:
    titles = (
        "codec",
        "bits/pixel",
        "size over ours",
        "max error",
        "kept",
        "encode s",
        "decode s",
        "",
    )
    record = item.record
    ours = record["layer_bits_per_pixel"]["pixel"]
    rows = [
        [
            text_cell("astro-vq, pixel layer"),
            number_cell(ours, 4),
            number_cell(1.0),
            number_cell(record["max_error"]),
            truth_cell(record["keeps_bound"], "yes", "NO"),
            number_cell(record["compress_seconds"]),
            number_cell(record["decompress_seconds"]),
            text_cell("whole file, with reading and writing", long=True),
        ]
    ]
    for peer in item.peers:
        ratio = peer.bits_per_pixel / ours if peer.bits_per_pixel and ours else None
        rows.append(
            [
                text_cell(peer.name),
                number_cell(peer.bits_per_pixel, 4),
                number_cell(ratio),
                number_cell(peer.max_error),
                truth_cell(peer.keeps_bound if peer.bytes else None, "yes", "NO"),
                number_cell(peer.encode_seconds),
                number_cell(peer.decode_seconds),
                text_cell(peer.note, long=True),
            ]
        )
    return html.table(titles, rows, ours=[True] + [False] * len(item.peers))


def _sweep(study: ImageStudy) -> Iterator[str]:
    yield html.heading("Which bound is acceptable?")
    limits = study.record["limits"]
    yield html.picture(
        figures.to_data_uri(figures.draw_sweep(study)),
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
