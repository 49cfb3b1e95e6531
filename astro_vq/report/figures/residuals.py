"""Distribution and power spectrum of residuals."""

import numpy as np
from matplotlib.figure import Figure

from astro_vq.metrics.distortion import residual_in_sigma
from astro_vq.plotting import COLOURS
from astro_vq.report.figures.style import LINES, finish_axes
from astro_vq.report.study import ImageStudy


def draw_residuals(study: ImageStudy) -> Figure:
    """Draw histograms of the residuals and power spectra of residuals and image."""
    trials = [t for t in study.asked if t.trial.distortion.max_error > 0]
    trials = trials or [t for t in study.trials if t.trial.distortion.max_error > 0]
    sigma = study.subject.noise or study.subject.sigma or 1.0
    figure = Figure(figsize=(10.6, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, item in enumerate(trials[:6]):
        residual = residual_in_sigma(study.subject.pixels, item.trial.decoded, sigma)
        values = residual[np.isfinite(residual)]
        values = values[:: max(values.size // 500_000, 1)]
        edge = max(float(np.quantile(np.abs(values), 0.999)), 1e-12) if values.size else 1.0
        heights, edges = np.histogram(values, 121, (-1.1 * edge, 1.1 * edge), density=True)
        middles = (edges[1:] + edges[:-1]) / 2
        style = LINES[index % len(LINES)]
        label = item.trial.choice.label
        # each in units of its own width, so that all shapes are seen in one panel
        left.plot(
            middles / edge, heights * edge, style, color=COLOURS[index % 6],
            label=f"{label} (widest {edge:.2g})",
        )  # fmt: skip
        spectrum = item.spectrum
        if spectrum.power.size:
            right.plot(
                spectrum.frequency, spectrum.power, style, color=COLOURS[index % 6], label=label
            )
    if study.spectrum.power.size:
        right.plot(
            study.spectrum.frequency, study.spectrum.power, color="black", linewidth=1.6,
            label="original",
        )  # fmt: skip
    left.set_xlabel("residual / its 99.9 % quantile (in noise units: legend)")
    left.set_ylabel("density")
    left.set_yticks([])
    right.set_xlabel("cycles per pixel")
    right.set_ylabel("power / white noise")
    if any(line.get_ydata().size and np.max(line.get_ydata()) > 0 for line in right.lines):
        right.set_yscale("log")
    for ax in (left, right):
        finish_axes(ax)
    return figure
