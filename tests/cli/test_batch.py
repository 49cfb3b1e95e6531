"""Where outputs go, and batches that survive a bad file."""

import importlib
import os
from pathlib import Path

import click
import pytest
from astro_vq.cli.batch import Job, plan_jobs, run_jobs, unpacked_name
from astro_vq.cli.console import Console


def plan(*names, output=None, output_dir=None):
    sources = [Path(name) for name in names]
    return plan_jobs(
        sources,
        lambda name: None if name == "odd" else f"{name}.avq",
        output=None if output is None else Path(output),
        output_dir=None if output_dir is None else Path(output_dir),
    )


def test_without_an_option_the_output_lies_beside_the_input():
    assert plan("night/a.fits") == [Job(Path("night/a.fits"), Path("night/a.fits.avq"))]


def test_an_output_folder_is_made_and_keeps_the_names(tmp_path):
    folder = tmp_path / "new" / "out"
    jobs = plan("x/a.fits", "y/b.fits", output_dir=folder)
    assert [job.output for job in jobs] == [folder / "a.fits.avq", folder / "b.fits.avq"]
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("name", "unpacked"),
    [
        ("a.fits.gz", "a.fits"),
        ("A.FIT.BZ2", "A.FIT"),
        ("a.fits.fz", "a.fits"),
        ("a.fits", "a.fits"),
    ],
)
def test_the_name_of_a_packed_image_loses_its_ending(name, unpacked):
    assert unpacked_name(name) == unpacked


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a", "b"], {"output": "c"}, "2 inputs; use -O"),
        (["a"], {"output": "c", "output_dir": "d"}, "-o or -O, not both"),
        (["a"], {"output": "."}, "is a folder"),
        (["x/a", "y/a"], {"output_dir": "d"}, "x/a and y/a would both be written to d/a.avq"),
        (["a", "a.avq"], {}, "the output a.avq is an input"),
        (["a"], {"output": "./a"}, "the output a is an input"),
        (["odd"], {}, "cannot tell a name for the output of odd"),
    ],
)
def test_an_unclear_output_is_wrong_usage(names, options, message):
    with pytest.raises(click.UsageError, match=message):
        plan(*names, **options)


WORK = """
import os
from astro_vq.cli.batch import Done
from astro_vq.errors import DataError

def work(job):
    if job.source.name == "bad":
        raise DataError("bad: no image")
    if job.source.name == "dead":
        os._exit(1)
    if job.source.name == "stop":
        raise KeyboardInterrupt
    return Done({"input": job.source.name, "process": os.getpid()}, ("a note",))
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Refuse a file named bad, die at one named dead, else say which process it is."""
    name = f"work_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name).work


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_file_does_not_stop_the_others(work, processes):
    jobs = [Job(Path(name)) for name in ("a", "bad", "b")]
    outcomes = list(run_jobs(work, jobs, processes=processes, console=Console()))
    assert [outcome.source.name for outcome in outcomes] == ["a", "bad", "b"]
    assert [outcome.error for outcome in outcomes] == ["", "bad: no image", ""]
    assert outcomes[1].to_dict() == {"input": "bad", "error": "bad: no image"}
    assert "DataError" in outcomes[1].trace
    assert outcomes[2].done.notes == ("a note",)
    assert (outcomes[0].done.result["process"] == os.getpid()) == (processes == 1)


def test_a_process_that_dies_is_the_failure_of_its_file(work):
    jobs = [Job(Path("dead")), Job(Path("a"))]
    outcomes = list(run_jobs(work, jobs, processes=2, console=Console()))
    assert "its process ended early" in outcomes[0].error


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interruption_ends_the_batch(work, processes):
    jobs = [Job(Path(name)) for name in ("a", "stop", "b", "c")]
    outcomes = run_jobs(work, jobs, processes=processes, console=Console())
    assert next(outcomes).source.name == "a"
    with pytest.raises(KeyboardInterrupt):
        list(outcomes)
