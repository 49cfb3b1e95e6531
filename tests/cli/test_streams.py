"""stdin, stdout and URLs: bytes stay bytes, results go to stderr, usage errors are clear."""

import io
import json

import numpy as np
import pytest
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner, Result
from range_server import serving

import astro_vq

PIXELS = np.random.default_rng(0).integers(0, 300, (60, 50)).astype(np.int16)


def run(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(main, arguments, input=given)


@pytest.fixture(scope="module")
def original() -> bytes:
    out = io.BytesIO()
    fits.PrimaryHDU(PIXELS).writeto(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def packed(original) -> bytes:
    out = io.BytesIO()
    astro_vq.compress(io.BytesIO(original), out, tokens=False, effort=1)
    return out.getvalue()


@pytest.fixture(scope="module")
def server(packed):
    pytest.importorskip("aiohttp")
    with serving({"a.fits.avq": packed}) as running:
        yield running


def test_decompress_goes_from_stdin_to_stdout(packed, original):
    done = run("decompress", "-", given=packed)
    assert (done.exit_code, done.stdout_bytes) == (0, original)
    head, row = done.stderr.splitlines()
    assert head.split() == ["file", "output", "size", "seconds"]
    assert row.split()[:2] == ["<stdin>", "-"]


def test_a_file_goes_to_stdout_and_stdin_to_a_file(packed, original, tmp_path):
    path = tmp_path / "a.fits.avq"
    path.write_bytes(packed)
    done = run("decompress", str(path), "-o", "-", "--json")
    assert done.stdout_bytes == original
    assert json.loads(done.stderr)[0]["output"] == "-"
    done = run("decompress", "-", "-o", str(tmp_path / "b.fits"), given=packed)
    assert (tmp_path / "b.fits").read_bytes() == original
    assert str(tmp_path / "b.fits") in done.stdout
    again = run("decompress", "-", "-o", str(tmp_path / "b.fits"), given=packed)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_compress_goes_from_stdin_to_stdout(original, tmp_path):
    done = run("compress", "-", "--no-tokens", "--effort", "1", given=original)
    assert done.exit_code == 0
    assert done.stderr.splitlines()[1].split()[:2] == ["<stdin>", "lossless"]
    assert run("decompress", "-", given=done.stdout_bytes).stdout_bytes == original
    path = tmp_path / "a.fits"
    path.write_bytes(original)
    again = run("compress", str(path), "-o", "-", "--no-tokens", "--effort", "1", "--json")
    assert json.loads(again.stderr)[0]["output_bytes"] == len(again.stdout_bytes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.fits"]


def test_what_fails_writes_nothing(packed):
    for given, said in [
        (packed[:4000], "cut off"),
        (b"", "not a FITS file"),
        (b"x" * 3000, "FITS"),
    ]:
        done = run("decompress", "-", given=given)
        assert (done.exit_code, done.stdout_bytes) == (1, b"")
        assert said in done.stderr
        assert "<stdin>" in done.stderr


def test_info_and_verify_read_stdin(packed):
    shown = run("info", "-", given=packed).stdout
    assert shown.startswith("file      <stdin>, ")
    assert "60 x 50" in shown
    done = run("verify", "-", given=packed)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].split()[:2] == ["<stdin>", "ok"]
    assert run("verify", "-", given=packed[:-3000]).exit_code == 1


def test_commands_take_urls(server, tmp_path, monkeypatch, original):
    monkeypatch.chdir(tmp_path)
    url = server.url("a.fits.avq")
    assert json.loads(run("info", url, "--json").stdout)["file"] == url
    assert run("verify", url).exit_code == 0
    assert run("decompress", url).exit_code == 0
    assert (tmp_path / "a.fits").read_bytes() == original
    assert run("decompress", url, "-O", "there").exit_code == 0
    assert (tmp_path / "there" / "a.fits").read_bytes() == original
    done = run("decompress", url, "--section", "3:9,5:20", "-o", "-")
    assert np.array_equal(fits.getdata(io.BytesIO(done.stdout_bytes)), PIXELS[3:9, 5:20])
    lost = run("info", server.url("lost.avq"))
    assert lost.exit_code == 1
    assert lost.stderr.endswith("lost.avq: there is no such file\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("decompress", "-", "a.avq"), "one input at a time"),
        (("decompress", "a.avq", "b.avq", "-o", "-"), "one input at a time"),
        (("decompress", "https://h/a.avq", "https://h/b.avq"), "one input at a time"),
        (("decompress", "-", "-O", "x"), "give -o, not -O"),
        (("decompress", "https://h/a.avq", "-O", "x", "-o", "y"), "not both"),
        (("decompress", "https://h/a", "--section", "0:1,0:1"), "give it with -o"),
        (("decompress", "-", "--manifest", "m.jsonl"), "need local files"),
        (("compress", "https://h/a.fits"), "curl -s https://h/a.fits"),
        (("compress", "-", "--delete-input"), "local files"),
        (("verify", "-", "--dask", "tcp://h:1"), "need local files"),
    ],
)
def test_what_cannot_be_is_wrong_usage(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
