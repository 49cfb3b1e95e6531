"""Manifests: what they say, what a resumed run leaves out, and lines that were cut off."""

import hashlib
import json
import os

import pytest

from astro_vq.batch.manifest import Manifest, read_manifest
from astro_vq.batch.pools import SerialPool
from astro_vq.batch.recording import RecordedWork
from astro_vq.batch.run import run_jobs
from astro_vq.errors import BatchError, FormatError


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def run(module, tmp_path):
    """Return a function that runs jobs with a manifest, and returns outcomes."""

    def run(jobs, resume=False, settings=(("bound", 1),), overwrite=False):
        path = tmp_path / "run.jsonl"
        options = {"resume": resume, "overwrite": overwrite}
        with Manifest(path, "turn", dict(settings), **options) as manifest:
            pool = SerialPool(RecordedWork(module.work))
            return list(run_jobs(jobs, pool, manifest=manifest))

    return run


def test_a_manifest_names_hashes_figures_and_errors(run, make_jobs, tmp_path):
    run(make_jobs("abc", "bad"))
    about, *lines = read_manifest(tmp_path / "run.jsonl")
    assert about["status"] == "run"
    assert (about["manifest"], about["command"], about["settings"]) == (1, "turn", {"bound": 1})
    assert [line["status"] for line in lines] == ["started", "done", "started", "failed"]
    done, failed = lines[1], lines[3]
    assert done["input"] == str(tmp_path / "abc")
    assert done["output"] == str(tmp_path / "out" / "abc")
    assert (done["input_sha256"], done["output_sha256"]) == (sha(b"abc"), sha(b"cba"))
    assert (done["input_bytes"], done["attempts"], done["notes"]) == (3, 1, ["a note"])
    assert done["figures"]["bits"] == 3.5
    assert failed["error"] == "bad: no image"


def test_a_resumed_run_does_what_is_left(run, make_jobs, tmp_path):
    jobs = make_jobs("a", "bad", "c", "d", "e")
    run(jobs[:4])
    (tmp_path / "out" / "c").write_bytes(b"damaged")
    (tmp_path / "d").write_bytes(b"changed")
    os.utime(tmp_path / "a", (5, 5))  # another time, but the same bytes
    outcomes = run(jobs, resume=True)
    assert [outcome.done.is_skipped for outcome in outcomes] == [True, False, False, False, False]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False, False, False]
    assert outcomes[0].done.result["skipped"] is True
    assert outcomes[0].done.result["bits"] == 3.5
    assert (tmp_path / "out" / "c").read_bytes() == b"c"
    assert (tmp_path / "out" / "d").read_bytes() == b"degnahc"
    outcomes = run(jobs, resume=True)
    assert [outcome.done.is_skipped for outcome in outcomes] == [True, False, True, True, True]


def test_other_settings_make_it_another_job(run, make_jobs):
    jobs = make_jobs("a")
    run(jobs)
    (outcome,) = run(jobs, resume=True, settings=(("bound", 2),))
    assert not outcome.done.is_skipped
    assert not outcome.error


def test_an_output_that_no_run_began_is_not_replaced(run, make_jobs, tmp_path):
    jobs = make_jobs("a", "b")
    run(jobs[:1])
    (tmp_path / "out" / "b").write_bytes(b"of somebody else")
    outcomes = run(jobs, resume=True)
    assert "exists already" in outcomes[1].error
    outcomes = run(jobs, resume=True)  # the manifest knows it now, as one that failed
    assert "exists already" in outcomes[1].error
    assert (tmp_path / "out" / "b").read_bytes() == b"of somebody else"


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_last_line_that_was_cut_off_is_dropped(run, make_jobs, tmp_path, cut):
    path = tmp_path / "run.jsonl"
    jobs = make_jobs("a", "b")
    run(jobs)
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(list(read_manifest(path))) == 4
    left = path.with_name("out") / ".b.0123abcd.part"
    left.write_bytes(b"half")
    outcomes = run(jobs, resume=True)
    assert [outcome.done.is_skipped for outcome in outcomes] == [True, False]
    assert not outcomes[1].error  # it was begun: its output may be replaced
    assert not left.exists()
    statuses = [line["status"] for line in read_manifest(path)]
    assert statuses == ["run", "started", "done", "started", "run", "started", "done"]


def test_a_manifest_that_is_there_needs_a_decision(run, make_jobs, tmp_path):
    jobs = make_jobs("a")
    run(jobs, resume=True)  # there is none yet: a start
    with pytest.raises(FileExistsError, match="--resume"):
        run(jobs)
    (outcome,) = run(jobs, overwrite=True)
    assert "exists already" in outcome.error
    assert len(list(read_manifest(tmp_path / "run.jsonl"))) == 3


def test_no_other_file_is_taken_for_a_manifest(run, make_jobs, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"SIMPLE  = T")
    for option in ("resume", "overwrite"):
        with pytest.raises(FormatError, match="it is no manifest, so nothing is written"):
            run(make_jobs("a"), **{option: True})
    assert path.read_bytes() == b"SIMPLE  = T"


def test_a_damaged_line_in_the_middle_is_an_error(run, make_jobs, tmp_path):
    path = tmp_path / "run.jsonl"
    run(make_jobs("a"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:9], b"\n", lines[2]]))
    with pytest.raises(FormatError, match="line 2 is no line of a manifest"):
        run(make_jobs("a"), resume=True)
    newer = lines[0].replace(b'"manifest": 1', b'"manifest": 2')
    path.write_bytes(newer)
    with pytest.raises(FormatError, match="no manifest of format 1"):
        list(read_manifest(path))
    assert json.loads(newer)["manifest"] == 2


def test_two_runs_do_not_write_one_manifest(tmp_path):
    pytest.importorskip("fcntl")
    with (
        Manifest(tmp_path / "m", "turn", {}),
        pytest.raises(BatchError, match="another run is writing"),
    ):
        Manifest(tmp_path / "m", "turn", {}, resume=True)


def test_names_are_those_of_the_folder_that_the_run_began_in(run, make_jobs, tmp_path, monkeypatch):
    (job,) = make_jobs("a")
    monkeypatch.chdir(tmp_path)
    run([job._replace(source=job.source.relative_to(tmp_path))])
    monkeypatch.chdir(tmp_path / "out")
    (outcome,) = run([job], resume=True)
    assert outcome.done.is_skipped
