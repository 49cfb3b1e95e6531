import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.codec.tokens import TokenTable, decode_tokens, encode_tokens
from astro_vq.errors import FormatError


def no_table(depth: int, codes: int) -> TokenTable:
    return TokenTable(np.zeros((depth, codes), np.int64))


@st.composite
def token_maps(draw):
    codes = draw(st.sampled_from([1, 2, 3, 16, 200, 256, 257, 65536]))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(0, 12), st.integers(0, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    used = draw(st.integers(1, codes))
    return rng.integers(0, used, shape), codes


def count(indices, codes):
    return np.array([np.bincount(plane.ravel(), minlength=codes) for plane in indices])


@given(token_maps())
def test_tokens_come_back(case):
    indices, codes = case
    for table in (no_table(len(indices), codes), TokenTable.fit(count(indices, codes))):
        stream = encode_tokens(indices, table)
        assert np.array_equal(decode_tokens(stream, indices.shape, table), indices)


@given(token_maps())
def test_tables_come_back(case):
    indices, codes = case
    table = TokenTable.fit(count(indices, codes))
    again = TokenTable.from_bytes(table.to_bytes(), table.depth, table.codes)
    assert np.array_equal(again.frequencies, table.frequencies)


def test_fixed_width_is_what_it_says():
    indices = np.array([[[1, 2], [3, 0], [2, 2]]])
    assert encode_tokens(indices, no_table(1, 4)) == bytes([0, 0b01_10_11_00, 0b10_10_0000])


def test_the_smaller_stream_wins():
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, (1, 64, 64))
    skewed = np.minimum(rng.geometric(0.3, (1, 64, 64)) - 1, 255)
    stream = encode_tokens(uniform, TokenTable.fit(count(skewed, 256) + 1))
    assert stream[0] == 0
    assert len(stream) == 4097
    stream = encode_tokens(skewed, TokenTable.fit(count(skewed, 256)))
    assert stream[0] == 1
    assert len(stream) < 4096 * 3 / 8


def test_an_index_beyond_the_codes_is_refused():
    with pytest.raises(ValueError, match="an index is 4, but there are 4 codes"):
        encode_tokens(np.array([[[4]]]), no_table(1, 4))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "ends too early"),
        (b"\7abc", "unknown coder 7"),
        (b"\0" + bytes(5), "6 tokens of 2 bits"),
        (b"\0\xff", "6 tokens of 2 bits"),
        (b"\0\xff\xff", "index 3 of 3 codes"),
        (b"\1", "ends too early"),
        (b"\1\4abcdx", "."),
    ],
)
def test_damaged_streams_are_errors(stream, message):
    table = TokenTable.fit(np.array([[3, 2, 1]]))
    with pytest.raises(FormatError, match=message):
        decode_tokens(stream, (1, 2, 3), table)


@pytest.mark.parametrize("data", [b"", b"\5", b"\0\0", b"\0\7", b"\5" * 5, b"\xff" * 20])
def test_damaged_tables_are_errors(data):
    with pytest.raises(FormatError):
        TokenTable.from_bytes(data, 1, 4)
