"""Which cutouts make up each batch."""

from collections import Counter
from itertools import islice

import pytest
import torch

from astro_vq.config import DataConfig
from astro_vq.training.batches import BatchOrder, train_batches
from astro_vq.training.data import open_data


def first(order, count):
    return list(islice(order, count))


def test_every_epoch_takes_each_item_once_in_an_order_of_its_own():
    order = BatchOrder(10, 4, seed=1)
    pairs = [pair for batch in first(order, 5) for pair in batch]
    assert Counter(pairs) == Counter((epoch, item) for epoch in (0, 1) for item in range(10))
    assert [item for epoch, item in pairs if epoch == 0] != [i for e, i in pairs if e == 1]
    assert all(len(batch) == 4 for batch in first(order, 5))


def test_a_batch_may_be_larger_than_an_epoch():
    (batch,) = first(BatchOrder(3, 8, seed=0), 1)
    assert [epoch for epoch, _ in batch] == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("start", [1, 3, 7])
def test_an_order_can_be_taken_up_anywhere(start):
    whole = first(BatchOrder(10, 4, seed=2), 10)
    assert first(BatchOrder(10, 4, seed=2, start=start), 10 - start) == whole[start:]


def test_the_seed_decides_the_order():
    assert first(BatchOrder(9, 3, seed=0), 3) != first(BatchOrder(9, 3, seed=1), 3)


def test_the_epoch_is_that_of_the_first_item():
    order = BatchOrder(10, 4, seed=0)
    assert [order.epoch_of(step) for step in (0, 2, 3, 5)] == [0, 0, 1, 2]


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="nothing to draw batches of 4 from 0 items"):
        BatchOrder(0, 4, seed=0)


def test_workers_give_the_batches_that_one_process_gives(images):
    config = DataConfig(fits_dir=(str(images),), cutout_size=16)
    data = open_data(config, seed=3)
    state = torch.get_rng_state()
    taken = []
    for workers in (0, 2):
        order = BatchOrder(len(data.training), 3, seed=3, start=2)
        batches = train_batches(data.training, order, workers=workers, device=torch.device("cpu"))
        taken.append([next(batches) for _ in range(4)])
    for one, other in zip(*taken, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.mask, other.mask)
    assert torch.equal(state, torch.get_rng_state())
