"""Files that names, folders, patterns and lists stand for."""

import io
from pathlib import Path

import pytest

from astro_vq.batch.inputs import FoundFile, find_files, is_compressed_name, read_list
from astro_vq.errors import DataError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def paths_of(*names, **options):
    return [file.path for file in find_files(names, **options)]


def test_folders_patterns_and_files_are_found_once(tmp_path):
    first = touch(tmp_path / "n1" / "a.fits")
    second = touch(tmp_path / "n2" / "b.fits.gz")
    touch(tmp_path / "n2" / "notes.txt")
    touch(tmp_path / "n2" / ".hidden.fits")
    touch(tmp_path / ".old" / "c.fits")
    assert paths_of(tmp_path) == [first, second]
    assert paths_of(tmp_path / "n*" / "*.fits") == [first]
    assert paths_of(first, tmp_path / "n1", first) == [first]
    assert paths_of(tmp_path / "missing.fits") == [tmp_path / "missing.fits"]


def test_a_file_of_a_folder_knows_where_below_it_lies(tmp_path):
    path = touch(tmp_path / "n1" / "deep" / "a.fits")
    assert find_files([tmp_path]) == [FoundFile(path, Path("n1/deep"))]
    assert find_files([path]) == [FoundFile(path, Path())]


def test_compressed_files_are_found_by_their_own_name(tmp_path):
    touch(tmp_path / "a.fits")
    packed = touch(tmp_path / "a.fits.avq")
    assert paths_of(tmp_path, accepts=is_compressed_name) == [packed]


def test_a_list_holds_names_folders_and_other_lists(tmp_path):
    first, second, odd = (touch(tmp_path / name) for name in ("n/a.fits", "b.fits", "@odd"))
    (tmp_path / "more").write_text(f"{second}\n")
    (tmp_path / "list").write_text(f"# night 1\n\n{tmp_path / 'n'}\r\n@{tmp_path / 'more'}\n")
    assert paths_of(f"@{tmp_path / 'list'}") == [first, second]
    assert paths_of(odd) == [odd]  # a file of that name comes first
    assert read_list(io.StringIO("a b.fits\n#c\n")) == ["a b.fits"]


def test_empty_folders_and_patterns_and_missing_lists_are_errors(tmp_path):
    with pytest.raises(DataError, match="no FITS image in this folder"):
        find_files([tmp_path])
    with pytest.raises(DataError, match="no file fits this pattern"):
        find_files([tmp_path / "*.fits"])
    with pytest.raises(FileNotFoundError):
        find_files([f"@{tmp_path / 'none'}"])
