"""Sparse tokens as a model: stars come back, empty sky costs nothing, prefixes are coarser."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from astro_vq.checkpoint import load_model, save_model
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.errors import ConfigError
from astro_vq.models import PlainBatch, SparseVQ, build_model
from astro_vq.models.sparse_atoms import BETAS, STAR_CODES, StarShape, profiles, star_patches
from astro_vq.models.sparse_books import latent_noise, overlaps_of, view_of_aperture
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.sparse_gains import GAINS
from astro_vq.models.sparse_scales import add_enlarged, draw, project, reduce
from astro_vq.models.sparse_stars import fit_star
from astro_vq.training.fit_sparse import Piece, fit, make_piece, start_model

WHITE = np.ones((1, 1))
GAUSSIAN = StarShape(21, 0, 0, len(BETAS) - 1)  # 2.65 pixels wide


def star_field(fluxes, places, *, side=128, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    width = GAUSSIAN.fwhm / 2.3548
    image = noise * rng.normal(size=(side, side))
    for flux, (y, x) in zip(fluxes, places, strict=True):
        image += flux * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 2 / width**2)
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def model():
    pieces = [
        make_piece(star_field([200, 40], [(40.3, 40.8), (90, 77.5)], seed=seed).astype(float))
        for seed in range(2)
    ]
    return start_model(pieces, dim=24, codes=64, tokens=6, seed=0)


@pytest.mark.parametrize("level", [1, 3])
def test_the_way_down_is_the_adjoint_of_the_way_up(level):
    rng = np.random.default_rng(0)
    small = rng.normal(size=(8, 12)).astype(np.float32)
    large = rng.normal(size=(8 << level, 12 << level)).astype(np.float32)
    drawn = np.zeros_like(large)
    add_enlarged(drawn, small, level)
    assert float((drawn * large).sum()) == pytest.approx(
        float((small * reduce(large, level)).sum()), rel=1e-4, abs=1e-4
    )


def test_a_level_is_drawn_linearly_between_its_values():
    drawn = np.zeros((4, 12), np.float32)
    add_enlarged(drawn, np.array([[0, 8, 0]], np.float32), 2)
    # middles of values lie 4 pixels apart; there is nothing above and below
    along = np.array([0, 0, 1, 3, 5, 7, 7, 5, 3, 1, 0, 0]) / 8
    down = np.array([5, 7, 7, 5]) / 8
    np.testing.assert_allclose(drawn, 2 * down[:, None] * along[None])


@pytest.mark.parametrize("level", [0, 2])
def test_latents_are_products_with_what_is_drawn(model, level):
    rng = np.random.default_rng(1)
    basis = model.maker.basis
    image = rng.normal(size=(64 << level, 64 << level)).astype(np.float32)
    latents = project(image, basis, level)
    for y, x, d in ((5, 7, 0), (8, 3, 11)):
        drawn = np.zeros_like(image)
        place = (np.array([v]) for v in (y, x, d))
        draw(drawn, *place, np.ones(1, np.float32), basis, level)
        expected = float((drawn * image).sum())
        assert latents[y, x, d] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_overlaps_are_products_of_what_is_drawn(model, level):
    basis = model.maker.basis
    overlaps = overlaps_of(basis, basis, level)
    drawn = np.zeros((64 << level, 64 << level), np.float32)
    draw(drawn, *(np.array([v]) for v in (8, 7, 3)), np.ones(1, np.float32), basis, level)
    latents = project(drawn, basis, level)
    np.testing.assert_allclose(latents[5:12, 4:11], overlaps[3], atol=1e-4)


def test_white_noise_gives_latents_the_covariance_of_the_basis(model):
    np.testing.assert_allclose(latent_noise(model.maker.basis, 0, WHITE), np.eye(24), atol=1e-4)
    noise = latent_noise(model.maker.basis, 2, WHITE)
    middle = overlaps_of(model.maker.basis, model.maker.basis, 2)[:, 3, 3]
    np.testing.assert_allclose(noise, middle, atol=1e-3)


def test_an_aperture_sees_at_most_all_of_a_code(model):
    books = model.maker.books(GAUSSIAN)
    for level in range(3):
        view = view_of_aperture(model.maker.basis, level)
        assert np.abs(books[level].codes[:64] @ view).max() <= 1.0001
    # a star of 1.13 pixels sigma in a disc of 57 pixels: all its flux, over the noise of the disc
    book, view = books[0], view_of_aperture(model.maker.basis, 0)
    star = 64 + 44
    seen = book.codes[star] @ view
    assert seen.max() == pytest.approx(book.patches[star].sum() / 57**0.5, rel=0.1)
    # one alone gets its own gain
    assert book.aims[star] @ book.overlaps[star, 24] == pytest.approx(1.0, abs=3e-3)


def test_gains_leave_little_in_pixels_and_in_an_aperture(model):
    rng = np.random.default_rng(3)
    books = model.maker.books(GAUSSIAN)
    codes, view = books[0].codes[:64], view_of_aperture(model.maker.basis, 0)
    z = rng.normal(size=24).astype(np.float32)
    for code, aim in zip(codes[:8], books[0].aims, strict=False):
        place = np.abs(code @ view).argmax()
        # least squares over latents and, with twice the weight, what the aperture sees
        rows = np.append(code, 2**0.5 * (code @ view[:, place]))
        wanted = np.append(z, 2**0.5 * (z @ view[:, place]))
        gain = np.linalg.lstsq(rows[:, None], wanted, rcond=None)[0][0]
        assert z @ aim == pytest.approx(gain, rel=1e-4, abs=1e-5)
    np.testing.assert_array_equal(books[3].aims, books[3].codes)


def test_profiles_have_the_width_that_they_say():
    drawn = profiles(StarShape(1, 0, 0, 1), 4.0, np.zeros(1), np.zeros(1))
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
        star_field([300.0] * 5, [(20.2 * k + 15, 17.7 * k + 20) for k in range(5)]),
        model.maker.basis,
    )
    maps = model.encode_frame(image, Quality(5.0), star, WHITE)
    mean = model.decode_frame(maps, star)
    part = slice(52, 72), slice(56, 76)
    truth = float(image[part].sum())
    assert float(mean[part].sum()) == pytest.approx(truth, rel=0.02, abs=60)
    assert float(np.abs(mean - image).max()) < max(8.0, 0.15 * flux)
    assert 0 < int((maps[0::2] != 0).sum()) < 200


def test_the_width_of_stars_is_found(model):
    places = [(20.2 * k + 15, 17.7 * k + 20) for k in range(6)]
    star = fit_star(star_field([300.0] * 6, places), model.maker.basis)
    assert star.fwhm == pytest.approx(GAUSSIAN.fwhm, rel=0.15)
    assert fit_star(star_field([], []), model.maker.basis).width == 0


def test_more_tokens_come_nearer(model):
    image = star_field([2000.0, 90.0], [(40.3, 40.8), (90.1, 77.5)])
    maps = model.encode_frame(image, Quality(5.0), StarShape(), WHITE)
    left = []
    for depth in (0, 1, 3, 6):
        part = maps.copy()
        part[2 * depth :] = 0
        drawn = model.decode_frame(part, StarShape())
        left.append(float(np.square(drawn - image).sum()))
    assert left == sorted(left, reverse=True)


def test_correlated_noise_is_not_taken_for_sources(model):
    noise = np.random.default_rng(0).normal(size=(132, 132))
    for axis in (0, 1):
        noise = ndimage.convolve1d(noise, [0.25, 0.5, 0.25], axis)
    noise = (noise[:128, :128] / noise.std()).astype(np.float32)
    along = np.array([1, 4, 6, 4, 1]) / 6
    covariance = along[:, None] * along[None]
    counts = [
        int((model.encode_frame(noise, Quality(5.5), StarShape(), c)[0::2] != 0).sum())
        for c in (WHITE, covariance)
    ]
    assert counts[1] <= 1 < counts[0]


def test_patches_of_stars_have_unit_norm_where_they_fit(model):
    patches = star_patches(GAUSSIAN, 0)
    assert patches.shape == (STAR_CODES, 256)
    np.testing.assert_allclose(np.linalg.norm(patches, axis=1), 1, rtol=1e-5)
    assert not star_patches(GAUSSIAN, 3).any()
    assert not star_patches(StarShape(), 0).any()


def test_the_model_gives_tokens_and_images_like_others(model, tmp_path):
    pixels = torch.from_numpy(np.arcsinh(star_field([100.0], [(33.3, 30.1)], side=64)))[None, None]
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
        pieces.append(Piece(image, WHITE))
    fresh = start_model(pieces, dim=12, codes=32, tokens=6, seed=0)
    log = fit(fresh, pieces, rounds=2)
    assert [r.number for r in log] == [0, 1]
    assert log[-1].cosine > log[0].cosine
    assert log[-1].left < 5


def test_two_bands_are_refused():
    with pytest.raises(ConfigError, match="of one band, got 2"):
        build_model(ModelConfig(model="sparse"), 2)
