import os
import pickle

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from torch.utils.data import DataLoader

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.datasets import Batch, CutoutDataset, collate
from astro_vq.data.planes import PlaneReader


def sky(shape, seed=0, level=100.0, sigma=5.0):
    return np.random.default_rng(seed).normal(level, sigma, shape).astype(np.float32)


@pytest.fixture
def index(tmp_path):
    """A frame with a NaN border, saturated and infinite pixels, and a small image."""
    frame = sky((100, 140))
    frame[:, :30] = np.nan
    frame[50:53, 60:64] = 70000
    frame[10, 100] = np.inf
    header = fits.Header({"SATURATE": 60000.0})
    fits.PrimaryHDU(frame, header).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(sky((20, 13), 1)).writeto(tmp_path / "b.fits")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["cutouts"] = sky((5, 40, 40), 2, 0.0, 1e-12)
    return CutoutIndex.build([tmp_path], [tmp_path / "c.h5"])


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_items_have_the_shapes_and_types_of_the_contract(index):
    item = CutoutDataset(index, size=32)[0]
    assert item["pixels"].shape == item["mask"].shape == (1, 32, 32)
    assert item["pixels"].dtype == torch.float32
    assert item["mask"].dtype == torch.bool
    assert item["sky"].shape == item["sigma"].shape == (1,)
    assert float(item["sky"][0]) == index.images[0].planes[0].scaling.sky


def test_images_get_crops_by_area_up_to_a_bound(index):
    dataset = CutoutDataset(index, size=32)
    counts = np.bincount([dataset.image_of(i) for i in range(len(dataset))])
    assert counts.tolist() == [13, 1, 1, 1, 1, 1, 1]
    capped = CutoutDataset(index, size=8, crops_per_image=20)
    counts = np.bincount([capped.image_of(i) for i in range(len(capped))])
    assert counts.tolist() == [20, 4, 20, 20, 20, 20, 20]
    with pytest.raises(IndexError):
        dataset.image_of(len(dataset))


def test_crops_are_pieces_of_the_image_in_network_units(index, tmp_path):
    frame = fits.getdata(tmp_path / "a.fits").astype(float)
    dataset = CutoutDataset(index, size=32, source_fraction=0.0)
    scaling = index.images[0].planes[0].scaling
    for i in range(8):
        item = dataset[i]
        pixels, mask = item["pixels"][0].numpy(), item["mask"][0].numpy()
        found = False
        windows = np.lib.stride_tricks.sliding_window_view(frame, (32, 32))
        for y, x in np.argwhere(np.ones(windows.shape[:2], bool)):
            window = windows[y, x]
            ok = np.isfinite(window) & (window < 60000)
            if (ok == mask).all() and np.allclose(
                scaling.forward(window[ok]), pixels[ok], atol=1e-6
            ):
                found = True
                break
        assert found
        assert (pixels[~mask] == 0).all()


def test_masks_are_exact_and_masked_pixels_are_zero(index, tmp_path):
    dataset = CutoutDataset(index, size=140, source_fraction=0.0)
    item = dataset[0]
    frame = fits.getdata(tmp_path / "a.fits")
    expected = np.zeros((140, 140), dtype=bool)
    expected[20:120] = np.isfinite(frame) & (frame < 60000)
    np.testing.assert_array_equal(item["mask"][0].numpy(), expected)
    assert expected.sum() == 100 * 110 - 12 - 1
    assert (item["pixels"][~item["mask"]] == 0).all()
    assert torch.isfinite(item["pixels"]).all()


def test_small_images_stand_in_the_middle(index, tmp_path):
    dataset = CutoutDataset(index, size=32)
    number = next(i for i in range(len(dataset)) if dataset.image_of(i) == 1)
    item = dataset[number]
    expected = np.zeros((32, 32), dtype=bool)
    expected[6:26, 9:22] = True
    np.testing.assert_array_equal(item["mask"][0].numpy(), expected)
    scaled = index.images[1].planes[0].scaling.forward(fits.getdata(tmp_path / "b.fits"))
    np.testing.assert_array_equal(item["pixels"][0, 6:26, 9:22].numpy(), scaled)


def test_items_depend_on_seed_epoch_and_number_alone(index):
    first = CutoutDataset(index, size=32, augment=True, seed=3)
    second = CutoutDataset(index, size=32, augment=True, seed=3, cache_bytes=1000)
    order = list(range(len(first)))
    ahead = [first.item(i, epoch=2) for i in order]
    first.item(0, epoch=0)
    back = [second.item(i, epoch=2) for i in reversed(order)][::-1]
    assert all(equal(a, b) for a, b in zip(ahead, back, strict=True))
    assert not equal(first.item(0, epoch=1), ahead[0])
    assert not equal(CutoutDataset(index, size=32, augment=True, seed=4).item(0, epoch=2), ahead[0])
    first.set_epoch(2)
    assert equal(first[0], ahead[0])
    assert equal(first[-1], ahead[-1])


def test_places_change_from_item_to_item_and_epoch_to_epoch(index):
    dataset = CutoutDataset(index, size=16, source_fraction=0.0)
    items = [dataset.item(i, epoch=e)["pixels"].numpy().tobytes() for e in range(4) for i in (0, 1)]
    assert len(set(items)) == 8


def test_augmentation_only_turns_and_flips(index):
    plain = CutoutDataset(index, size=32, seed=1)
    turned = CutoutDataset(index, size=32, seed=1, augment=True)
    seen = set()
    for i in range(len(plain)):
        for epoch in range(4):
            a, b = plain.item(i, epoch=epoch), turned.item(i, epoch=epoch)
            options = [
                (turns, flip)
                for turns in range(4)
                for flip in (False, True)
                if all(
                    torch.equal(_turn(a[name], turns, flip), b[name]) for name in ("pixels", "mask")
                )
            ]
            assert options
            seen.add(options[0])
    assert len(seen) == 8


