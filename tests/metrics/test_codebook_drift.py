import numpy as np
import pytest

from astro_vq.metrics.codebook_drift import measure_drift


def test_distances_are_to_the_end_in_units_of_neighbours():
    end = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [6.0, 0.0]])  # nearest distance 2
    start = end + np.array([[0.0, 4.0], [0.0, 2.0], [0.0, 2.0], [0.0, 0.0]])
    (drift,) = measure_drift([(1, {"codes": start}), (9, {"codes": end})])
    assert drift.name == "codes"
    assert drift.steps == [1, 9]
    assert drift.median == [1.0, 0.0]
    assert drift.percentile_90 == [pytest.approx(np.quantile([2, 1, 1, 0], 0.9)), 0.0]
    assert drift.settled == [1.0, 1.0]


def test_codes_that_change_places_are_not_settled():
    end = np.arange(6.0)[:, None]
    swapped = end[[1, 0, 2, 3, 4, 5]]
    (drift,) = measure_drift([(1, {"a": swapped}), (2, {"a": end})])
    assert drift.settled == [4 / 6, 1.0]


def test_one_snapshot_is_no_drift_and_other_shapes_are_left_out():
    end = np.arange(4.0)[:, None]
    assert measure_drift([(3, {"codes": end})]) == []
    (drift,) = measure_drift([(1, {"codes": end[:2]}), (2, {"codes": end}), (3, {"codes": end})])
    assert drift.steps == [2, 3]
