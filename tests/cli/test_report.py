"""astro-vq report: choices, pages, batches, exit status."""

import csv
import json

import numpy as np
import pytest
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner


def write_image(path, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(100, 8, (48, 56))
    pixels[20:23, 30:33] += 300
    hdu = fits.PrimaryHDU(pixels.astype(np.float32))
    hdu.header["INSTRUME"] = "CAM"
    hdu.writeto(path)
    return path


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch):
    """Leave figures undrawn: tests/report draws them."""
    monkeypatch.setattr("astro_vq.report.figures.style.to_data_uri", lambda figure, **_: "data:,")


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "sky.fits")


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments), "--no-tokens"])


def test_one_image_gives_a_page_json_csv_and_a_table(image, tmp_path):
    done = run(image, "-o", tmp_path / "r.html", "--lossless", "--max-error", "0.5sigma")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["image", "fidelity", "ratio"]
    assert len(lines) == 3
    document = json.loads((tmp_path / "r.json").read_text())
    trials = document["images"][0]["trials"]
    assert [trial["choice"] for trial in trials] == ["max error 0.5 sigma", "lossless"]
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ratio"]) for row in rows] == [trial["ratio"] for trial in trials]
    page = (tmp_path / "r.html").read_text()
    assert page.count("<h1") == 1
    assert "sky.fits" in page


def test_json_goes_to_stdout_alone(image, tmp_path):
    done = run(image, "-o", tmp_path / "r.html", "--lossless", "--json")
    assert done.exit_code == 0
    (record,) = json.loads(done.stdout)
    assert record["input"] == str(image)
    assert record["trials"][0]["identical"]


@pytest.mark.slow
def test_a_sweep_prints_its_recommendation(image, tmp_path):
    done = run(image, "-o", tmp_path / "r.html", "--sweep", "--limit", "bias=1", "--limit", "sky=1")
    assert done.exit_code == 0, done.output
    assert "sky.fits: --max-error" in done.stdout or "no bound tried" in done.stdout
    assert "Which bound is acceptable?" in (tmp_path / "r.html").read_text()


def test_a_batch_goes_on_after_a_bad_file_and_resumes(image, tmp_path):
    other = write_image(tmp_path / "other.fits", 1)
    (tmp_path / "bad.fits").write_bytes(b"nothing")
    folder = tmp_path / "pages"
    arguments = (image, tmp_path / "bad.fits", other, "--lossless", "-O", folder)
    done = run(*arguments)
    assert done.exit_code == 1
    assert "bad.fits is not a FITS file" in done.stderr
    assert "1 of 3 files failed" in done.stderr
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "report.json", "report.csv", "records", "sky.fits.html", "other.fits.html",
    }  # fmt: skip
    document = json.loads((folder / "report.json").read_text())
    assert len(document["images"]) == 2
    assert document["failures"][0]["input"].endswith("bad.fits")
    before = (folder / "sky.fits.html").stat().st_mtime_ns
    (tmp_path / "bad.fits").unlink()
    write_image(tmp_path / "bad.fits", 2)
    again = run(*arguments, "--resume")
    assert again.exit_code == 0, again.output
    assert (folder / "sky.fits.html").stat().st_mtime_ns == before
    assert len(json.loads((folder / "report.json").read_text())["images"]) == 3
    assert 'href="bad.fits.html"' in (folder / "index.html").read_text()


def test_devices_are_compared_byte_by_byte(image, tmp_path):
    done = run(image, "--lossless", "-o", tmp_path / "r.html", "--devices", "cpu,cpu", "--json")
    assert done.exit_code == 0, done.output
    first, other = json.loads(done.stdout)[0]["trials"][0]["devices"]
    assert first["device"] == other["device"] == "cpu"
    assert other["same_bytes"] is True
    assert other["same_pixels"] is True
    assert set(other["stages"]) == {"read", "model", "coding", "write"}
    assert other["stages"]["model"] is None
    assert other["stages"]["coding"] < other["compress_seconds"]
    assert "Devices" in (tmp_path / "r.html").read_text()


def test_a_device_that_is_not_here_is_refused_before_any_work(image, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    done = run(image, "--lossless", "-o", tmp_path / "r.html", "--devices", "cpu,cuda")
    assert done.exit_code == 1
    assert "device cuda is not to be had here; use --device auto or cpu" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_device_that_writes_other_bytes_fails(image, tmp_path, monkeypatch):
    digests = iter([b"1", b"2", b"3", b"2"])
    monkeypatch.setattr("astro_vq.report.trial._digest", lambda _: next(digests))
    done = run(image, "--lossless", "-o", tmp_path / "r.html", "--devices", "cpu,cpu")
    assert done.exit_code == 1
    assert "lossless: cpu wrote other bytes" in done.stderr


def test_two_images_share_one_page_when_asked(image, tmp_path):
    other = write_image(tmp_path / "other.fits", 1)
    done = run(image, other, "--lossless", "-o", tmp_path / "r.html")
    assert done.exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert 'href="#sky.fits"' in page
    assert 'id="sky.fits"' in page
    assert "Compression report of 2 images" in page


def test_a_failed_choice_is_an_error_but_the_page_is_written(image, tmp_path):
    arguments = ["report", str(image), "--tokens", "--lossless", "--no-tokens", "-m", "nowhere"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 1
    assert "nowhere" in done.stderr
    assert (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "-o PAGE.html"),
        (("-o", "r.txt"), "names a page"),
        (("-o", "r.html", "--resume"), "--resume needs"),
        (("-o", "r.html", "--limit", "flux=1"), "--limit goes with --sweep"),
        (("-o", "r.html", "--sweep", "--limit", "fluxx=1"), "is not a limit"),
        (("-o", "r.html", "--max-error", "-1"), "above 0"),
        (("-o", "r.html", "--threshold", "0"), "--threshold"),
        (("-o", "r.html", "--devices", "cpu,abacus"), "abacus"),
    ],
)
def test_wrong_usage_is_status_two(image, arguments, message):
    done = run(image, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_no_images_is_wrong_usage_and_an_empty_folder_an_error(tmp_path):
    assert CliRunner().invoke(main, ["report", "-o", "r.html"]).exit_code == 2
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", "-o", tmp_path / "r.html")
    assert done.exit_code == 1
    assert "no FITS image" in done.stderr


def test_reports_are_not_overwritten_unless_told(image, tmp_path):
    (tmp_path / "r.csv").write_text("mine")
    done = run(image, "-o", tmp_path / "r.html", "--lossless")
    assert done.exit_code == 1
    assert "--overwrite" in done.stderr
    assert not (tmp_path / "r.html").exists()
    assert (tmp_path / "r.csv").read_text() == "mine"
    done = run(image, "-o", tmp_path / "r.html", "--lossless", "--overwrite")
    assert done.exit_code == 0
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("mine")
    done = run(image, "-O", tmp_path / "pages", "--lossless")
    assert done.exit_code == 1
    assert "--resume" in done.stderr
