"""Downloads from a server that is slow, cuts off, is busy, has nothing, or sends another file."""

import hashlib

import numpy as np
import pytest
from astro_vq.data_recipes import download as fetching
from astro_vq.data_recipes.download import Policy, at_mirror, download, hash_file, refuse_downgrade
from bad_server import misbehaving

from astro_vq.errors import ConfigError, DownloadError

BODY = np.random.default_rng(0).bytes(200_000)
SUM = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
URL = "https://data.example/a/file.bin?x=1"
QUICK = Policy(attempts=4, timeout_s=5.0)


@pytest.fixture
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(fetching, "sleep", waited.append)
    return waited


@pytest.fixture
def server():
    with misbehaving(lambda path: BODY if path == "/a/file.bin?x=1" else None) as running:
        yield running


def fetch(server, path, **options):
    return download(URL, path, mirror=server.url, **{"policy": QUICK, **options})


def test_a_file_comes_whole_and_is_not_fetched_twice(server, tmp_path, waits):
    path = tmp_path / "new" / "file.bin"
    assert fetch(server, path, checksum=SUM) == SUM.removeprefix("sha256:")
    assert path.read_bytes() == BODY
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    assert fetch(server, path, checksum=f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert len(server.asked) == 1
    assert waits == []


def test_what_is_cut_off_is_resumed_by_a_range(server, tmp_path, waits):
    server.faults = [("cut", 70_000), ("cut", 60_000)]
    fetch(server, tmp_path / "f", checksum=SUM)
    assert (tmp_path / "f").read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == ["", "bytes=70000-", "bytes=130000-"]
    assert waits == [1.0, 2.0]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path, waits):
    server.faults = [("cut", 10_000)]
    with pytest.raises(DownloadError, match=r"f: could not fetch http.*10000 bytes are kept"):
        fetch(server, tmp_path / "f", policy=Policy(attempts=1))
    assert not (tmp_path / "f").exists()
    fetch(server, tmp_path / "f", checksum=SUM)
    assert server.asked[-1][1] == "bytes=10000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path, waits):
    server.faults = [("cut", 10_000)]
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "f", policy=Policy(attempts=1))
    server.tag = '"two"'
    server.answer = lambda path: b"another file"
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"another file"


def test_a_server_without_ranges_sends_all_again(tmp_path, waits):
    with misbehaving(lambda path: BODY, ranges=False) as server:
        server.faults = [("cut", 70_000)]
        fetch(server, tmp_path / "f", checksum=SUM)
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_part_that_is_longer_than_the_file_is_dropped(server, tmp_path, waits):
    (tmp_path / "f.part").write_bytes(b"x" * 300_000)
    (tmp_path / "f.part.etag").write_text(server.tag)
    server.faults = [("status", 416)]
    fetch(server, tmp_path / "f", checksum=SUM)
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_wrong_checksum_is_tried_again_and_then_refused(server, tmp_path, waits):
    wrong = f"sha256:{'0' * 64}"
    with pytest.raises(DownloadError, match=f"checksum is {SUM}, it should be {wrong}; 0 bytes"):
        fetch(server, tmp_path / "f", checksum=wrong)
    assert len(server.asked) == QUICK.attempts
    assert not list(tmp_path.glob("f"))
    assert not list(tmp_path.glob("*.part"))


def test_a_missing_file_is_told_at_once(server, tmp_path, waits):
    with pytest.raises(
        DownloadError, match=r"x: http\S+/b: the server answered 404.*--mirror"
    ) as e:
        download("https://data.example/b", tmp_path / "x", mirror=server.url, policy=QUICK)
    assert e.value.is_missing
    assert len(server.asked) == 1
    server.faults = [("status", 403)]
    with pytest.raises(DownloadError, match=r"403.*account") as e:
        fetch(server, tmp_path / "x")
    assert not e.value.is_missing


def test_a_busy_server_is_asked_again_when_it_says(server, tmp_path, waits):
    server.faults = [("status", 429, {"Retry-After": "7"}), ("status", 503)]
    fetch(server, tmp_path / "f", checksum=SUM)
    assert waits == [7.0, 2.0]


def test_a_server_that_asks_for_hours_ends_the_download(server, tmp_path, waits):
    server.faults = [("status", 429, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})]
    with pytest.raises(DownloadError, match=r"1 attempts: .* 429 .*asks to wait \d+ s"):
        fetch(server, tmp_path / "f")
    assert waits == []


def test_waits_are_bounded(server, tmp_path, waits):
    server.faults = [("status", 500)] * 9
    with pytest.raises(DownloadError, match="in 6 attempts: the server answered 500"):
        fetch(server, tmp_path / "f", policy=Policy(longest_wait_s=3.0))
    assert waits == [1, 2, 3, 3, 3]


def test_a_trickle_and_a_silent_server_are_broken_off(server, tmp_path, waits):
    server.faults = [("slow", 0.03)]
    stalling = Policy(attempts=1, stall_s=0.1)
    with pytest.raises(DownloadError, match=r"only \d+ bytes in 0.1 s"):
        fetch(server, tmp_path / "f", policy=stalling)
    server.faults = [("slow", 0.5)]
    with pytest.raises(DownloadError, match=r"connection failed .*timed out"):
        fetch(server, tmp_path / "g", policy=Policy(attempts=1, timeout_s=0.1))


def test_no_server_is_an_error_that_names_the_file(tmp_path, waits):
    with pytest.raises(DownloadError, match=r"f: could not fetch http://127\.0\.0\.1:9/x"):
        download("https://h/x", tmp_path / "f", mirror="http://127.0.0.1:9", policy=QUICK)


def test_an_answer_that_is_not_what_it_should_be_gets_no_name(server, tmp_path, waits):
    with pytest.raises(DownloadError, match="answered, but it is wrong") as caught:
        fetch(server, tmp_path / "f", check=lambda path: "it is wrong")
    assert caught.value.is_missing
    assert not (tmp_path / "f").exists()


def test_only_https_is_asked():
    for url in ("http://h/x", "file:///etc/passwd", "ftp://h/x"):
        with pytest.raises(ConfigError, match="https"):
            at_mirror(url, "")
    with pytest.raises(ConfigError, match="https"):
        at_mirror("https://h/x", "file:///tmp")
    assert at_mirror("https://h/x?y=1", "http://m/base/") == "http://m/base/x?y=1"


def test_an_answer_over_plain_http_is_refused():
    with pytest.raises(DownloadError, match="https://h/x leads to http://h/y"):
        refuse_downgrade("https://h/x", "http://h/y")
    refuse_downgrade("https://h/x", "https://other/y")
    refuse_downgrade("http://mirror/x", "http://mirror/y")


def test_hashes_name_their_kind(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    assert hash_file(tmp_path / "f").startswith("sha256:e3b0c442")
    assert hash_file(tmp_path / "f", "md5:") == "md5:d41d8cd98f00b204e9800998ecf8427e"
