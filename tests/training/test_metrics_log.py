"""The file of metrics."""

import pytest

from astro_vq.training.metrics_log import FIRST_COLUMNS, MetricsLog, read_metrics, read_series


def row(step, **values):
    return {"step": step, "split": "train", **values}


def test_numbers_read_back_as_the_same_floats(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path, ["loss"]) as log:
        log.append(row(1, loss=0.1 + 0.2, learning_rate=1e-3 / 3))
        assert log.rows == 1
    (read,) = read_metrics(path)
    assert float(read["loss"]) == 0.1 + 0.2
    assert float(read["learning_rate"]) == 1e-3 / 3
    assert (read["step"], read["split"], read["epoch"]) == ("1", "train", "")


def test_a_row_is_in_the_file_at_once(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path, ["loss"]) as log:
        assert path.read_text() == ",".join([*FIRST_COLUMNS, "loss"]) + "\n"
        log.append(row(1, loss=2.0))
        assert len(read_metrics(path)) == 1


def test_resuming_drops_rows_that_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path, ["loss"]) as log:
        for step in (1, 2, 3):
            log.append(row(step, loss=float(step)))
    with path.open("a") as file:
        file.write("4,tra")  # cut off by a crash
    with MetricsLog(path, ["loss"], keep=2) as log:
        assert log.rows == 2
        log.append(row(3, loss=30.0))
    assert read_series(read_metrics(path), "train", "loss") == ([1.0, 2.0, 3.0], [1.0, 2.0, 30.0])
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_new_run_starts_an_empty_file(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path, ["loss"]) as log:
        log.append(row(1, loss=1.0))
    with MetricsLog(path, ["loss", "nll"]):
        pass
    assert read_metrics(path) == []


def test_a_value_without_a_column_is_refused(tmp_path):
    with (
        MetricsLog(tmp_path / "metrics.csv", ["loss"]) as log,
        pytest.raises(ValueError, match=r"no column for \['los'\]"),
    ):
        log.append(row(1, los=1.0))


def test_series_leave_out_empty_cells_and_other_splits(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path, ["loss", "kl"]) as log:
        log.append(row(1, loss=1.0))
        log.append({"step": 2, "split": "validation", "kl": 5.0})
    rows = read_metrics(path)
    assert read_series(rows, "train", "kl") == ([], [])
    assert read_series(rows, "validation", "kl") == ([2.0], [5.0])
    assert read_series(rows, "validation", "unknown") == ([], [])
