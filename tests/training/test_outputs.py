"""What is shown of a run."""

import torch

from astro_vq.training.outputs import choose_panels, spread_by_brightness


def make_cutouts(levels):
    pixels = torch.zeros(len(levels), 1, 8, 8)
    pixels[:, 0, 2, 2] = torch.tensor(levels)
    return pixels, torch.ones_like(pixels, dtype=torch.bool)


def test_examples_go_from_the_brightest_to_the_faintest():
    pixels, mask = make_cutouts([2.0, 9.0, 4.0, 0.0, 6.0])
    groups = [0, 1, 2, 3, 4]
    assert spread_by_brightness(pixels, mask, groups, 3) == [1, 2, 3]
    assert spread_by_brightness(pixels, mask, groups, 9) == [1, 4, 2, 0, 3]


def test_examples_show_as_many_groups_as_there_are():
    pixels, mask = make_cutouts([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    chosen = spread_by_brightness(pixels, mask, [0, 0, 0, 0, 1, 2], 3)
    assert sorted(chosen)[1:] == [4, 5]


def test_masked_pixels_do_not_make_an_example_bright():
    pixels, mask = make_cutouts([9.0, 3.0])
    mask[0, 0, 2, 2] = False
    assert spread_by_brightness(pixels, mask, [0, 1], 2) == [1, 0]


def test_curves_leave_out_what_a_run_has_not():
    row = {"step": "1", "split": "train", "loss": "2.0", "codebook": "0.0", "learning_rate": "1"}
    titles = [panel.title for panel in choose_panels([row])]
    assert titles == ["loss", "learning rate"]
    assert choose_panels([]) == []
