import stat

import pytest

from astro_vq.io import atomic
from astro_vq.io.atomic import atomic_writer


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "out.bin"
    with atomic_writer(path) as file:
        file.write(b"abc")
        file.seek(1)
        file.write(b"X")
        assert not path.exists()
    assert path.read_bytes() == b"aXc"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_no_file(tmp_path, error):
    def write():
        with atomic_writer(tmp_path / "out.bin") as file:
            file.write(b"abc")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def write():
        with atomic_writer(path, overwrite=True) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_refused_and_the_message_names_the_option(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(FileExistsError, match=r"--overwrite.*overwrite=True"),
        atomic_writer(path),
    ):
        pass
    with atomic_writer(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_while_writing_is_not_replaced(tmp_path, monkeypatch, links):
    path = tmp_path / "out.bin"

    def refuse(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(atomic.Path, "hardlink_to", refuse)

    def write():
        with atomic_writer(path) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError, match="--overwrite"):
        write()
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_hard_links_is_served(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(atomic.Path, "hardlink_to", refuse)
    with atomic_writer(tmp_path / "out.bin") as file:
        file.write(b"abc")
    assert (tmp_path / "out.bin").read_bytes() == b"abc"


def test_a_missing_folder_and_a_folder_as_target_are_refused(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="nowhere does not exist"),
        atomic_writer(tmp_path / "nowhere" / "out.bin"),
    ):
        pass
    with (
        pytest.raises(FileExistsError, match="no regular file"),
        atomic_writer(tmp_path, overwrite=True),
    ):
        pass


def test_modes_are_those_of_any_new_file_or_of_the_replaced_one(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "out.bin"
    plain.write_bytes(b"")
    with atomic_writer(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    with atomic_writer(path, overwrite=True):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_writer(link, overwrite=True) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("n" * 250)
    with atomic_writer(path) as file:
        file.write(b"abc")
    assert path.read_bytes() == b"abc"
