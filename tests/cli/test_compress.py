"""astro-vq compress: flags, table, JSON, batches."""

import json

import numpy as np
import pytest
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

import astro_vq

KEYS = {
    "input",
    "output",
    "fidelity",
    "max_error",
    "input_bytes",
    "output_bytes",
    "pixel_bytes",
    "token_bytes",
    "model_bytes",
    "bits_per_pixel",
    "ratio",
    "seconds",
}


def write_image(path, dtype=np.float32, seed=0):
    pixels = np.random.default_rng(seed).normal(100, 8, (48, 40)).astype(dtype)
    fits.PrimaryHDU(pixels).writeto(path)
    return path


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "sky.fits")


def run(*arguments):
    return CliRunner().invoke(main, ["compress", *map(str, arguments)])


def test_the_row_names_fidelity_bound_bits_per_pixel_and_ratio(image):
    done = run(image, "--no-tokens", "--max-error", "0.5")
    assert done.exit_code == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.split() == (
        ["image", "fidelity", "max", "error", "bits/pixel", "ratio", "before", "after", "seconds"]
    )
    size = (image.parent / "sky.fits.avq").stat().st_size
    bits, ratio = 8 * size / (48 * 40), image.stat().st_size / size
    assert row.split()[:5] == [str(image), "max-error", "0.5", f"{bits:.4g}", f"{ratio:.4g}"]


def test_json_has_an_object_a_file_with_the_promised_keys(image):
    done = run(image, "--no-tokens", "--lossless", "--json")
    (result,) = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert result["input"] == str(image)
    assert result["output"] == f"{image}.avq"
    assert (result["fidelity"], result["max_error"]) == ("lossless", 0)
    assert result["input_bytes"] == image.stat().st_size
    assert result["token_bytes"] == 0


def test_tokens_have_no_bound(image):
    (noise,) = json.loads(run(image, "--tokens", "--json").stdout)
    assert (noise["fidelity"], noise["max_error"]) == ("tokens", None)
    assert noise["token_bytes"] == 0  # they are spent on what is significant
    with fits.open(image, mode="update") as hdus:
        hdus[0].data[20:24, 20:24] += 100
    (source,) = json.loads(run(image, "--tokens", "--json", "--overwrite").stdout)
    assert 0 < source["token_bytes"] < 100


@pytest.mark.parametrize(
    ("dtype", "fidelity", "bound"), [(np.int16, "lossless", 0), (np.float32, "max-error", 8 / 32)]
)
def test_the_default_fidelity_follows_the_type(tmp_path, dtype, fidelity, bound):
    image = write_image(tmp_path / "sky.fits", dtype)
    (result,) = json.loads(run(image, "--json").stdout)
    assert result["fidelity"] == fidelity
    assert result["max_error"] == pytest.approx(bound, rel=0.1)


