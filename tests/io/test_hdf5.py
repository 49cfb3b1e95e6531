import os
import pickle

import h5py
import numpy as np
import pytest

from astro_vq.errors import DataError, FormatError
from astro_vq.io.hdf5 import open_hdf5

RNG = np.random.default_rng(2)
STACK = RNG.normal(size=(5, 7, 6)).astype("float32")
BANDS = RNG.integers(0, 60_000, (4, 3, 5, 5)).astype("uint16")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cutouts.h5"
    with h5py.File(path, "w") as file:
        science = file.create_dataset("survey/science", data=STACK.astype(">f4"))
        science.attrs["units"] = "DN "
        science.attrs["zeropoint"] = 25.5
        science.attrs["bands"] = ["g", "r"]
        science.attrs["raw"] = np.bytes_(b"bytes")
        file.create_dataset("survey/bands", data=BANDS, chunks=(1, 3, 5, 5), compression="gzip")
        file.create_dataset("survey/id", data=np.array([b"a", b"b"]))
        file.create_dataset("survey/flux", data=np.zeros((5, 3)))
        file.create_dataset("empty", data=np.zeros((0, 4, 4)))
        file.create_dataset("names", data=np.full((2, 2, 2), b"x"))
        file.create_group("nothing")
    return path


def test_a_data_set_is_named_behind_colons(path):
    (stack,) = open_hdf5(f"{path}::survey/science")
    assert stack.path == str(path)
    assert stack.dataset == "survey/science"
    assert stack.shape == (5, 1, 7, 6)
    assert len(stack) == 5
    assert stack.dtype == np.dtype("float32")
    assert stack.dtype.isnative
    assert stack.unit == "DN"
    assert stack.attributes["zeropoint"] == 25.5
    assert stack.attributes["bands"] == ["g", "r"]
    assert stack.attributes["raw"] == "bytes"
    for i in range(5):
        np.testing.assert_array_equal(stack.read(i), STACK[i : i + 1])
        assert stack.read(i).dtype == stack.dtype


def test_a_stack_of_bands_has_channels_and_no_unit(path):
    (stack,) = open_hdf5(f"{path}::/survey/bands/")
    assert stack.shape == (4, 3, 5, 5)
    assert stack.unit == ""
    np.testing.assert_array_equal(stack.read(3), BANDS[3])


@pytest.mark.parametrize("name", ["", "::survey", "::/", "::survey/"])
def test_a_file_or_group_gives_all_that_can_be_cutouts(path, name):
    stacks = open_hdf5(f"{path}{name}")
    assert [stack.dataset for stack in stacks] == ["survey/bands", "survey/science"]


def test_stacks_survive_pickling_closing_and_forking(path):
    (stack,) = open_hdf5(f"{path}::survey/science")
    stack.read(0)
    copy = pickle.loads(pickle.dumps(stack))
    assert "_handle" not in copy.__dict__
    assert copy == stack
    np.testing.assert_array_equal(copy.read(1), STACK[1:2])
    copy.close()
    copy.close()
    np.testing.assert_array_equal(copy.read(2), STACK[2:3])
    handle = stack.__dict__["_handle"]
    stack.__dict__["_handle"] = (os.getpid() + 1, handle[1])  # as in a forked child
    np.testing.assert_array_equal(stack.read(3), STACK[3:4])
    assert stack.__dict__["_handle"][0] == os.getpid()


def test_cutouts_that_are_not_there_are_refused(path):
    (stack,) = open_hdf5(f"{path}::survey/science")
    for i in (-1, 5):
        with pytest.raises(IndexError, match=rf"survey/science: cutout {i} asked, it has 5"):
            stack.read(i)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("survey/flux", r"is of shape \(5, 3\) and type float64; cutouts are numbers"),
        ("survey/id", r"of shape \(2,\)"),
        ("names", r"type \|S1"),
        ("empty", r"\(0, 4, 4\)"),
        ("survey/none", "no data set or group 'survey/none'; it has .*survey/bands"),
        ("nothing", "::nothing holds no cutouts, .* it has no data sets"),
    ],
)
def test_what_cannot_be_cutouts_is_refused_and_what_there_is_is_named(path, name, message):
    with pytest.raises(DataError, match=message):
        open_hdf5(f"{path}::{name}")


def test_a_long_list_of_what_there_is_is_cut(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for i in range(15):
            file[f"table{i:02d}"] = np.zeros(3)
    with pytest.raises(DataError, match=r"table09 \(3,\) float64 and 5 more"):
        open_hdf5(tmp_path / "many.h5")


def test_files_that_are_not_there_not_hdf5_or_damaged_are_refused(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r"none.h5: no such HDF5 file"):
        open_hdf5(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_bytes(b"SIMPLE  =")
    with pytest.raises(FormatError, match=r"text.h5 is not an HDF5 file"):
        open_hdf5(tmp_path / "text.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match=r"cut.h5: damaged HDF5 file .*fetch it again"):
        open_hdf5(tmp_path / "cut.h5")


def test_damaged_chunks_are_refused_by_name(path):
    with h5py.File(path) as file:
        place = file["survey/bands"].id.get_chunk_info(2)
    data = bytearray(path.read_bytes())
    data[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(data)
    (stack,) = open_hdf5(f"{path}::survey/bands")
    np.testing.assert_array_equal(stack.read(0), BANDS[0])
    with pytest.raises(FormatError, match=r"survey/bands: cutout 2 cannot be read"):
        stack.read(2)


def test_a_cutout_of_more_pixels_than_memory_is_refused(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("a", (4, 2**20, 2**20), "f4", chunks=(1, 64, 64))
    with pytest.raises(DataError, match="a cutout has up to 268435456 pixels"):
        open_hdf5(tmp_path / "huge.h5")


def test_damage_that_shows_while_a_file_is_looked_through_is_refused(tmp_path, path):
    data = bytearray(path.read_bytes())
    place = data.index(b"SNOD")
    data[place : place + 4] = b"none"
    (tmp_path / "snod.h5").write_bytes(data)
    with pytest.raises(FormatError, match=r"snod.h5: damaged HDF5 file"):
        open_hdf5(tmp_path / "snod.h5")
