"""Recipes given something else than they expect name the file and leave nothing half done."""

import gzip
import io
import pickle
import sys
import zipfile

import h5py
import numpy as np
import pytest
from astro_vq.data_recipes import cutouts
from astro_vq.data_recipes import download as fetching
from astro_vq.data_recipes.base import BuildOptions, build_recipe, load_recipe
from astro_vq.data_recipes.cutouts import unpack_fits
from astro_vq.data_recipes.mirabest import images_of_pickle
from bad_server import misbehaving
from fake_archives import fits_bytes, image, packed_tar

from astro_vq.errors import ConfigError, DataError, DownloadError

IMAGE = fits_bytes(image("x"))


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (IMAGE, ""),
        (gzip.compress(IMAGE), ""),
        (zipped(small_fits=b"x", large_fits=IMAGE), ""),
        (b"", "with nothing"),
        (b"\x89PNG", "with no FITS file but"),
        (zipped(a_txt=b"no data"), "no FITS file in it"),
        (zipped(a_fits=IMAGE)[:200], "zip file is damaged"),
        (gzip.compress(IMAGE)[:-30], "gzip file is damaged"),
        (gzip.compress(b"text"), "what it holds is no FITS file"),
        (gzip.compress(bytes(70_000)), "more than 60000 bytes"),
        (zipped(a_fits=bytes(70_000)), "more than 60000 bytes"),
    ],
)
def test_only_fits_passes_and_compressed_files_are_bounded(tmp_path, monkeypatch, content, problem):
    monkeypatch.setattr(cutouts, "_LARGEST", 60_000)
    path = tmp_path / "f"
    path.write_bytes(content)
    found = unpack_fits(path)
    assert found == problem if not problem else problem in found
    if not problem:
        assert path.read_bytes() == IMAGE


def build(name, content, folder, **options):
    with misbehaving(lambda path: content) as server:
        return build_recipe(name, folder, BuildOptions(mirror=server.url, **options))


@pytest.fixture(autouse=True)
def unsigned(monkeypatch):
    monkeypatch.setattr(fetching, "sleep", lambda seconds: None)
    for name in ("galaxy10", "mirabest"):
        monkeypatch.setitem(load_recipe(name).facts, "checksum", "")


def hdf5_of(**columns):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("galaxy10", b"text", r"Galaxy10_DECals\.h5 is not as https"),
        ("galaxy10", hdf5_of(images=np.zeros((3, 8, 8))), r"is not as https.*ra"),
        ("mirabest", b"text", "is a damaged archive"),
        ("mirabest", packed_tar({"batches/data_batch_1": b"\xff\xff"}), "a batch is no pickle"),
        ("mirabest", packed_tar({"other": b""}), "it has no images"),
        ("ztf-alerts", packed_tar({"1.avro": b"no packet"}), "is a damaged archive"),
        ("ztf-alerts", packed_tar({"1.txt": b""}), "the recipe gave no image"),
    ],
)
def test_an_archive_that_is_something_else_is_told_by_name(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        build(name, content, tmp_path)
    assert not list(tmp_path.glob("*/images.h5"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'[{"type": "file"}]', b"[3]"])
def test_a_list_of_files_that_is_none_is_told_and_asked_for_again(tmp_path, content):
    with pytest.raises(DownloadError, match=r"GBI-16-2D/tree/\S+ (gave no list|lists no file)"):
        build("keck", content, tmp_path)
    assert not (tmp_path / "downloads" / "files.json").exists()


def test_a_pickle_is_read_and_never_carried_out(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    pixels = np.arange(2 * 150 * 150, dtype=np.uint32).astype(np.uint8)
    stream = pickle.dumps({"data": pixels.reshape(2, -1), "trap": Trap()}, protocol=4)
    np.testing.assert_array_equal(images_of_pickle(stream).ravel(), pixels)
    assert not (tmp_path / "trapped").exists()


def test_alerts_without_fastavro_and_unknown_stamps_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="science, template, difference, not flux"):
        build("ztf-alerts", b"", tmp_path, bands=("flux",))
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigError, match=r"pip install 'astro-vq\[recipes\]'"):
        build("ztf-alerts", b"", tmp_path)
