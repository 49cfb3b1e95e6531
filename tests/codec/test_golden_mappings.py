"""Streams of later mappings decode for ever, and the second reader reads them alike."""

import base64
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from astro_vq.codec.pixels import PixelSpec, decode_tiles

HERE = Path(__file__).resolve().parent
ROWS = json.loads((HERE.parent / "golden" / "mappings.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_golden_streams_of_mappings_decode(row):
    shared, stream, pixels = (base64.b64decode(row[key]) for key in ("shared", "stream", "pixels"))
    shape, spec = tuple(row["shape"]), PixelSpec(row["dtype"], row["bound"])
    (found,) = decode_tiles([stream], [shape], spec, shared=shared)
    assert found.tobytes() == pixels
    load = importlib.util.spec_from_file_location("independent", HERE / "independent_reader.py")
    reader = importlib.util.module_from_spec(load)
    load.loader.exec_module(reader)
    short = np.dtype(row["dtype"]).str[1:]
    assert reader.read_tile(stream, shape, short, reader.read_shared(shared)).tobytes() == pixels


def test_all_of_them_are_covered():
    kinds = {base64.b64decode(row["shared"])[2] for row in ROWS}
    assert {10, 11, 12, 13, 14, 15} <= kinds
    assert {base64.b64decode(row["stream"])[0] % 32 for row in ROWS} <= {4, 7, 9, 10}
