"""Figures: what is drawn are the numbers that were given."""

import numpy as np
import pytest

from astro_vq.plotting import (
    Curve,
    CurvePanel,
    Example,
    draw_curves,
    draw_reconstructions,
    draw_usage,
    save_figure,
)


def make_example(original, reconstruction=None, mask=None):
    original = np.asarray(original, dtype=np.float32)
    reconstruction = np.zeros_like(original) if reconstruction is None else reconstruction
    mask = np.ones(original.shape, dtype=bool) if mask is None else mask
    return Example("one", original, reconstruction, mask)


def test_curves_are_drawn_where_they_were_given():
    panel = CurvePanel(
        "loss",
        [Curve("train", [1, 2], [3.0, 2.0]), Curve("nothing", [], []),
         Curve("sky", [0, 2], [4.0, 4.0], "level")],
        log=True,
    )  # fmt: skip
    figure = draw_curves([panel, CurvePanel("rate", [Curve("rate", [1], [0.0])], log=True)])
    loss, rate = figure.axes
    assert [line.get_label() for line in loss.lines] == ["train", "sky"]
    assert loss.lines[0].get_ydata().tolist() == [3.0, 2.0]
    assert loss.lines[1].get_linestyle() == "--"
    assert loss.get_yscale() == "log"
    assert rate.get_yscale() == "linear"  # zero has no place on a logarithmic axis


def test_original_and_reconstruction_share_their_stretch():
    image = np.arcsinh(np.random.default_rng(0).normal(0, 1, (16, 16)))
    image[8, 8] = 6.0
    figure = draw_reconstructions([make_example(image, 0.5 * image)])
    original, reconstruction, residual = (ax.images[0] for ax in figure.axes[:3])
    assert original.get_clim() == reconstruction.get_clim()
    assert residual.get_clim() == (-5.0, 5.0)


def test_residuals_are_in_sigma():
    figure = draw_reconstructions([make_example(np.full((4, 4), np.arcsinh(3.0)))])
    residual = figure.axes[2].images[0].get_array()
    np.testing.assert_allclose(residual, 3.0, rtol=1e-6)


def test_masked_pixels_are_not_drawn_as_data():
    mask = np.ones((4, 4), dtype=bool)
    mask[1, 2] = False
    image = np.zeros((4, 4))
    image[1, 2] = np.nan
    figure = draw_reconstructions([make_example(image, mask=mask)])
    for ax in figure.axes[:3]:
        drawn = ax.images[0].get_array()
        assert drawn.mask[1, 2]
        assert drawn.mask.sum() == 1


def test_no_example_and_an_example_without_a_valid_pixel_can_be_drawn(tmp_path):
    empty = make_example(np.zeros((4, 4)), mask=np.zeros((4, 4), dtype=bool))
    save_figure(draw_reconstructions([empty] * 5), tmp_path / "five.png")
    save_figure(draw_reconstructions([]), tmp_path / "none.png")


def test_usage_says_how_many_codes_are_used(tmp_path):
    figure = draw_usage([5, 0, 15, 0], perplexity=1.75, title="validation")
    assert figure.get_suptitle() == "validation: 2 of 4 codes used, 2 dead, perplexity 1.8"
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.75, 0.25, 0, 0]
    save_figure(draw_usage([0, 0], perplexity=1.0), tmp_path / "unused.png")


@pytest.mark.parametrize("dpi", [50, 100])
def test_a_figure_is_written_whole_in_the_size_asked_for(tmp_path, dpi):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    figure = draw_curves([CurvePanel("a", [Curve("a", [0, 1], [0.0, 1.0])])])
    save_figure(figure, path, dpi=dpi)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 10 * dpi
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
