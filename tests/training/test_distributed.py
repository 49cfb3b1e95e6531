"""Several processes that train one model: the loss curve is that of one process."""

import csv
import json
import os
import socket
import subprocess
import sys
from itertools import islice

import pytest
import torch
from astro_vq.cli.main import main
from matplotlib.figure import Figure

from astro_vq.checkpoint import load_model
from astro_vq.collective import gather_rows, process_count, sum_over_processes, synchronised
from astro_vq.config import RunConfig
from astro_vq.errors import ConfigError
from astro_vq.training.batches import BatchOrder
from astro_vq.training.distributed import check_distributed, join_processes
from astro_vq.training.launch import Launch
from astro_vq.training.loop import train
from astro_vq.training.settings import change_options

RUNS = {
    # codes by k-means, averages and restarts, in levels that a part of a batch may not reach
    "residual": {"quantizer": "residual", "depth": 3, "codes": 8, "stop": 0.02},
    # codes by gradient, and a variance of the first batch
    "gradient": {"quantizer": "vector", "codes": 16, "reconstruction": "data-variance"},
}


def train_together(first, second, folder):
    """Train two models, one by the command, as a process of those that the environment tells of."""
    flags = []
    for name, value in first.items():
        for item in value if isinstance(value, list) else [value]:
            flags += [f"--{name.replace('_', '-')}", str(item)]
    with join_processes("cpu"):  # both runs use this group, as they would one of the user
        main(["train", "-o", f"{folder}/residual", *flags, "--json"], standalone_mode=False)
        result = train(second, f"{folder}/gradient")
    assert result.step == second["steps"]


def test_parts_of_batches_make_up_the_batches():
    whole = BatchOrder(10, 4, seed=3, start=1)
    parts = [BatchOrder(10, 4, seed=3, start=1, part=part, parts=2) for part in range(2)]
    for batch, *halves in islice(zip(whole, *parts, strict=False), 7):
        assert [item for half in halves for item in half] == batch
    with pytest.raises(ValueError, match="no part 2 of 2"):
        BatchOrder(10, 4, seed=3, part=2, parts=2)
    with pytest.raises(ValueError, match="no part 0 of 3"):
        BatchOrder(10, 4, seed=3, part=0, parts=3)


def test_a_process_knows_its_place_from_what_torchrun_says():
    said = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert Launch.from_environment(said) == Launch(3, 4, 1)
    assert not Launch.from_environment(said).is_first
    assert Launch.from_environment({"RANK": "3"}) == Launch()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 9},
            "9 cutouts cannot be shared evenly by 2 .* give --batch-size 10",
        ),
        ({"batch_size": 8, "batch_norm": True}, "batch normalisation over several processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(options, message):
    config = change_options(RunConfig(), options)
    with pytest.raises(ConfigError, match=message):
        check_distributed(config, Launch(1, 2, 1), torch.device("cpu"))
    check_distributed(config, Launch(), torch.device("cpu"))


def test_one_process_is_left_alone():
    rows = torch.ones(2, 3)
    with synchronised():
        assert process_count() == 1
        assert sum_over_processes(rows) is rows
        assert gather_rows(rows) is rows


def read_losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    skip = ("split", "seconds", "images_per_second")
    return [
        {name: float(value) for name, value in row.items() if value and name not in skip}
        for row in rows
    ]


@pytest.mark.slow
def test_two_processes_train_as_one(options, tmp_path, monkeypatch, capsys):
    for name in ("draw_curves", "draw_reconstructions", "draw_usage"):
        monkeypatch.setattr(f"astro_vq.training.outputs.{name}", lambda *_, **__: Figure())
    common = options | {"batch_size": 8, "steps": 16, "learning_rate": 1e-3}
    first, second = (common | RUNS[name] for name in ("residual", "gradient"))
    alone, together = tmp_path / "alone", tmp_path / "together"
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    with subprocess.Popen(
        [sys.executable, __file__, json.dumps([first, second, str(together)])],
        env=os.environ | place | {"RANK": "1", "LOCAL_RANK": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n", other.stderr.read()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        for name, value in (place | {"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": port}).items():
            monkeypatch.setenv(name, value)
        other.stdin.write(f"{port}\n")
        other.stdin.flush()
        train_together(first, second, together)
        output, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert json.loads(capsys.readouterr().out)["steps"] == 16
    assert output == ""  # the first process alone says what came of it
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name)
    for name, asked in (("residual", first), ("gradient", second)):
        train(asked, alone / name)
        one, two = read_losses(alone / name), read_losses(together / name)
        assert len(one) == len(two) > 10
        for before, after in zip(one, two, strict=True):
            # a latent between two codes may fall to either: that changes counts by whole numbers
            for counted in ("dead_codes", "codes_used", "perplexity"):
                assert after.pop(counted, 0) == pytest.approx(before.pop(counted, 0), abs=1)
            assert after == pytest.approx(before, rel=2e-3, abs=2e-4)
        model = load_model(together / name).model.state_dict()
        for key, value in load_model(alone / name).model.state_dict().items():
            torch.testing.assert_close(model[key], value, rtol=1e-2, atol=2e-3)


if __name__ == "__main__":  # the second process
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    os.environ["MASTER_PORT"] = input()
    train_together(*json.loads(sys.argv[1]))
