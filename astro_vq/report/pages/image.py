"""The page of one image: key figures, tables, pictures, and what they mean."""

from collections.abc import Iterator
from typing import Any

from astro_vq.report import html
from astro_vq.report.figures import images, style
from astro_vq.report.pages.rates import rate_parts
from astro_vq.report.pages.science import residual_parts, science_parts
from astro_vq.report.pages.sizes import size_parts
from astro_vq.report.pages.sweep import sweep_parts
from astro_vq.report.pages.times import time_parts
from astro_vq.report.study import ImageStudy
from astro_vq.report.trial_study import TrialStudy

_KINDS = {"sky": "sky image", "radio": "radio map", "counts": "image of counts"}


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
    yield from size_parts(study)
    yield html.heading("Pictures")
    yield from _pictures(study)
    yield from science_parts(study)
    yield from residual_parts(study)
    yield from rate_parts(study)
    if study.recommendation is not None:
        yield from sweep_parts(study)
    yield from time_parts(study)


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


def _key_figures(study: ImageStudy) -> str:
    image = study.record["image"]
    items = []
    for trial in study.asked[:4]:
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


def _pictures(study: ImageStudy) -> Iterator[str]:
    for number, item in enumerate(study.trials):
        if item.swept:
            continue
        if item.trial.distortion.max_error == 0 and number:
            yield html.paragraph(f"{item.trial.choice.label}: every pixel is the same.")
            continue
        uri = style.to_data_uri(images.draw_images(study, number), photograph=True)
        yield html.heading(f"{item.trial.choice.label}, ratio {item.record['ratio']:.2f}", 3)
        yield html.picture(
            uri,
            f"original, decoded and residual: {item.trial.choice.label}",
            "Original and decoded in the same stretch (asinh), and the residual in units of "
            "the pixel noise; below, the piece in the orange square at full resolution. "
            "Missing pixels are olive.",
        )
