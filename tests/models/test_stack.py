"""Sparse tokens of many frames at once, against the encoder of single frames, and on a GPU."""

import numpy as np
import pytest
import torch

from astro_vq.checkpoint import load_model
from astro_vq.models import sparse_scales
from astro_vq.models.sparse_atoms import LEVELS, StarShape
from astro_vq.models.sparse_encoder import Quality
from astro_vq.models.sparse_gains import GAINS, gain_values, signed_values
from astro_vq.models.sparse_polish import polish
from astro_vq.models.stack_encoder import StackPursuit
from astro_vq.models.stack_frames import number_at_place
from astro_vq.models.stack_polish import polish_stack
from astro_vq.models.stack_pursuit import Gains
from astro_vq.models.stack_scales import (
    coarser_corners,
    corner_sums,
    draw,
    halve,
    image_of,
)

STAR = StarShape(27, 1, 0, 1)
WHITE = np.ones((1, 1))
SIDE = 160
FLUXES = np.array([60.0, 200.0, 900.0, 5000.0, 30.0])


@pytest.fixture(scope="module")
def model():
    return load_model("default").model


@pytest.fixture(scope="module")
def frames():
    """Frames (3, SIDE, SIDE) of noise and stars of known significance, and where they are."""
    rng = np.random.default_rng(3)
    places = rng.uniform(12, SIDE - 12, (3, len(FLUXES), 2))
    places[1, 0] = 1.5, 60.2  # at the border
    width = STAR.fwhm / 2.3548
    yy, xx = np.mgrid[:SIDE, :SIDE] + 0.5
    images = rng.normal(size=(3, SIDE, SIDE))
    for image, stars in zip(images, places, strict=True):
        for (y, x), flux in zip(stars, FLUXES, strict=True):
            profile = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2))
            image += flux * profile / np.sqrt((profile**2).sum())
    return images.astype(np.float32), places


