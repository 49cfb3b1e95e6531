"""Arrays as bytes: bits, bounds, layouts, damage, and bytes that decode for ever."""

import base64
import contextlib
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from astro_vq.codec.array_bytes import decode_array, encode_array
from astro_vq.codec.pixels import DTYPES
from astro_vq.errors import FormatError

GOLDEN = Path(__file__).parents[1] / "golden" / "arrays.json"


def numbers(count: int, seed: int) -> np.ndarray:
    """Return bytes that are the same for ever."""
    state, out = seed, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        out.append(state >> 16 & 63)
    return np.array(out)


def golden_arrays() -> dict[str, tuple[np.ndarray, dict]]:
    plane = (numbers(40 * 50, 3) + np.arange(2000) // 50).reshape(40, 50)
    floats = (plane * 0.37).astype("<f4")
    floats[3, 4:9] = np.nan
    return {
        "integers": (plane.astype("<i2"), {}),
        "cube": (numbers(3 * 20 * 17, 5).reshape(3, 20, 17).astype(">u2"), {"tile_size": 16}),
        "fortran": (np.asfortranarray(plane.astype("<i4")), {}),
        "bounded": (floats, {"max_error": 0.25}),
        "lossless": (floats.astype(">f8"), {}),
        "line": (numbers(300, 9).astype("|u1"), {}),
        "number": (np.array(2.5, "<f4"), {}),
    }


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes("A")).hexdigest()


def write_golden() -> None:
    """Make the file anew: only ever together with a new version of the format."""
    rows = {}
    for name, (array, choices) in golden_arrays().items():
        data = encode_array(array, **choices)
        rows[name] = {
            "data": base64.b64encode(data).decode(),
            "sha256": digest(decode_array(data)),
        }
    GOLDEN.write_text(json.dumps(rows, indent=0) + "\n")


@pytest.mark.parametrize("name", golden_arrays())
def test_golden_bytes_decode_to_the_same_bits(name):
    row = json.loads(GOLDEN.read_text())[name]
    array, choices = golden_arrays()[name]
    decoded = decode_array(base64.b64decode(row["data"]))
    assert digest(decoded) == row["sha256"]
    assert decoded.shape == array.shape
    assert decoded.dtype.str == array.dtype.str
    assert decoded.flags.f_contiguous == array.flags.f_contiguous
    finite = np.isfinite(array)
    error = np.abs(decoded[finite].astype("f8") - array[finite].astype("f8"))
    assert error.max() <= choices.get("max_error", 0)
    assert np.array_equal(np.isnan(decoded), np.isnan(array))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_bit_by_bit(dtype):
    array = np.frombuffer(numbers(20 * 24 * 8, 1).astype("u1").tobytes(), dtype)[: 20 * 24]
    array = array.reshape(20, 24)
    decoded = decode_array(encode_array(array, effort=1, tile_size=16))
    assert decoded.tobytes() == array.tobytes()
    assert decoded.dtype == array.dtype


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 5), (5, 0), (2, 0, 3), (1, 1, 1, 1)])
def test_odd_shapes_come_back(shape):
    array = np.full(shape, 7, "i4")
    assert np.array_equal(decode_array(encode_array(array)), array)
    assert decode_array(encode_array(array)).shape == shape


def test_a_view_is_encoded_as_it_is_seen():
    array = numbers(40 * 60, 2).reshape(40, 60).astype("i2")
    for view in (array[::2, ::-3], array.T, array[:, 5:9]):
        assert np.array_equal(decode_array(encode_array(view, effort=1)), view)


@pytest.mark.parametrize("dtype", ["bool", "c8", "f2", "U3", "M8[s]"])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="convert it first"):
        encode_array(np.zeros((4, 4), dtype))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"max_error": -1}, "max_error must be finite and not negative, got -1"),
        ({"max_error": float("nan")}, "max_error"),
        ({"effort": 0}, "effort must be 1 to 9, got 0"),
        ({"tile_size": 20}, "tile_size must be a multiple of 8"),
    ],
)
def test_impossible_options_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        encode_array(np.zeros((4, 4)), **choices)


def test_damaged_bytes_are_refused():
    good = encode_array(golden_arrays()["integers"][0], effort=1)
    for length in range(0, len(good), 7):
        with pytest.raises(FormatError):
            decode_array(good[:length])
    for place in range(0, len(good), 11):
        with pytest.raises(FormatError):
            decode_array(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])


def test_a_head_that_lies_is_refused_before_memory_is_asked_for():
    good = encode_array(golden_arrays()["integers"][0], effort=1)
    body = bytearray(good[:-4])
    for place in range(4, 40):
        for value in (0, 1, 127, 255):
            lying = bytes(body[:place] + bytes([value]) + body[place + 1 :])
            data = lying + zlib.crc32(lying).to_bytes(4, "big")
            with contextlib.suppress(FormatError):
                assert decode_array(data).size < 2**25


def test_shape_and_type_are_checked_where_they_are_known():
    data = encode_array(np.zeros((3, 4), ">i2"))
    assert decode_array(data, expected=((3, 4), np.dtype("i2"))).shape == (3, 4)
    for due in (((4, 3), np.dtype("i2")), ((3, 4), np.dtype("u2"))):
        with pytest.raises(FormatError, match="are due"):
            decode_array(data, expected=due)


@pytest.mark.parametrize("text", [b",f4", b"(99999999,)f8", b"f4,i2", b"O", b"<f2", b"f4\0"])
def test_a_type_that_numpy_would_evaluate_is_refused(text):
    body = encode_array(np.zeros((2, 2), "<f4"))[:-4].replace(b"\x03<f4", bytes([len(text)]) + text)
    with pytest.raises(FormatError, match="the head of the array is damaged: type"):
        decode_array(body + zlib.crc32(body).to_bytes(4, "big"))
