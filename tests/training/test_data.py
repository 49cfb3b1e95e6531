"""Training and validation images of a run."""

import shutil

import pytest
import torch

from astro_vq.config import DataConfig
from astro_vq.errors import DataError
from astro_vq.training.data import VALIDATION_EPOCHS, open_data


def make_data(folder, **changes):
    values = {"fits_dir": (str(folder),), "cutout_size": 16, "validation_fraction": 0.3}
    return open_data(DataConfig(**(values | changes)), seed=0)


def test_no_image_is_both_trained_on_and_validated_on(images):
    summary = make_data(images).summary
    assert summary.training
    assert summary.validation
    assert not set(summary.training) & set(summary.validation)
    names = [f"{images.name}/field{i}.fits" for i in range(6)]
    assert sorted([*summary.training, *summary.validation]) == names


def test_what_was_left_out_is_counted_with_its_reason(images):
    summary = make_data(images).summary
    left_out = {name: reason for reason, names in summary.rejects.items() for name in names}
    assert len(left_out) == 2
    assert any("flat.fits" in name and "constant" in left_out[name] for name in left_out)
    assert any("table.fits" in name for name in left_out)
    assert not any(str(images.parent) in name for name in left_out)


def test_sources_are_summed_up_by_folder(images):
    (source,) = make_data(images).summary.sources
    assert (source.name, source.files, source.images) == (images.name, 6, 6)
    assert source.pixels == 6 * 40 * 40
    assert all(4.5 < sigma < 7 for sigma in source.sigmas)


def test_validation_batches_are_the_same_every_time(images):
    data = make_data(images)
    once = list(data.validation_batches(3, limit=7))
    again = list(data.validation_batches(3, limit=7))
    fresh = list(make_data(images).validation_batches(3, limit=7))
    assert sum(len(batch.pixels) for batch in once) == 7
    for one, two, three in zip(once, again, fresh, strict=True):
        assert torch.equal(one.pixels, two.pixels)
        assert torch.equal(one.pixels, three.pixels)
    shown = data.validation_images(limit=7)
    assert len(shown) == 7
    assert {name for name, _ in shown} <= set(data.summary.validation)
    assert len(set(shown)) == len({group for _, group in shown})  # one image a group here


def test_few_validation_cutouts_are_drawn_several_times_at_other_places(images):
    data = make_data(images, cutout_size=32)
    length = len(data.validation)
    items = data.validation_items(1000)
    assert len(items) == len(set(items)) == VALIDATION_EPOCHS * length
    assert data.validation_items(length) == [(0, i) for i in range(length)]


def test_changed_data_are_refused(images, tmp_path):
    folder = tmp_path / images.name
    shutil.copytree(images, folder)
    data = make_data(images)
    make_data(folder).check_same(data.identity)  # elsewhere, but the same images
    (folder / "field3.fits").unlink()
    with pytest.raises(DataError, match="the images are not those that the run was started with"):
        make_data(folder).check_same(data.identity)


def test_the_notes_say_how_much_there_is(images):
    first, second = make_data(images).notes
    assert "6 images of 6 files" in first
    assert "left out 2" in first
    assert "training on" in second
