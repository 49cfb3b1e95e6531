"""The codec of Zarr version 3: found by zarr itself, in metadata, alone and in shards."""

import json
import subprocess
import sys

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")

from astro_vq.ecosystem.zarr_v3 import AstroVQ  # noqa: E402 - needs zarr

CUBE = np.random.default_rng(0).normal(100, 5, (2, 60, 40)).astype("f4")
CUBE[1, 4, 5] = np.nan


def make(path, **choices):
    settings = {"shape": CUBE.shape, "chunks": (1, 32, 40), "dtype": "f4", "compressors": None}
    array = zarr.create_array(path, **settings | choices)
    array[:] = CUBE
    return array


def test_settings_are_json_and_come_back():
    codec = AstroVQ(max_error=0.5, effort=2, tile_size=64)
    data = json.loads(json.dumps(codec.to_dict()))
    assert AstroVQ.from_dict(data) == codec == eval(repr(codec))
    assert AstroVQ.from_dict({"name": "astro_vq"}) == AstroVQ()
    with pytest.raises(ValueError, match="'bytes'"):
        AstroVQ.from_dict({"name": "bytes"})
    with pytest.raises(ValueError, match="effort"):
        AstroVQ.from_dict({"name": "astro_vq", "configuration": {"effort": 0}})


def test_an_array_comes_back_in_a_fresh_process_that_only_knows_zarr(tmp_path):
    make(tmp_path / "a.zarr", serializer=AstroVQ(max_error=0.25, effort=1))
    meta = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert [codec["name"] for codec in meta["codecs"]] == ["astro_vq"]
    code = "import sys, numpy, zarr; numpy.save(sys.argv[2], zarr.open_array(sys.argv[1])[:])"
    paths = [str(tmp_path / "a.zarr"), str(tmp_path / "a.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    decoded = np.load(tmp_path / "a.npy")
    assert np.nanmax(np.abs(decoded - CUBE)) <= 0.25
    assert np.array_equal(np.isnan(decoded), np.isnan(CUBE))


def test_shards_and_other_codecs_around_it(tmp_path):
    array = make(tmp_path / "s.zarr", serializer=AstroVQ(effort=1), shards=(2, 64, 40))
    assert np.array_equal(zarr.open_array(tmp_path / "s.zarr")[:], CUBE, equal_nan=True)
    assert np.array_equal(array[1, 3:9, 30:40], CUBE[1, 3:9, 30:40], equal_nan=True)


def test_an_array_of_another_kind_is_refused(tmp_path):
    with pytest.raises(TypeError, match="bool"):
        zarr.create_array(
            tmp_path / "b.zarr", shape=(4, 4), dtype="bool", serializer=AstroVQ(), compressors=None
        )