def _turn(tensor, turns, flip):
    turned = torch.rot90(tensor, turns, dims=(1, 2))
    return turned.flip(2) if flip else turned


def test_crops_with_too_few_valid_pixels_are_passed_over(index):
    dataset = CutoutDataset(index, size=28, source_fraction=0.0)
    shares = [dataset.item(0, epoch=e)["mask"].float().mean() for e in range(100)]
    assert min(shares) >= 0.5


def test_a_share_of_crops_prefers_places_with_sources(tmp_path):
    frame = sky((256, 256))
    for y, x in [(40, 50), (200, 130), (120, 220)]:
        frame[y : y + 3, x : x + 3] += 200
    fits.PrimaryHDU(frame).writeto(tmp_path / "a.fits")
    index = CutoutIndex.build([tmp_path])

    def share(fraction):
        dataset = CutoutDataset(index, size=32, source_fraction=fraction)
        bright = [
            (dataset.item(i, epoch=e)["pixels"] > 3.5).any()
            for e in range(4)
            for i in range(len(dataset))
        ]
        return float(np.mean(bright))

    blind, half, all_of_them = share(0.0), share(0.5), share(1.0)
    assert blind < 0.12
    assert all_of_them > 3 * blind
    assert half == pytest.approx((blind + all_of_them) / 2, abs=0.08)


def test_bands_become_channels_in_the_order_asked_for(tmp_path):
    for k, band in enumerate("gri"):
        frame = sky((40, 40), k, level=10.0 * k)
        frame[:, k] = np.nan
        fits.PrimaryHDU(frame).writeto(tmp_path / f"x_{band}.fits")
    index = CutoutIndex.build([tmp_path], bands=("g", "r", "i"))
    dataset = CutoutDataset(index, size=40)
    item = dataset[0]
    assert item["pixels"].shape == (3, 40, 40)
    assert [round(float(s), -1) for s in item["sky"]] == [0, 10, 20]
    for k in range(3):
        assert not item["mask"][k, :, k].any()
        assert item["mask"][k].sum() == 40 * 39
    swapped = CutoutDataset(index, size=40, bands=("i", "g"))
    assert swapped.channels == 2
    torch.testing.assert_close(swapped[0]["pixels"], item["pixels"][[2, 0]], rtol=0, atol=0)
    with pytest.raises(ValueError, match="no band z"):
        CutoutDataset(index, size=40, bands=("z",))


def test_batches_hold_the_items_and_move(index):
    dataset = CutoutDataset(index, size=32)
    batch = collate([dataset[i] for i in range(3)])
    assert isinstance(batch, Batch)
    assert batch.pixels.shape == batch.mask.shape == (3, 1, 32, 32)
    assert batch.sky.shape == batch.sigma.shape == (3, 1)
    assert torch.equal(batch.pixels[1], dataset[1]["pixels"])
    moved = batch.to("cpu")
    assert all(torch.equal(a, b) for a, b in zip(batch[:4], moved[:4], strict=True))
    assert batch.scale is moved.scale is None


def test_workers_give_the_same_items(index):
    dataset = CutoutDataset(index, size=32, augment=True)
    alone = [dataset[i] for i in range(len(dataset))]
    loader = DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=collate)
    together = torch.cat([batch.pixels for batch in loader])
    assert torch.equal(together, torch.stack([item["pixels"] for item in alone]))


def test_readers_do_not_reopen_files_and_stay_within_their_bound(index, monkeypatch):
    import astro_vq.data.planes as planes

    opened = []
    plain = planes.open_fits
    monkeypatch.setattr(planes, "open_fits", lambda path: opened.append(path) or plain(path))
    reader = PlaneReader(cache_bytes=100 * 140 * 8 * 4)
    plane = index.images[0].planes[0]
    for _ in range(5):
        reader.read(plane.address, plane.shape, slice(0, 9), slice(0, 9))
    assert len(opened) == 1
    assert reader.held_bytes == 100 * 140 * 4
    small = PlaneReader(cache_bytes=8000, open_files=1)
    for _ in range(2):
        for image in index.images:
            piece = small.read(image.planes[0].address, image.shape, slice(2, 8), slice(1, 5))
            assert piece.shape == (6, 4)
            assert small.held_bytes <= 8000
    reader.close()
    assert reader.held_bytes == 0


def test_a_forked_reader_begins_with_nothing_open(index, monkeypatch):
    reader = PlaneReader()
    plane = index.images[0].planes[0]
    reader.read(plane.address, plane.shape, slice(0, 9), slice(0, 9))
    assert reader.held_bytes > 0
    monkeypatch.setattr(os, "getpid", lambda: 1)
    reader.read(index.images[1].planes[0].address, (20, 13), slice(0, 9), slice(0, 9))
    assert reader.held_bytes == 20 * 13 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "must be positive"),
        ({"size": 8, "crops_per_image": 0}, "must be positive"),
        ({"size": 8, "source_fraction": 1.5}, "between 0 and 1"),
    ],
)
def test_impossible_options_are_refused(index, options, message):
    with pytest.raises(ValueError, match=message):
        CutoutDataset(index, **options)


def test_pickled_readers_hold_nothing_and_read_the_same(index):
    reader = PlaneReader(cache_bytes=10**6)
    plane = index.images[0].planes[0]
    place = (plane.address, plane.shape, slice(60, 70), slice(40, 60))
    values = reader.read(*place)
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy.held_bytes, copy.cache_bytes) == (0, 10**6)
    np.testing.assert_array_equal(copy.read(*place), values)
