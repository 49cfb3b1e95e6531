"""Latents that are made again only where they may have moved: bounds hold, nothing is missed."""

import numpy as np
import pytest

from astro_vq.models.sparse_atoms import BETAS, LEVELS, PATCH, StarShape, normalize
from astro_vq.models.sparse_books import REACH, BookMaker
from astro_vq.models.sparse_bounds import (
    add_energy,
    energy_of_image,
    energy_of_patches,
    raise_drifts,
)
from astro_vq.models.sparse_encoder import Pursuit
from astro_vq.models.sparse_latents import Residual
from astro_vq.models.sparse_looks import Criterion
from astro_vq.models.sparse_scales import draw, place, project

STAR = StarShape(21, 0, 0, len(BETAS) - 1)
WHITE = np.ones((1, 1))


@pytest.fixture(scope="module")
def maker():
    rng = np.random.default_rng(5)
    axis = np.arange(PATCH) - PATCH / 2 + 0.5
    window = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 2 / 3.5**2)
    basis = np.linalg.qr((rng.normal(size=(12, PATCH, PATCH)) * window).reshape(12, -1).T)[0].T
    codes = normalize(rng.normal(size=(24, 12)).astype(np.float32))
    return BookMaker(np.ascontiguousarray(basis, np.float32), codes)


def residual(maker, pixels):
    books = maker.books(STAR)
    criteria = [
        Criterion(*(np.ones(len(v), np.float32) for v in (b.codes, b.first, b.codes)))
        for b in books
    ]
    return Residual(pixels, maker.basis, books, criteria)


