"""Matching of flux and power spectrum against their formulas."""

import numpy as np
import torch

from astro_vq.config import ModelConfig
from astro_vq.models import PlainBatch, build_model
from astro_vq.models.statistics import flux_mismatch, power_spectrum, spectrum_mismatch


def test_the_flux_mismatch_of_unit_noise_is_one():
    noise = torch.randn(500, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert abs(flux_mismatch(noise, torch.zeros_like(noise), None) - 1) < 0.2
    mask = torch.rand(noise.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    assert abs(flux_mismatch(noise, torch.zeros_like(noise), mask) - 1) < 0.2
    assert flux_mismatch(noise, noise, mask) == 0


def test_the_spectrum_is_the_mean_power_over_rings_of_the_full_plane():
    x = torch.randn(1, 1, 12, 10, dtype=torch.float64)
    power = abs(np.fft.fft2(x[0, 0].numpy(), norm="ortho")) ** 2
    ky, kx = np.fft.fftfreq(12), np.fft.fftfreq(10)
    ring = np.round(np.hypot(ky[:, None], kx[None]) * 10).astype(int)
    expected = [power[ring == r].mean() for r in range(6)]
    np.testing.assert_allclose(power_spectrum(x)[0, 0], expected, rtol=1e-6)


def test_the_spectrum_mismatch_is_zero_for_equal_images_and_counts_valid_pixels_only():
    x = torch.randn(2, 1, 16, 16)
    mask = torch.rand(x.shape) > 0.2
    assert spectrum_mismatch(x, x, None) == 0
    spoiled = torch.where(mask, x, 9.0)
    assert spectrum_mismatch(x, spoiled, mask) == 0
    assert spectrum_mismatch(x, 2 * x, None) > 0.1


def test_the_terms_enter_the_loss_with_their_weights():
    x = torch.randn(2, 1, 16, 16)
    losses = []
    for weights in ({}, {"flux_weight": 0.5, "spectrum_weight": 2.0}):
        torch.manual_seed(0)
        model = build_model(ModelConfig(codes=8, **weights), 1).eval()
        losses.append(model.loss(PlainBatch(x)))
    plain, both = losses
    mean = model.reconstruct(x)
    torch.testing.assert_close(both["flux"], 0.5 * flux_mismatch(x, mean, None).detach())
    torch.testing.assert_close(both["spectrum"], 2 * spectrum_mismatch(x, mean, None).detach())
    torch.testing.assert_close(both["loss"], plain["loss"] + both["flux"] + both["spectrum"])
