import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.io.cards import split_cards, string_value
from astro_vq.io.checksum import (
    ALL_ONES,
    ZERO_CHECKSUM,
    RunningSum,
    decode_checksum,
    encode_checksum,
    fold,
    sum_bytes,
)


@pytest.fixture
def written():
    """Bytes of an HDU with checksums, as astropy writes it, and its header."""
    image = np.random.default_rng(3).normal(100, 5, (37, 41)).astype("float32")
    hdu = fits.PrimaryHDU(image)
    file = io.BytesIO()
    hdu.writeto(file, checksum=True)
    file.seek(0)
    return file.getvalue(), fits.getheader(file)


def test_the_sum_of_data_is_the_datasum_of_astropy(written):
    data, header = written
    assert sum_bytes(data[2880:]) == int(header["DATASUM"])


def test_the_sum_of_an_hdu_with_checksum_is_all_ones(written):
    assert sum_bytes(written[0]) == ALL_ONES


def test_the_encoded_checksum_is_that_of_astropy(written):
    data, header = written
    without = data.replace(header["CHECKSUM"].encode(), ZERO_CHECKSUM.encode())
    total = sum_bytes(without)
    assert encode_checksum(total) == header["CHECKSUM"]
    assert decode_checksum(header["CHECKSUM"]) == total


def test_a_header_can_be_summed_apart_from_its_data(written):
    data, header = written
    assert sum_bytes(data[:2880], start=int(header["DATASUM"])) == ALL_ONES
    text = next(string_value(c) for c in split_cards(data) if c.startswith(b"CHECKSUM"))
    assert text == header["CHECKSUM"]


@given(st.lists(st.binary(max_size=23), max_size=12))
def test_pieces_of_any_length_sum_like_the_whole(pieces):
    running = RunningSum()
    for piece in pieces:
        running.add(piece)
    whole = b"".join(pieces)
    words = whole.ljust(-(-len(whole) // 4) * 4, b"\0")
    expected = 0
    for i in range(0, len(words), 4):
        expected += int.from_bytes(words[i : i + 4], "big")
        expected = (expected & ALL_ONES) + (expected >> 32)
    assert running.value == expected


def test_views_of_arrays_can_be_summed():
    array = np.arange(1000, dtype=">i2")
    assert sum_bytes(memoryview(array)) == sum_bytes(array.tobytes())


@given(st.integers(1, ALL_ONES))
def test_checksums_decode_to_the_sum_and_hold_no_punctuation(total):
    text = encode_checksum(total)
    assert len(text) == 16
    assert text.isalnum()
    assert decode_checksum(text) == total


def test_an_encoded_checksum_completes_the_sum_to_all_ones():
    rng = np.random.default_rng(0)
    for _ in range(50):
        header = bytearray(rng.integers(32, 127, 2880, dtype=np.uint8).tobytes())
        place = slice(4 * int(rng.integers(700)) + 3, None)  # column 12 of a card: 3 mod 4
        place = slice(place.start, place.start + 16)
        header[place] = ZERO_CHECKSUM.encode()
        header[place] = encode_checksum(sum_bytes(bytes(header))).encode()
        assert sum_bytes(bytes(header)) == ALL_ONES


def test_zero_and_all_ones_are_the_same_sum():
    assert decode_checksum(encode_checksum(0)) in (0, ALL_ONES)
    assert fold(ALL_ONES + 1) == 1


def test_text_that_is_no_checksum_is_refused():
    for text in ("short", "0" * 15 + "é", " " * 16):
        with pytest.raises(ValueError, match="16 letters or digits"):
            decode_checksum(text)
