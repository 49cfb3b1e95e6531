"""The codec of numcodecs: found by its name, JSON settings, arrays there and back."""

import json

import numpy as np
import pytest

from astro_vq.errors import FormatError

numcodecs = pytest.importorskip("numcodecs")

from astro_vq.ecosystem.numcodec import AstroVQ  # noqa: E402 - needs numcodecs

CODECS = [
    AstroVQ(),
    AstroVQ(0.5),
    AstroVQ(max_error=1e-3, effort=8, tile_size=64),
]
IMAGE = np.random.default_rng(0).normal(100, 5, (90, 70)).astype("f4")


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_a_codec_is_what_its_text_and_its_settings_say(codec):
    assert eval(repr(codec)) == codec
    config = json.loads(json.dumps(codec.get_config()))
    assert config["id"] == "astro_vq"
    assert numcodecs.get_codec(config) == codec
    assert sum(codec == other for other in CODECS) == 1


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_an_image_is_within_its_bound(codec):
    decoded = codec.decode(codec.encode(IMAGE))
    assert decoded.dtype == IMAGE.dtype
    assert np.abs(decoded.astype("f8") - IMAGE).max() <= codec.max_error
    out = np.empty_like(IMAGE)
    assert codec.decode(memoryview(codec.encode(IMAGE)), out=out) is out
    assert np.array_equal(out, decoded)


def test_settings_and_bytes_that_are_wrong_are_refused():
    with pytest.raises(ValueError, match="effort"):
        AstroVQ(effort=10)
    with pytest.raises(FormatError, match="AVQA"):
        AstroVQ().decode(b"nothing of ours")


def test_zarr_version_2_takes_it(tmp_path):
    zarr = pytest.importorskip("zarr")
    for order in "CF":
        array = zarr.create_array(
            tmp_path / f"{order}.zarr", shape=IMAGE.shape, chunks=(40, 40), dtype=">f4",
            zarr_format=2, compressors=AstroVQ(0.25, effort=1), order=order,
        )  # fmt: skip
        array[:] = IMAGE
        again = zarr.open_array(tmp_path / f"{order}.zarr", mode="r")
        assert np.abs(again[:] - IMAGE).max() <= 0.25
