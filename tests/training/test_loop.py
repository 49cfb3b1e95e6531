"""Whole runs: what they write, that they learn, and that they can be resumed bit for bit."""

import csv
import json
import signal

import pytest
import torch
from matplotlib.figure import Figure

import astro_vq
from astro_vq.checkpoint import load_model
from astro_vq.config import read_toml
from astro_vq.errors import ConfigError, DataError
from astro_vq.training.loop import train
from astro_vq.training.reports import DivergenceError, Note, StepReport, ValidationReport

FILES = {
    "config.toml",
    "metrics.csv",
    "model.safetensors",
    "model.json",
    "MODEL_CARD.md",
    "checkpoints",
    "plots",
}


@pytest.fixture(autouse=True)
def quick_plots(request, monkeypatch):
    """Draw no figures and validate on few cutouts but where the plots are looked at."""
    if "with_plots" not in request.fixturenames:
        for name in ("draw_curves", "draw_reconstructions", "draw_usage"):
            monkeypatch.setattr(f"astro_vq.training.outputs.{name}", lambda *_, **__: Figure())
        save = "astro_vq.training.outputs.save_figure"
        monkeypatch.setattr(save, lambda _, path: path.write_bytes(b""))
        monkeypatch.setattr("astro_vq.training.trainer.VALIDATION_CUTOUTS", 24)


@pytest.fixture
def with_plots():
    """Draw the real figures."""


@pytest.fixture
def every_step(monkeypatch):
    """Report every step."""
    monkeypatch.setattr("astro_vq.training.trainer.REPORT_SECONDS", -1.0)