def some_tokens(number=40, seed=0):
    """Tokens (T, 6) all over three frames, at their borders too."""
    rng = np.random.default_rng(seed)
    rows = np.empty((number, 6), np.int64)
    rows[:, 0] = np.sort(rng.integers(0, 3, number))
    rows[:, 1] = rng.integers(0, LEVELS, number)
    for axis in (2, 3):
        rows[:, axis] = rng.integers(0, SIDE // 4, number) >> rows[:, 1] << rows[:, 1]
    rows[:, 4] = rng.integers(0, 1100, number)
    rows[:, 5] = rng.integers(1, 60, number) * rng.choice([-1, 1], number)
    return rows


def test_images_of_all_levels_are_those_of_single_frames():
    pixels = torch.randn(2, 256, 384, generator=torch.Generator().manual_seed(0))
    expected = [sparse_scales.reduce(pixels[1].numpy(), level) for level in range(1, LEVELS)]
    np.testing.assert_allclose(halve(pixels)[1], expected[0], atol=2e-6)
    corners = corner_sums(pixels)
    for level in range(2, LEVELS):
        np.testing.assert_allclose(image_of(corners, level)[1], expected[level - 1], atol=2e-6)
        corners = coarser_corners(corners)


def test_frames_are_drawn_as_single_ones_are(model):
    rows = some_tokens()
    drawn = model.draw_stack(torch.from_numpy(rows), (3, SIDE, SIDE), STAR)
    for frame in range(3):
        here = rows[rows[:, 0] == frame, 1:]
        expected = model.draw(here, (SIDE // 4, SIDE // 4), STAR)
        np.testing.assert_allclose(drawn[frame], expected, atol=1e-4)
    assert drawn.abs().max() > 10


@pytest.mark.parametrize("level", range(LEVELS))
def test_what_a_patch_does_to_other_images_is_that_of_its_pixels(model, level):
    side = 256
    cell = 4 << level
    # inside, and over two borders
    places = torch.tensor([[0, side // cell // 2, side // cell // 2], [0, 0, side // cell - 1]])
    patches = torch.from_numpy(model.maker.patches(level, STAR)[[3, 700]])
    drawn = draw(patches, tuple(places.T), (side, side), level)
    pixels, half = torch.zeros(1, side, side), torch.zeros(1, side // 2, side // 2)
    corners = torch.zeros(1, side // 2 + 1, side // 2 + 1)
    cells = torch.zeros(1, side // 4, side // 4)
    drawn.add_to(pixels)
    drawn.halved().add_to(half)
    drawn.corner_sums().add_to(corners)
    drawn.norms().add_to(cells)
    np.testing.assert_allclose(half, halve(pixels), atol=1e-6)
    np.testing.assert_allclose(corners, corner_sums(pixels), atol=1e-6)
    energy = np.square(pixels[0].numpy()).reshape(side // 4, 4, side // 4, 4).sum((1, 3))
    assert (cells[0].numpy() ** 2 >= energy * (1 - 1e-5) - 1e-9).all()


def test_gains_are_the_nearest():
    gains = Gains(torch.from_numpy(gain_values()))
    values = torch.tensor([0.0, 0.59, 0.61, -1.3, 19.9, -2000.0])
    index = gains.indices(values)
    nearest = np.abs(np.abs(values.numpy())[:, None] - gain_values()).argmin(1)
    np.testing.assert_array_equal(index.abs(), nearest)
    np.testing.assert_array_equal(gains.values(index), signed_values(index.numpy()))
    assert index[3] < 0 < index[4]


def test_latents_are_off_by_no_more_than_is_known(model, frames):
    pursuit = StackPursuit(
        torch.from_numpy(frames[0]), model.maker, STAR, WHITE, tokens=model.tokens
    )
    pursuit.run(5.0)
    rows = pursuit.tokens()[0]
    drawn = model.draw_stack(rows, (3, SIDE, SIDE), STAR)
    np.testing.assert_allclose(pursuit.left + drawn, frames[0], atol=2e-3)
    residual = pursuit._residual
    for n, level in enumerate(residual.levels):
        residual._raise_drift(n)
        for frame in range(3):
            exact = sparse_scales.project(residual.left[frame].numpy().copy(), model.maker.basis, n)
            grid = level.z.view(3, -1, level.wide, exact.shape[2])[frame]
            z = grid[4 : 4 + exact.shape[0], 4 : 4 + exact.shape[1]].numpy()
            error = np.sqrt(np.square(z - exact).sum(2))
            assert (error <= level.grid(level.drift)[frame].numpy() + 0.02).all()


def test_tokens_are_as_good_as_those_of_single_frames(model, frames):
    pixels, places = frames
    rows = model.encode_stack(torch.from_numpy(pixels), Quality(), STAR, WHITE)
    assert (torch.diff(rows[:, 0]) >= 0).all()
    drawn = model.draw_stack(rows, (3, SIDE, SIDE), STAR)
    yy, xx = np.mgrid[:SIDE, :SIDE] + 0.5
    for frame in range(3):
        maps = model.encode_frame(pixels[frame], Quality(), STAR, WHITE)
        single = model.decode_frame(maps, STAR)
        count = int((maps[0::2] > 0).sum())
        assert abs(int((rows[:, 0] == frame).sum()) - count) <= 0.25 * count
        for y, x in places[frame]:
            disc = np.hypot(yy - y, xx - x) < 4
            error = np.sqrt(disc.sum())
            ours, theirs = drawn[frame].numpy()[disc].sum(), single[disc].sum()
            assert abs(ours - theirs) < 1.5 * error + 5e-3 * abs(theirs)


def test_a_frame_has_the_same_tokens_in_any_stack(model, frames):
    together = model.encode_stack(torch.from_numpy(frames[0]), Quality(), STAR, WHITE)
    for frame in range(3):
        alone = model.encode_stack(torch.from_numpy(frames[0][[frame]]), Quality(), STAR, WHITE)
        here = together[together[:, 0] == frame][:, 1:]
        assert abs(len(alone) - len(here)) <= 2  # a matrix product may add in another order
        same = {tuple(row) for row in here[:, :4].tolist()}
        assert np.mean([tuple(row) in same for row in alone[:, 1:5].tolist()]) > 0.9


def test_fluxes_are_set_right_where_single_frames_have_it(model, frames):
    pixels = frames[0]
    left = pixels - 0.97 * pixels * (pixels > 4)
    given = {"covariance": WHITE, "threshold": 5.0}
    tensors = {"pixels": torch.from_numpy(pixels), "left": torch.from_numpy(left.copy())}
    rows = polish_stack(model.maker, STAR, **tensors, **given).numpy()
    for frame in range(3):
        arrays = {"pixels": pixels[frame], "left": left[frame].copy()}
        expected = polish(model.maker, STAR, **arrays, **given)
        ours = {tuple(row) for row in rows[rows[:, 0] == frame, 1:].tolist()}
        assert len(expected) > 2
        assert ours == {tuple(row) for row in expected.tolist()}


def test_maps_hold_all_tokens(model):
    rows = torch.from_numpy(some_tokens())
    maps = model.stack_indices(rows, (3, SIDE, SIDE))
    assert int((maps[:, 0::2] > 0).sum()) == len(rows)
    assert (maps[:, 1::2][maps[:, 0::2] > 0] != GAINS).all()
    again = model._rows_of(maps)
    assert {tuple(r) for r in again.tolist()} == {tuple(r) for r in rows.tolist()}
    drawn = model.draw_stack(rows, (3, SIDE, SIDE), STAR)
    np.testing.assert_allclose(model.decode_frame(maps[2].numpy(), STAR), drawn[2], atol=1e-4)


def test_tokens_of_a_position_are_numbered_in_order():
    rows = torch.tensor([[0, 0, 1, 1], [0, 2, 1, 1], [0, 0, 1, 2], [1, 0, 1, 1], [0, 1, 1, 1]])
    assert number_at_place(rows).tolist() == [0, 1, 0, 0, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_tokens_as_good_as_those_of_the_cpu(model, frames):
    pixels = torch.from_numpy(frames[0])
    rows = model.encode_stack(pixels, Quality(), STAR, WHITE)
    on_gpu = model.encode_stack(pixels.cuda(), Quality(), STAR, WHITE)
    assert on_gpu.is_cuda
    assert abs(len(rows) - len(on_gpu)) <= 0.05 * len(rows)
    drawn = [model.draw_stack(r, (3, SIDE, SIDE), STAR).cpu() for r in (rows, on_gpu, on_gpu.cpu())]
    np.testing.assert_allclose(drawn[1], drawn[2], atol=1e-3)
    left = [float((pixels - image).square().mean().sqrt()) for image in drawn]
    assert left[1] == pytest.approx(left[0], rel=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_model_on_a_gpu_has_indices_like_those_of_the_cpu(frames):
    pixels = torch.asinh(torch.from_numpy(frames[0]))[:, None]
    here, there = load_model("default").model, load_model("default", device="cuda").model
    means = [m.reconstruct(pixels.to(m.basis.device)).cpu() for m in (here, there)]
    left = [float((frames[0] - torch.sinh(mean[:, 0]).numpy()).std()) for mean in means]
    # without codes of stars both draw them by many others
    assert left[1] == pytest.approx(left[0], rel=0.15)