def true_energy(image):
    return np.square(image, dtype=np.float64).reshape(len(image) // 4, 4, -1, 4).sum((1, 3))


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_no_cell_sees_more_of_what_is_drawn_than_its_energy(maker, level):
    book = maker.books(STAR)[level]
    side = 32 << max(level, LEVELS - 2)
    middle = side // (8 << level)
    star = (24 + 44) % len(book.codes)
    for code, (dy, dx) in ((0, (0, 0)), (7, (1, 0)), (23, (0, 1)), (star, (1, 1))):
        drawn = np.zeros((side, side), np.float32)
        cell = [np.array([v]) for v in (middle + dy, middle + dx, code)]
        draw(drawn, *cell, np.ones(1, np.float32), book.patches, level)
        if level == 0:
            shape = side // 4, side // 4
            energy = energy_of_patches(shape, *cell, np.ones(1, np.float32), book.patches)
        else:
            image = np.zeros((side >> level, side >> level), np.float32)
            place(image, *cell, np.ones(1, np.float32), book.patches)
            energy = energy_of_image(image, level)
        assert (energy >= true_energy(drawn) * 0.9999 - 1e-9).all()
        assert energy.sum() < 8 * true_energy(drawn).sum()
        drifts = [np.zeros((side >> n + 2, side >> n + 2), np.float32) for n in range(LEVELS)]
        raise_drifts(drifts, energy, but=1)
        for other in range(LEVELS):
            sizes = np.linalg.norm(project(drawn, maker.basis, other), axis=-1)
            assert (sizes <= drifts[other] * 1.0001 + 1e-6).all() or other == 1
            if other == level:
                around = np.s_[
                    middle + dy - REACH : middle + dy + REACH + 1,
                    middle + dx - REACH : middle + dx + REACH + 1,
                ]
                sizes[around] = 0
                assert sizes.max() <= book.edges[code] + 1e-6
        assert not drifts[1].any()


def test_energies_of_images_are_their_sums_of_squares():
    rng = np.random.default_rng(4)
    image = rng.normal(size=(61, 90)).astype(np.float32)
    out = np.ones((16, 24), np.float32)
    add_energy(out, image)
    padded = np.zeros((64, 96))
    padded[:61, :90] = image
    np.testing.assert_allclose(out, 1 + true_energy(padded), rtol=1e-5)


def test_what_latents_may_be_off_by_is_a_bound_and_goes_when_asked(maker):
    rng = np.random.default_rng(1)
    left = residual(maker, rng.normal(size=(256, 384)).astype(np.float32))
    for n in range(LEVELS):
        left.refresh(n, 0.0, 0.0)
    for n, cells in ((0, [[5, 9, 3], [31, 40, 7]]), (2, [[0, 3, 1]]), (4, [[1, 2, 8]])):
        gains = rng.uniform(5, 50, len(cells)).astype(np.float32)
        left.subtract(n, np.array(cells), gains, known=False)
    for n, level in enumerate(left.levels):
        true = project(left.left, maker.basis, n)
        off = np.linalg.norm(true - level.z, axis=-1)
        assert (off <= level.drift * 1.0001 + 1e-3).all()
        assert off.max() > 1
        kept = (level.drift > 0) & (level.drift <= 2)
        before = level.z[kept]
        left.refresh(n, 2.0, 0.0)
        np.testing.assert_array_equal(level.z[kept], before)
        assert np.linalg.norm(true - level.z, axis=-1).max() <= 2.0
        left.refresh(n, 0.0, 0.0)
        np.testing.assert_allclose(level.z, true, atol=1e-3)
        strength = np.abs(true @ level.book.first.T).max(-1)
        np.testing.assert_allclose(level.strength, strength, atol=2e-3)


def test_cells_that_cannot_be_worth_a_token_are_left_as_they_are(maker):
    rng = np.random.default_rng(1)
    left = residual(maker, rng.normal(size=(256, 384)).astype(np.float32))
    left.refresh(0, 0.0, 0.0)
    level = left.levels[0]
    before, looked = level.z.copy(), level.looked.copy()
    change = np.zeros((128, 128), np.float32)
    change[:, :64], change[60, 100] = 0.2, 30.0
    left.take_out([(64, 128, change)])
    drift = level.drift.copy()
    hopeful = looked + drift * level.steepest >= 6.0
    left.refresh(0, 0.1, 6.0)
    made = (drift > 0.1) & hopeful
    assert 0 < made.sum() < (drift > 0.1).sum()
    np.testing.assert_array_equal(level.drift[made], 0)
    np.testing.assert_array_equal(level.z[~made], before[~made])
    true = np.abs(project(left.left, maker.basis, 0) @ level.book.first.T).max(-1)
    assert (true[~made] < 6.0 + 1e-3).all()
    assert (true[made] >= 6.0).any()


def test_what_is_given_back_and_taken_out_is_seen(maker):
    pixels = field()
    pursuit = Pursuit(pixels, maker, STAR, WHITE, tokens=12)
    pursuit.run(5.0)
    rows = pursuit.tokens().rows
    assert len(rows) > 60
    pursuit.give_back(rows)
    np.testing.assert_allclose(pursuit.left, pixels, atol=2e-3)
    pursuit.take_out([(0, 0, pixels)])
    np.testing.assert_allclose(pursuit.left, 0, atol=2e-3)
    pursuit.go_on(np.zeros((100, 130), np.float32))
    pursuit.run(5.0, again=True)
    assert not len(pursuit.tokens().rows)
    pursuit.take_out([(0, 0, -pixels)])
    pursuit.run(5.0)
    assert abs(len(pursuit.tokens().rows) - len(rows)) <= 0.1 * len(rows)


def field():
    rng = np.random.default_rng(2)
    pixels = rng.normal(size=(400, 520)).astype(np.float32)
    yy, xx = np.mgrid[:400, :520]
    for y, x, flux in zip(
        rng.uniform(0, 400, 60), rng.uniform(0, 520, 60), 10 ** rng.uniform(1, 3, 60), strict=True
    ):
        pixels += (flux * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 2 / 1.2**2)).astype(np.float32)
    return pixels


def test_the_number_of_threads_changes_no_token(maker, monkeypatch):
    pixels, results = field(), []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        pursuit = Pursuit(pixels, maker, STAR, WHITE, tokens=12)
        pursuit.run(5.0)
        results.append(pursuit.tokens())
    assert len(results[0].rows) > 60
    for other in results[1:]:
        np.testing.assert_array_equal(other.rows, results[0].rows)
        np.testing.assert_array_equal(other.limits, results[0].limits)
