"""Flux errors of sources in reconstructions of frames."""

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.metrics.source_fluxes import choose_frames, measure_fluxes


class Dimmer(torch.nn.Module):
    """Multiplies fluxes, in network units."""

    stride = 16

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def reconstruct(self, pixels):
        assert pixels.shape[2] % self.stride == pixels.shape[3] % self.stride == 0
        return torch.asinh(self.factor * torch.sinh(pixels))


def make_frame(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :170]
    image = rng.normal(100.0, 5.0, y.shape)
    for cy in range(20, 150, 30):
        for cx in range(20, 170, 30):
            flux = 10 ** rng.uniform(2.2, 4)
            image += flux / 14 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4.5)
    image[:4] = np.nan
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for seed in range(2):
        fits.writeto(folder / f"{seed}.fits", make_frame(seed))
    noise = np.random.default_rng(9).normal(0, 1, (40, 40))
    fits.writeto(folder / "empty.fits", noise.astype(np.float32))
    return choose_frames(CutoutIndex.build([folder]), 8)


def test_frames_without_sources_are_left_out(frames):
    assert len(frames) == 2
    assert [frame.pixels.shape for frame in frames] == [(1, 150, 170)] * 2


def test_an_exact_model_has_no_flux_error(frames):
    errors = measure_fluxes(Dimmer(1.0), frames)
    assert errors.frames == 2
    assert errors.sources >= 40
    assert errors.found == 1.0
    assert abs(errors.bias) < 1e-3
    assert errors.scatter < 1e-3
    assert sum(b.number for b in errors.bins) == errors.sources


def test_a_model_that_dims_is_biased_by_what_it_takes(frames):
    errors = measure_fluxes(Dimmer(0.9), frames)
    bright = errors.bins[-1]
    assert bright.low >= 30
    # a tenth of the flux, in errors that are about flux over significance
    assert -0.2 * 1000 < bright.bias < -0.05 * bright.low
    faint = errors.bins[0]
    assert abs(faint.bias) < abs(bright.bias)
    assert errors.to_dict()["bins"][0]["low"] == faint.low


def test_a_model_that_gives_the_sky_alone_finds_nothing(frames):
    errors = measure_fluxes(Dimmer(0.0), frames)
    assert errors.found == 0.0
    assert errors.bias < -4


def test_without_frames_there_is_no_figure():
    assert measure_fluxes(Dimmer(1.0), []) is None
