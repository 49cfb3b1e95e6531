"""Where outputs go, and batches that survive a bad file."""

import json
from hashlib import sha256
from pathlib import Path
from unittest.mock import ANY

import click
import numpy as np
import pytest
from astro_vq.cli.batch import Job, Outcome, plan_jobs, report_outcomes, unpacked_name, weights_hash
from astro_vq.cli.console import Console
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

from astro_vq.batch.inputs import FoundFile
from astro_vq.batch.manifest import read_manifest


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


def test_files_of_a_folder_keep_the_folders_that_they_lie_in(tmp_path):
    found = [FoundFile(Path("x/n1/a.fits"), Path("n1")), FoundFile(Path("x/n2/a.fits"), Path("n2"))]
    jobs = plan_jobs(found, lambda name: f"{name}.avq", output=None, output_dir=tmp_path / "o")
    assert [job.output for job in jobs] == [
        tmp_path / "o" / "n1" / "a.fits.avq",
        tmp_path / "o" / "n2" / "a.fits.avq",
    ]
    assert (tmp_path / "o" / "n2").is_dir()
    beside = plan_jobs(found, lambda name: f"{name}.avq", output=None, output_dir=None)
    assert beside[1].output == Path("x/n2/a.fits.avq")


@pytest.fixture
def night(tmp_path):
    """Folder of four small images, one of them broken."""
    folder = tmp_path / "night"
    (folder / "late").mkdir(parents=True)
    for name in ("a.fits", "b.fits", "late/c.fits"):
        pixels = np.random.default_rng(len(name)).normal(100, 8, (24, 32)).astype(np.int16)
        fits.PrimaryHDU(pixels).writeto(folder / name)
    (folder / "late" / "broken.fits").write_bytes(b"SIMPLE")
    return folder


def run(*arguments, **options):
    return CliRunner().invoke(main, [str(text) for text in arguments], **options)


def hashes_of(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_command_takes_folders_and_lists_and_writes_manifests(night, tmp_path):
    packed, back = tmp_path / "packed", tmp_path / "back"
    options = ("--no-tokens", "-O", packed, "--manifest", tmp_path / "1.jsonl")
    done = run("compress", night, *options)
    assert done.exit_code == 1
    assert "1 of 4 files failed" in done.stderr
    assert list(map(str, hashes_of(packed))) == ["a.fits.avq", "b.fits.avq", "late/c.fits.avq"]

    again = run("compress", night, *options, "--resume", "--json")
    assert "3 of 4 files were done already" in again.stderr
    results = json.loads(again.stdout)
    assert [result.get("skipped") for result in results] == [True, True, None, True]
    assert results[0]["fidelity"] == "lossless"
    assert "error" in results[2]

    (tmp_path / "list").write_text(f"{packed / 'a.fits.avq'}\n{packed / 'late'}\n")
    for inputs in (("--files-from", tmp_path / "list"), (f"@{tmp_path / 'list'}",)):
        done = run("verify", *inputs, "--json", "--manifest", tmp_path / f"v{len(inputs)}.jsonl")
        assert [result["ok"] for result in json.loads(done.stdout)] == [True, True]
    lines = list(read_manifest(tmp_path / "v1.jsonl"))
    assert lines[-1]["figures"]["ok"] is True
    assert lines[-1]["output"] is None

    done = run("decompress", "--files-from", "-", "-O", back, input=str(packed))
    assert done.exit_code == 0, done.stderr
    assert {**hashes_of(back), Path("late/broken.fits"): ANY} == hashes_of(night)


def test_processes_write_and_say_what_one_does(night, tmp_path):
    said = []
    for jobs in ("1", "2"):
        done = run("compress", night, tmp_path / "missing.fits", "--no-tokens",
                   "-O", tmp_path / jobs, "-j", jobs)  # fmt: skip
        assert done.exit_code == 1
        assert "2 of 5 files failed" in done.stderr
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        said.append(([line.split()[0] for line in done.stdout.splitlines()], errors))
    assert said[0] == said[1]
    assert said[0][0] == ["image", *(str(night / name) for name in ("a.fits", "b.fits",
                                                                    "late/c.fits"))]  # fmt: skip
    assert hashes_of(tmp_path / "1") == hashes_of(tmp_path / "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress"], "there is no file to work on"),
        (["compress", "a.fits", "--resume"], "--resume needs the manifest of the run"),
        (["verify", "a.avq", "-j", "2", "--dask", "tcp://x:1"], "give -j or --dask, not both"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_long_list_of_failures_is_cut_short(capsys):
    outcomes = [Outcome(Path(f"f{number}"), error="no") for number in range(30)]
    with pytest.raises(SystemExit):
        report_outcomes(outcomes, Console(), count=40, label="x", show=print)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "30 of 40 files failed: f0, f1," in last
    assert last.endswith("f19 and 10 more")


def test_a_model_that_was_trained_again_is_another(tmp_path):
    assert weights_hash("default") is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert weights_hash(str(tmp_path)) == sha256(b"weights").hexdigest()
