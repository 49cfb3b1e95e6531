"""Loss terms and speed between two lines of metrics."""

import pytest
import torch

from astro_vq.training.meter import Meter


def add(meter, *values, seconds=0.5):
    meter.add([torch.tensor(value) for value in values], cutouts=8, seconds=seconds)


def test_a_line_is_the_mean_of_its_steps():
    meter = Meter(["loss", "dead_codes"])
    add(meter, 1.0, 3)
    add(meter, 2.0, 4)
    assert meter.means() == {"loss": 1.5, "dead_codes": 3.5}
    assert meter.end_line() == {"loss": 1.5, "dead_codes": 3.5}
    assert len(meter) == 0
    add(meter, 5.0, 0)
    assert meter.end_line() == {"loss": 5.0, "dead_codes": 0.0}


def test_between_lines_the_last_one_stands():
    meter = Meter(["loss"])
    assert meter.means() == {}
    add(meter, 1.0)
    meter.end_line()
    assert meter.means() == {"loss": 1.0}
    assert meter.images_per_second == 16.0


def test_speed_is_cutouts_over_time():
    meter = Meter(["loss"])
    assert meter.images_per_second == 0
    add(meter, 1.0, seconds=1.0)
    add(meter, 1.0, seconds=3.0)
    assert meter.images_per_second == 4.0


def test_a_meter_is_taken_up_where_it_was():
    meter = Meter(["a", "b"])
    add(meter, 0.1, 0.2)
    again = Meter(["a", "b"], meter.pending)
    for one in (meter, again):
        add(one, 0.3, 0.5)
    assert meter.means() == again.means()
    assert Meter(["a", "b"]).pending.shape == (0, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_noticed(bad):
    meter = Meter(["loss"])
    assert meter.is_finite()
    add(meter, bad)
    assert not meter.is_finite()
    add(meter, 1.0)
    assert meter.is_finite(last=1)
    assert not meter.is_finite()
