"""The train command: options from the configuration, progress, results and exit statuses."""

import dataclasses
import json
from pathlib import Path

import click
import pytest
from astro_vq.cli.console import Console
from astro_vq.cli.main import main
from astro_vq.cli.train import train
from astro_vq.cli.train_progress import (
    ProgressPrinter,
    describe_step,
    describe_validation,
    format_seconds,
)
from click.testing import CliRunner

import astro_vq
from astro_vq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig, write_toml
from astro_vq.training.reports import Note, StepReport, TrainingResult, ValidationReport
from astro_vq.training.settings import change_options

VALIDATION = ValidationReport(
    step=100,
    cutouts=64,
    terms={"loss": 1.25, "mse": 0.5},
    sky={"loss": 2.5, "mse": 3.0},
    counts=(10, 0, 10),
    perplexity=2.0,
)
STEP = StepReport(
    step=100,
    progress=0.25,
    seconds=75.2,
    terms={
        "loss": 1.5,
        "reconstruction": 1.25,
        "codebook": 0.0,
        "commitment": 1.0,
        "nll": 5000.0,
        "perplexity": 123.4,
        "dead_codes": 3.0,
    },
    learning_rate=1e-3,
    images_per_second=812.4,
)


@pytest.fixture
def asked(monkeypatch):
    """Catch what the library is asked to do."""
    calls = []

    def fake(config, output, **rest):
        calls.append((config, output, rest))
        rest["progress"](Note("70 images"))
        rest["progress"](STEP)
        rest["progress"](VALIDATION)
        return TrainingResult(output, 100, 75.2, 3200, fake.interrupted, {"loss": 1.5}, VALIDATION)

    fake.interrupted = False
    fake.calls = calls
    monkeypatch.setitem(vars(astro_vq), "train", fake)  # without loading the real one
    return fake


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_every_field_of_the_configuration_is_an_option():
    options = {param.name: param for param in train.params if isinstance(param, click.Option)}
    for cls in (DataConfig, ModelConfig, TrainingConfig):
        for field in dataclasses.fields(cls):
            param = options[field.name]
            assert f"--{field.name.replace('_', '-')}" in param.opts
            assert len(param.help) > 8


def test_options_become_a_configuration(asked):
    done = run(
        *("--fits-dir", "a", "--fits-dir", "b", "-o", "run", "--time-budget", "5m"),
        *("--bands", "g,r", "--bands", "z", "--levels", "8,5,5", "--no-augment", "--clip", "none"),
        *("--learning-rate", "2e-3", "--model", "autoencoder", "--cosine"),
    )
    assert done.exit_code == 0, done.output
    ((config, output, rest),) = asked.calls
    expected = {
        "fits_dir": ["a", "b"],
        "time_budget": 300,
        "bands": ["g", "r", "z"],
        "levels": [8, 5, 5],
        "augment": False,
        "clip": None,
        "learning_rate": 2e-3,
        "model": "autoencoder",
        "cosine": True,
    }
    assert config == change_options(RunConfig(), expected)
    assert output == Path("run")
    assert (rest["resume"], rest["overwrite"]) == (False, False)


def test_flags_win_over_the_file(asked, tmp_path):
    stored = RunConfig(
        data=DataConfig(fits_dir=("a",)),
        model=ModelConfig(codes=64, decay=0.9),
        training=TrainingConfig(steps=50),
    )
    write_toml(stored, tmp_path / "run.toml")
    done = run("--config", tmp_path / "run.toml", "--codes", "256", "-o", "run", "--overwrite")
    assert done.exit_code == 0, done.output
    ((config, _, rest),) = asked.calls
    assert config == change_options(stored, {"codes": 256})  # the flag is also the default
    assert rest["overwrite"]


