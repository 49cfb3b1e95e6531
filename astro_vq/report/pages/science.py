"""What compression did to sources, sky and residuals."""

from collections.abc import Iterator

from astro_vq.report import html
from astro_vq.report.figures import fluxes, residuals, style
from astro_vq.report.html import Cell, number_cell, text_cell
from astro_vq.report.study import ImageStudy

_QUANTITY_NAMES = {
    "flux": "aperture flux",
    "psf_flux": "PSF flux",
    "peak": "peak",
    "position": "position",
    "size": "size",
    "e1": "ellipticity e1",
    "e2": "ellipticity e2",
}


def science_parts(study: ImageStudy) -> Iterator[str]:
    """Yield what happened to sources, and to totals of radio maps and counts."""
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
                style.to_data_uri(fluxes.draw_fluxes(study)),
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
    for item in study.asked:
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
    for item in study.asked:
        bright = item.record[kind]["brightest"]
        if not bright or item.trial.distortion.max_error == 0:
            continue
        cells = [[number_cell(row[name], 4) for name in row] for row in bright]
        titles = ("x", "y", "S/N", "peak", "change", "integrated", "change", "error")
        yield html.folded(
            f"Brightest sources, {item.trial.choice.label}", html.table(titles, cells)
        )


def residual_parts(study: ImageStudy) -> Iterator[str]:
    """Yield statistics and figures of residuals; nothing where every pixel is the same."""
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
        style.to_data_uri(residuals.draw_residuals(study)),
        "histogram and power spectrum of residuals",
        "Left: distribution of the residuals, each over its own width; a uniform one is the "
        "rounding of a quantiser. Right: power spectra, in units of white noise of one pixel "
        "sigma; a flat residual far below the original changes no scale more than others.",
    )
