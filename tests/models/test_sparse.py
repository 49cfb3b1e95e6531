"""Sparse tokens as a model: stars come back, empty sky costs nothing, prefixes are coarser."""

import numpy as np
import pytest
import torch

from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.errors import ConfigError
from astro_vq.models import PlainBatch, SparseVQ, build_model
from astro_vq.models.sparse_atoms import (
    BETAS,
    STAR_CODES,
    StarShape,
    enlarge,
    profiles,
    project,
    reduce,
    render,
    star_codes,
)
from astro_vq.models.sparse_encoder import Quality, fit_star, latent_noise
from astro_vq.quantizers.pursuit import GAINS
from astro_vq.training.fit_sparse import Piece, fit, make_piece, start_model

WHITE = torch.ones(1, 1, dtype=torch.float64)
GAUSSIAN = StarShape(21, 0, 0, len(BETAS) - 1)  # 2.65 pixels wide


def star_field(fluxes, places, *, side=128, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    width = GAUSSIAN.fwhm / 2.3548
    image = noise * rng.normal(size=(side, side))
    for flux, (y, x) in zip(fluxes, places, strict=True):
        image += flux * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 2 / width**2)
    return torch.from_numpy(image.astype(np.float32))


@pytest.fixture(scope="module")
def model():
    pieces = [
        make_piece(star_field([200, 40], [(40.3, 40.8), (90, 77.5)], seed=seed).double().numpy())
        for seed in range(2)
    ]
    return start_model(pieces, dim=24, codes=64, tokens=6, seed=0)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_the_way_down_is_the_adjoint_of_the_way_up(level):
    torch.manual_seed(0)
    small, large = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8 << level, 8 << level)
    there = (enlarge(small, level) * large).sum()
    torch.testing.assert_close(there, (small * reduce(large, level)).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0, 2])
def test_latents_are_products_with_what_is_drawn(model, level):
    torch.manual_seed(1)
    side = 64 << level
    image = torch.randn(1, 1, side, side)
    basis = model.basis.detach()
    latents = project(image, basis, level)
    for y, x, d in ((5, 7, 0), (8, 3, 11)):
        unit = torch.zeros(1, basis.shape[0])
        unit[0, d] = 1.0
        at = torch.tensor([y]), torch.tensor([x])
        drawn = render(unit, *at, basis, (side >> level + 2, side >> level + 2), level)
        torch.testing.assert_close(latents[y, x, d], (drawn * image).sum(), rtol=1e-3, atol=1e-3)


def test_white_noise_gives_latents_the_covariance_of_the_basis(model):
    noise = latent_noise(model.basis, 0, WHITE)
    torch.testing.assert_close(noise.float(), torch.eye(24), rtol=0, atol=1e-4)


def test_profiles_have_the_width_that_they_say():
    drawn = profiles(StarShape(1, 0, 0, 1), 4.0, torch.zeros(1).double(), torch.zeros(1).double())
    # the middle of a cell lies between pixels 7 and 8: 0.5 and 2.5 pixels from the middle
    row = drawn[0, 7]
    scale = 4.0 / (2 ** (1 / 4) - 1)
    assert float(row[8]) == pytest.approx((1 + 0.5 / scale) ** -4)
    assert float(row[10]) == pytest.approx((1 + (0.25 + 6.25) / scale) ** -4)


def test_empty_sky_has_no_tokens(model):
    maps = model.encode_frame(star_field([], []), Quality(6.0), StarShape(), WHITE)
    assert maps.shape == (12, 32, 32)
    assert int((maps != 0).sum()) == 0


@pytest.mark.parametrize("flux", [60.0, 3000.0])
def test_stars_of_any_brightness_come_back_without_overshoot(model, flux):
    image = star_field([flux], [(61.4, 66.7)])
    star = fit_star(
        star_field([300.0] * 5, [(20.2 * k + 15, 17.7 * k + 20) for k in range(5)]), model.basis
    )
    maps = model.encode_frame(image, Quality(5.0), star, WHITE)
    mean = model.decode_frame(maps, star).detach()
    part = slice(52, 72), slice(56, 76)
    truth = float(image[part].sum())
    assert float(mean[part].sum()) == pytest.approx(truth, rel=0.02, abs=60)
    assert float((mean - image).abs().max()) < max(8.0, 0.15 * flux)
    assert 0 < int((maps[0::2] != 0).sum()) < 200


