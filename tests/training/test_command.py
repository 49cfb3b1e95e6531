"""The train command from end to end."""

import json
import signal
import subprocess
import sys
import time

import pytest
from astro_vq.cli.main import main
from click.testing import CliRunner

from astro_vq.checkpoint import load_model
from astro_vq.training.metrics_log import read_metrics

SMALL = {
    "--cutout-size": 16,
    "--validation-fraction": 0.3,
    "--hidden-channels": 4,
    "--latent-channels": 4,
    "--codes": 8,
    "--batch-size": 4,
    "--threads": 1,
    "--log-every": 4,
}


def command(*arguments):
    return [sys.executable, "-m", "astro_vq.cli.main", "train", *map(str, arguments)]


@pytest.mark.slow
def test_ctrl_c_leaves_a_model_and_the_command_that_continues(images, tmp_path, brief):
    run = tmp_path / "run"
    small = [part for pair in SMALL.items() for part in pair]
    arguments = ["--fits-dir", images, "-o", run, "--steps", 10**6, "--workers", 1, *small]
    with subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (run / "metrics.csv").exists() or not read_metrics(run / "metrics.csv"):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        f"interrupted; to continue: astro-vq train -o {run} --resume"
    )
    assert "Traceback" not in errors
    assert output.startswith(f"run         {run}\n")
    steps = load_model(run).extra["steps"]
    assert steps > 0
    assert (run / "plots" / "reconstructions.png").exists()

    steps_more = ["--resume", "--steps", str(steps + 5), "--json", "-q"]
    again = CliRunner().invoke(main, ["train", "-o", str(run), *steps_more])
    assert again.exit_code == 0, again.stderr
    assert again.stderr == ""
    assert json.loads(again.stdout)["steps"] == steps + 5