def rows_of(run):
    """Return the rows of metrics without what depends on the clock."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop("seconds")
        row.pop("images_per_second")
    return rows


def weights_of(run):
    return load_model(run).model.state_dict()


def assert_same_run(one, other):
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert rows_of(one) == rows_of(other)


def interrupt_at(step):
    def watch(report):
        if isinstance(report, StepReport) and report.step == step:
            signal.raise_signal(signal.SIGINT)

    return watch


def fail_at(step):
    def watch(report):
        if isinstance(report, StepReport) and report.step == step:
            raise RuntimeError("power cut")

    return watch


def test_a_run_writes_everything(options, tmp_path, with_plots):
    reports = []
    result = train(options, tmp_path / "run", progress=reports.append)
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == FILES
    assert {path.name for path in (run / "plots").iterdir()} == {
        "curves.png",
        "reconstructions.png",
        "codebook_usage.png",
    }
    assert (run / "checkpoints" / "last" / "state.json").is_file()
    assert (result.step, result.images, result.interrupted) == (20, 80, False)
    assert read_toml(run / "config.toml").model.codes == 8

    loaded = load_model(run)
    assert loaded.name == "run"
    assert loaded.extra["steps"] == 20
    assert loaded.extra["validation"]["sky"] == dict(result.validation.sky)
    assert loaded.hash in (run / "MODEL_CARD.md").read_text()
    assert json.loads((run / "model.json").read_text())["hash"] == loaded.hash

    rows = rows_of(run)
    train_steps = [int(row["step"]) for row in rows if row["split"] == "train"]
    assert train_steps == [4, 8, 12, 16, 20]
    checked = [int(row["step"]) for row in rows if row["split"] == "validation"]
    assert checked == list(range(2, 21, 2))  # ten times in a run
    assert float(rows[-1]["sky_loss"]) == result.validation.sky["loss"]
    assert float(rows[-1]["loss"]) == result.validation.terms["loss"]
    kinds = {type(report) for report in reports}
    assert {Note, ValidationReport} <= kinds


def test_a_model_learns_to_do_better_than_the_sky_level(options, tmp_path):
    more = {"steps": 150, "learning_rate": 1e-2, "hidden_channels": 8, "codes": 32}
    result = train(options | more, tmp_path / "run")
    sky, model = result.validation.sky, result.validation.terms
    assert model["mse"] < 0.6 * sky["mse"]
    assert model["loss"] < sky["loss"]


@pytest.mark.parametrize("quantizer", ["ema", "vector"])
def test_ten_steps_and_ten_resumed_are_twenty(options, tmp_path, every_step, quantizer):
    options["quantizer"] = quantizer
    whole, parts = tmp_path / "one" / "run", tmp_path / "two" / "run"
    train(options, whole)
    first = train(options, parts, progress=interrupt_at(10))
    assert first.interrupted
    assert first.step == 10
    assert {path.name for path in parts.iterdir()} == FILES
    assert "interrupted" in (parts / "MODEL_CARD.md").read_text()
    second = train({}, parts, resume=True)
    assert not second.interrupted
    assert second.step == 20
    assert_same_run(whole, parts)


def test_a_run_that_crashed_resumes_from_its_last_checkpoint(options, tmp_path, every_step):
    options["checkpoint_every"] = 6
    whole, parts = tmp_path / "one" / "run", tmp_path / "two" / "run"
    train(options, whole)
    with pytest.raises(RuntimeError, match="power cut"):
        train(options, parts, progress=fail_at(17))
    load_model(parts)  # of step 12: usable as it is
    train({}, parts, resume=True)
    assert_same_run(whole, parts)


def test_an_ended_run_can_be_made_longer(options, tmp_path):
    run = tmp_path / "run"
    train(options | {"steps": 8}, run)
    notes = []
    train({}, run, resume=True, progress=notes.append)
    assert any(isinstance(n, Note) and "the run is complete" in n.text for n in notes)
    notes.clear()
    result = train({"steps": 12}, run, resume=True, progress=notes.append)
    assert result.step == 12
    assert Note("resumed with steps 12 (was 8)") in notes
    steps = [int(row["step"]) for row in rows_of(run) if row["split"] == "train"]
    assert steps == [4, 8, 12]


def test_a_time_budget_ends_a_run_and_its_position_is_kept(options, tmp_path):
    run = tmp_path / "run"
    timed = {name: value for name, value in options.items() if name != "steps"}
    first = train(timed | {"time_budget": 0.8}, run)
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["position"]
    assert 0.8 <= state["seconds"] < 3
    assert state["progress"] == 1
    rates = [float(row["learning_rate"]) for row in rows_of(run) if row["learning_rate"]]
    assert rates[-1] < 0.2 * max(rates)
    second = train({"time_budget": state["seconds"] + 0.5}, run, resume=True)
    assert second.step > first.step
    assert second.seconds >= state["seconds"] + 0.5


def test_a_folder_in_use_is_refused_before_anything_is_read(options, tmp_path):
    run = tmp_path / "run"
    train(options | {"steps": 2}, run)
    before = (run / "model.json").read_bytes()
    with pytest.raises(FileExistsError, match="--resume, or replace it with --overwrite"):
        train(options, run)
    with pytest.raises(ValueError, match="resume and overwrite exclude each other"):
        train(options, run, resume=True, overwrite=True)
    assert (run / "model.json").read_bytes() == before
    result = train(options | {"steps": 3, "codes": 5}, run, overwrite=True)
    assert result.step == 3
    assert [row["step"] for row in rows_of(run) if row["split"] == "train"] == ["3"]


def test_a_failed_start_leaves_the_run_that_was_there(options, tmp_path):
    run = tmp_path / "run"
    train(options | {"steps": 2}, run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        train(options | {"fits_dir": [str(tmp_path / "empty")]}, run, overwrite=True)
    load_model(run)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(options, tmp_path):
    run = tmp_path / "run"
    train(options | {"steps": 4}, run)
    before = weights_of(run)
    wild = {"steps": 200, "learning_rate": 1e25, "schedule": "constant", "clip": None}
    with pytest.raises(DivergenceError, match=r"not finite near step \d+; the checkpoint of ste"):
        train(wild, run, resume=True)
    for name, tensor in weights_of(run).items():
        assert torch.equal(tensor, before[name]), name
    with pytest.raises(DivergenceError, match="there is no checkpoint yet"):
        train(options | wild, tmp_path / "other")


def test_another_model_or_other_data_cannot_resume_a_run(options, tmp_path, images):
    run = tmp_path / "run"
    train(options | {"steps": 2}, run)
    with pytest.raises(ConfigError, match="keeps its codes: it was started with 8, not 16"):
        train({"codes": 16}, run, resume=True)
    with pytest.raises(DataError, match="images are not those that the run was started with"):
        train({"fits_dir": [str(images / "field1.fits"), str(images / "field2.fits")]}, run,
              resume=True)  # fmt: skip
    with pytest.raises(DataError, match="no checkpoint to resume"):
        train(options, tmp_path / "none", resume=True)


def test_nothing_global_is_left_changed(options, tmp_path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    train(options | {"steps": 2}, tmp_path / "run")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler


def test_two_runs_of_one_seed_are_the_same_and_of_two_are_not(options, tmp_path):
    a, b, c = (tmp_path / name / "run" for name in "abc")
    short = options | {"steps": 4}
    train(short, a)
    torch.manual_seed(99)  # plays no part
    train(short | {"workers": 1}, b)
    train(short | {"seed": 1}, c)
    assert_same_run(a, b)
    assert any(not torch.equal(weights_of(a)[n], t) for n, t in weights_of(c).items())


def test_bfloat16_trains_and_the_model_stays_in_float32(options, tmp_path):
    result = train(options | {"precision": "bfloat16", "steps": 4}, tmp_path / "run")
    assert result.step == 4
    assert {t.dtype for t in load_model(tmp_path / "run").model.parameters()} == {torch.float32}


@pytest.mark.parametrize("model", ["autoencoder"])
def test_models_without_codes_are_trained_too(options, tmp_path, model):
    result = train(options | {"model": model, "steps": 4}, tmp_path / "run")
    assert result.validation.counts == ()
    assert not (tmp_path / "run" / "plots" / "codebook_usage.png").exists()


def test_a_device_that_is_not_there_is_refused(options, tmp_path):
    if torch.cuda.device_count() > 7:
        pytest.skip("there are many")
    with pytest.raises(ConfigError, match="device cuda:7 is not to be had here"):
        train(options | {"device": "cuda:7"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_is_a_public_name():
    assert astro_vq.train is train