def test_every_option_reaches_the_library(image, monkeypatch):
    taken = {}

    class Result:
        notes = ("something to know",)

        def to_dict(self):
            return {}

    def compress(source, output, **choices):
        taken.update(choices, source=source, output=output)
        return Result()

    monkeypatch.setattr(astro_vq, "compress", compress, raising=False)
    done = run(image, "-o", "x.avq", "-m", "run", "--max-error", "0.125sigma", "--effort", "9",
               "--embed-model", "--device", "cpu", "--overwrite", "--json",
               "--non-negative-hdu", "WHT", "--non-negative-hdu", "3")  # fmt: skip
    assert done.exit_code == 0
    assert done.stderr == f"{image}: something to know\n"
    assert taken.pop("source") == image
    assert str(taken.pop("output")) == "x.avq"
    assert taken == {
        "model": "run",
        "fidelity": "max-error",
        "max_error": "0.125sigma",
        "tokens": True,
        "effort": 9,
        "embed_model": True,
        "device": "cpu",
        "overwrite": True,
        "verify": "lossless",
        "delete_input": False,
        "quality": None,
        "bits_per_pixel": None,
        "non_negative": ["WHT", 3],
        "dither": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lossless", "--max-error", "1"], "--lossless and --max-error exclude each other"),
        (["--lossless", "--tokens"], "--lossless and --tokens exclude each other"),
        (["--tokens", "--no-tokens"], "would store nothing"),
        (["--no-tokens", "--embed-model"], "needs no model"),
        (["--max-error", "0"], "above 0"),
        (["--effort", "10"], "1<=x<=9"),
        (["--tokens", "--dither", "1"], "--dither go with --max-error"),
        (["--lossless", "--dither", "1"], "nothing is quantised"),
        (["--non-negative", "--dither", "1"], "exclude each other"),
        (["--jobs", "0"], "x>=1"),
    ],
)
def test_options_that_contradict_are_wrong_usage(image, arguments, message):
    done = run(image, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert list(image.parent.iterdir()) == [image]


def test_a_bad_file_in_a_batch_does_not_stop_the_others(image, tmp_path):
    other = write_image(tmp_path / "other.fits", np.int32, seed=1)
    bad = tmp_path / "bad.fits"
    bad.write_bytes(b"no image at all")
    missing = tmp_path / "missing.fits"
    done = run(image, bad, missing, other, "-O", tmp_path / "out", "--no-tokens")
    assert done.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "other.fits.avq",
        "sky.fits.avq",
    ]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "image",
        str(image),
        str(other),
    ]
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert str(bad) in errors[0]
    assert str(missing) in errors[1]
    assert errors[2] == f"astro-vq: error: 2 of 4 files failed: {bad}, {missing}"


def test_json_of_a_batch_says_what_failed(image, tmp_path):
    missing = tmp_path / "missing.fits"
    done = run(missing, image, "--no-tokens", "--json")
    failed, result = json.loads(done.stdout)
    assert done.exit_code == 1
    assert failed["input"] == str(missing)
    assert "No such file" in failed["error"]
    assert result["output_bytes"] > 0


def test_an_output_is_replaced_only_when_told(image):
    target = image.parent / "sky.fits.avq"
    target.write_bytes(b"mine")
    refused = run(image, "--no-tokens")
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert target.read_bytes() == b"mine"
    assert run(image, "--no-tokens", "--overwrite").exit_code == 0
    assert target.read_bytes() != b"mine"
    assert sorted(path.name for path in image.parent.iterdir()) == ["sky.fits", "sky.fits.avq"]


def test_a_missing_model_is_named(image):
    done = run(image, "-m", "nowhere")
    assert done.exit_code == 1
    assert "nowhere" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(image.parent.iterdir()) == [image]


def test_lossless_files_are_verified_by_default(tmp_path):
    image = write_image(tmp_path / "sky.fits", np.int16)
    options = ("--no-tokens", "--json", "--overwrite")
    for flags, checked in ((), True), (("--no-verify",), False), (("--max-error", 2), False):
        (result,) = json.loads(run(image, *options, *flags).stdout)
        assert (result["verify_seconds"] is not None) == checked
    (result,) = json.loads(run(image, *options, "--max-error", 2, "--verify").stdout)
    assert result["verify_seconds"] > 0


def test_an_input_is_deleted_only_when_it_was_verified(tmp_path):
    image = write_image(tmp_path / "sky.fits", np.int16)
    for flag in ("--no-verify", "--tokens"):
        done = run(image, "--delete-input", flag)
        assert done.exit_code == 2
        assert f"--delete-input and {flag} exclude each other" in done.stderr
    manifest = ("--manifest", tmp_path / "run.jsonl")
    done = run(image, "--delete-input", "--no-tokens", *manifest)
    assert done.exit_code == 0, done.stderr
    assert not image.exists()
    again = run(image, "--delete-input", "--no-tokens", *manifest, "--resume")
    assert again.exit_code == 0, again.stderr
    assert "1 of 1 files were done already" in again.stderr
