"""Short forms of small streams, and bins that begin where the sky needs few."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.codec.brief import BRIEF, lengthen, short_step, shorten
from astro_vq.codec.bytestream import ByteReader, encode_varint, sized
from astro_vq.codec.mappings.mapping import LOOP, SCALE, Mapping
from astro_vq.codec.phases import best_phase
from astro_vq.codec.pixels import PixelSpec, decode_tiles, encode_tiles, fit_shared
from astro_vq.codec.shared import Shared
from astro_vq.errors import FormatError


@given(st.sampled_from([9, 10]), st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_the_short_form_of_a_stream_leaves_out_what_is_usual(coder, centre, code):
    stream = bytes([coder, 0, 0]) + encode_varint(centre) + sized(code)
    short = shorten(stream)
    assert short == bytes([coder + BRIEF]) + encode_varint(centre) + code
    assert lengthen(short) == stream


def test_other_streams_have_no_short_form():
    usual = encode_varint(3) + sized(b"code")
    for stream in (b"\x08\0\0" + usual, b"\x09\1\0" + usual, b"\x09\0\1" + usual):
        assert shorten(stream) == stream
    assert shorten(b"\x09\0\0" + usual + b"plain") == b"\x09\0\0" + usual + b"plain"
    assert lengthen(b"\x09\0\0" + usual) == b"\x09\0\0" + usual
    with pytest.raises(FormatError):
        lengthen(bytes([9 + BRIEF]))


@pytest.mark.parametrize(
    ("mapping", "size"),
    [
        (Mapping(SCALE, 0.25), 6),
        (Mapping(SCALE, 0.25, -0.125), 6),
        (Mapping(SCALE, 0.25, -0.125, floor=0), 7),
        (Mapping(SCALE, short_step(0.3), 5 * short_step(0.3) / 16), 6),
        (Mapping(SCALE, 0.3), 18),
        (Mapping(SCALE, 0.25, 0.1), 18),
        (Mapping(SCALE, 1e-60), 18),
        (Mapping(LOOP, 0.25, stride=15), 6),
        (Mapping(LOOP, 0.3, stride=15), 18),
    ],
)
def test_mappings_take_few_bytes_where_the_step_is_short(mapping, size):
    data = mapping.to_bytes()
    assert len(data) == size
    assert Mapping.read(ByteReader(data)) == mapping


def test_short_steps_are_not_larger():
    for step in (0.1, 0.3, 1 / 3, 7e20, 1e-30):
        short = short_step(step)
        assert step * (1 - 2**-23) < short <= step
        assert struct.unpack("<f", struct.pack("<f", short))[0] == short
    assert short_step(1e-60) == 1e-60
    assert short_step(1e60) == 1e60


def test_bins_begin_where_the_sky_falls_into_one():
    rng = np.random.default_rng(4)
    for centre, due in ((0.5, -8), (100.25, 4), (-3.75, 4), (0.0, 0)):
        phase = best_phase(rng.normal(centre, 0.1, 20000), 1.0)
        assert abs(phase - due) <= 2 or (due == -8 and phase >= 6)
    assert best_phase(rng.normal(0.5, 30, 20000), 1.0) == 0
    assert best_phase(np.zeros(0), 1.0) == 0
    assert best_phase(np.full(10, 1e300), 1e-300) == 0


def test_a_sky_between_two_bins_costs_no_bit_a_pixel():
    image = np.random.default_rng(5).normal(0.5, 0.1, (96, 96)).astype(np.float32)
    spec = PixelSpec("float32", 0.5)
    shared = fit_shared([image], spec)
    (stream,) = encode_tiles([image], spec, shared=shared)
    assert len(shared) + len(stream) < 40
    (found,) = decode_tiles([stream], [image.shape], spec, shared=shared)
    assert np.abs(found - image).max() <= 0.5


def test_what_is_fitted_is_left_out_of_small_images_where_it_does_not_pay():
    image = np.random.default_rng(6).normal(0, 0.1, (80, 80)).astype(np.float32)
    image[40, 40] = 9
    blob = fit_shared([image], PixelSpec("float32", 0.5))
    assert not Shared.from_bytes(blob).mixing
    assert len(blob) <= 12