def test_a_resumed_run_needs_no_options_and_takes_only_those_given(asked):
    assert run("-o", "run", "--resume").exit_code == 0
    assert run("-o", "run", "--resume", "--steps", "10").exit_code == 0
    assert [call[0] for call in asked.calls] == [{}, {"steps": 10}]
    assert all(call[2]["resume"] for call in asked.calls)


def test_the_result_goes_to_stdout_and_progress_to_stderr(asked):
    done = run("--fits-dir", "a", "-o", "run")
    assert done.stdout.splitlines() == [
        "run         run",
        "trained     100 steps, 3200 cutouts, 1:15",
        "validation  loss 1.25; of the sky level alone 2.5",
        "codes       2 of 3 used on validation data, perplexity 2",
    ]
    assert done.stderr.splitlines() == [
        "70 images",
        "validation at step 100: loss 1.25, sky level alone 2.5, 2 of 3 codes used, perplexity 2",
    ]


def test_quiet_is_silent(asked):
    done = run("--fits-dir", "a", "-o", "run", "-q")
    assert done.stderr == ""
    assert done.stdout


def test_json_is_one_document(asked):
    done = run("--fits-dir", "a", "-o", "run", "--json", "-q")
    assert json.loads(done.stdout) == {
        "output": "run",
        "steps": 100,
        "images": 3200,
        "seconds": 75.2,
        "interrupted": False,
        "training": {"loss": 1.5},
        "validation": {"loss": 1.25, "mse": 0.5},
        "sky": {"loss": 2.5, "mse": 3.0},
        "codes": 3,
        "codes_used": 2,
        "perplexity": 2.0,
    }


def test_an_interrupted_run_says_how_to_resume_and_exits_with_1(asked):
    asked.interrupted = True
    done = run("--fits-dir", "a", "-o", "my run")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "interrupted; to continue: astro-vq train -o 'my run' --resume"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "run"], "there is nothing to train on: give --fits-dir DIR or --hdf5 FILE"),
        (["--fits-dir", "a"], "Missing option '-o'"),
        (["-o", "run", "--resume", "--overwrite"], "exclude each other"),
        (["-o", "run", "--fits-dir", "a", "--time-budget", "soon"], "is not a time such as 90s"),
        (["-o", "run", "--fits-dir", "a", "--clip", "some"], "neither a number nor none"),
        (["-o", "run", "--fits-dir", "a", "--levels", "3,x"], "are not whole numbers"),
        (["-o", "run", "--fits-dir", "a", "--network", "big"], "'big' is not one of"),
    ],
)
def test_wrong_usage_exits_with_2(asked, arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert asked.calls == []


def test_an_impossible_value_is_one_line(asked):
    done = run("-o", "run", "--fits-dir", "a", "--codes", "1")
    assert done.exit_code == 1
    assert done.stderr == "astro-vq: error: model.codes must be at least 2, got 1\n"


def test_a_line_of_progress_has_terms_speed_and_codes():
    assert describe_step(STEP) == (
        " 25%, 1:15, step 100, loss 1.5 reconstruction 1.25 codebook 0 commitment 1, "
        "812 images/s, perplexity 123.4, dead codes 3"
    )
    assert "codes" not in describe_validation(ValidationReport(1, 2, {"loss": 1.0}, {}))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75.2, "1:15"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_times_are_minutes_and_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_a_terminal_shows_one_line_that_is_renewed(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    with ProgressPrinter(Console()) as printer:
        printer.show(STEP)
        printer.show(Note("look"))
        printer.show(STEP)
    line = f"\r\x1b[K{describe_step(STEP)[:39]}"
    assert capsys.readouterr().err == f"{line}\r\x1b[Klook\n{line}\r\x1b[K"


def test_elsewhere_a_line_comes_now_and_then(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    printer = ProgressPrinter(Console())
    for seconds in (1, 10, 20, 25, 45):
        now[0] = 1000.0 + seconds
        printer.show(dataclasses.replace(STEP, step=seconds))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[2] for line in lines] == ["step 10", "step 45"]
