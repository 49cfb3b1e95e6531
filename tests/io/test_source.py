import bz2
import gzip
import io

import pytest

from astro_vq.errors import FormatError
from astro_vq.io.source import open_source

CONTENT = bytes(range(256)) * 100


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.dat"])
def test_packed_files_are_told_by_content_whatever_their_name(tmp_path, pack, name):
    path = tmp_path / name
    path.write_bytes(pack(CONTENT))
    source = open_source(path)
    assert source.size == len(CONTENT)
    assert source.read(0, len(CONTENT)) == CONTENT
    assert source.read(300, 10) == CONTENT[300:310]
    assert source.name == str(path)
    source.close()


def test_file_objects_are_read_from_where_they_stand_and_left_open():
    file = io.BytesIO(b"skip" + gzip.compress(CONTENT))
    file.seek(4)
    source = open_source(file)
    assert source.read(0, 100_000) == CONTENT
    assert not file.closed


def test_a_gzip_file_object_is_read_as_its_content(tmp_path):
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(CONTENT)
    with gzip.open(tmp_path / "a.gz") as file:
        assert open_source(file).read(0, 100_000) == CONTENT


def test_reading_stops_at_the_end_and_a_view_beyond_it_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    source = open_source(tmp_path / "a")
    assert source.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
    assert source.read(len(CONTENT) + 5, 100) == b""
    with pytest.raises(FormatError, match="25600"):
        source.map(len(CONTENT) - 5, 6)


def test_a_closed_file_is_named(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    source = open_source(tmp_path / "a")
    source.close()
    source.close()
    assert source.closed
    with pytest.raises(ValueError, match=r"a: the file is closed"):
        source.read(0, 1)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_files_that_are_cut_off_or_damaged_are_refused(tmp_path, pack):
    packed = pack(CONTENT)
    path = tmp_path / "a.fits.gz"
    for size in (20, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:size])
        with pytest.raises(FormatError, match=r"a.fits.gz: the compressed file is damaged"):
            open_source(path)
    path.write_bytes(packed[:30] + b"\xaa" * (len(packed) - 30))
    with pytest.raises(FormatError, match=r"a.fits.gz: the compressed file is damaged"):
        open_source(path)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"PK\x03\x04rest", "zip archive; unpack it"),
        (b"\x1f\x9drest", "gunzip"),
        (b"\xfd7zXZ\0rest", "unxz"),
        (b"\x89HDF\r\n", "HDF5 file; give it as --hdf5"),
        (b"\x89PNG\r\n", "PNG"),
        (b"<!DOCTYPE html>", "was the download refused"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_foreign_files_are_named_with_a_remedy(tmp_path, content, remedy):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match=remedy):
        open_source(tmp_path / "a")


def test_a_file_that_is_not_there_is_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.fits")