def test_the_width_of_stars_is_found(model):
    places = [(20.2 * k + 15, 17.7 * k + 20) for k in range(6)]
    star = fit_star(star_field([300.0] * 6, places), model.basis)
    assert star.fwhm == pytest.approx(GAUSSIAN.fwhm, rel=0.15)
    assert fit_star(star_field([], []), model.basis).width == 0


def test_more_tokens_come_nearer(model):
    image = star_field([2000.0, 90.0], [(40.3, 40.8), (90.1, 77.5)])
    maps = model.encode_frame(image, Quality(5.0), StarShape(), WHITE)
    left = []
    for depth in (0, 1, 3, 6):
        part = maps.clone()
        part[2 * depth :] = 0
        drawn = model.decode_frame(part, StarShape()).detach()
        left.append(float((drawn - image).square().sum()))
    assert left == sorted(left, reverse=True)


def test_correlated_noise_is_not_taken_for_sources(model):
    torch.manual_seed(0)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    noise = torch.randn(1, 1, 132, 132)
    for shape in ((1, 1, 1, 3), (1, 1, 3, 1)):
        noise = torch.nn.functional.conv2d(noise, kernel.view(shape))
    noise = noise[0, 0, :128, :128] / noise.std()
    along = torch.tensor([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]) / 0.375
    covariance = (along[:, None] * along[None]).double()
    counts = [
        int((model.encode_frame(noise, Quality(5.5), StarShape(), c)[0::2] != 0).sum())
        for c in (WHITE, covariance)
    ]
    assert counts[1] <= 1 < counts[0]


def test_star_codes_have_unit_norm_where_they_fit(model):
    codes = star_codes(GAUSSIAN, model.basis.detach(), 0)
    assert codes.shape == (STAR_CODES, 24)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(STAR_CODES))
    assert not star_codes(GAUSSIAN, model.basis.detach(), 3).any()
    assert not star_codes(StarShape(), model.basis.detach(), 0).any()


def test_the_model_gives_tokens_and_images_like_others(model, tmp_path):
    pixels = torch.asinh(star_field([100.0], [(33.3, 30.1)], side=64))[None, None]
    maps = model.encode_indices(pixels)
    assert maps.shape == (1, model.depth, 16, 16)
    assert int(maps.max()) < model.codes
    assert int(maps[:, 1::2].max()) < 2 * GAINS
    assert model.reconstruct(pixels).shape == pixels.shape
    terms = model.loss(PlainBatch(pixels))
    assert torch.isfinite(terms["loss"])
    config = RunConfig(model=ModelConfig(model="sparse", latent_channels=24, codes=64, depth=6))
    save_model(tmp_path / "m", model, config)
    loaded = load_model(tmp_path / "m").model
    assert isinstance(loaded, SparseVQ)
    assert torch.equal(loaded.encode_indices(pixels), maps)


def test_rounds_bring_codes_nearer_to_what_they_stand_for():
    pieces = []
    for seed in range(2):
        places = [(20.3 * k + 9, (31.7 * k * (seed + 1)) % 110 + 9) for k in range(6)]
        image = star_field([60.0 * 2**k for k in range(6)], places, seed=seed)
        pieces.append(Piece(image.numpy(), WHITE))
    fresh = start_model(pieces, dim=12, codes=32, tokens=6, seed=0)
    log = fit(fresh, pieces, rounds=2)
    assert [r.number for r in log] == [0, 1]
    assert log[-1].cosine > log[0].cosine
    assert log[-1].left < 5


def test_two_bands_are_refused():
    with pytest.raises(ConfigError, match="of one band, got 2"):
        build_model(ModelConfig(model="sparse"), 2)
