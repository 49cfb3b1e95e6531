import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.entropy.coder import decode_static, encode_static, quantize_counts
from astro_vq.errors import FormatError


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=300), st.integers(9, 20))
def test_quantised_counts_add_up_and_keep_every_symbol(counts, bits):
    table = quantize_counts(counts, bits)
    used = np.array(counts) > 0
    assert table.sum() == ((1 << bits) if used.any() else 0)
    assert np.array_equal(table > 0, used)
    share = np.array(counts, float) / max(sum(counts), 1)
    assert np.abs(table / (1 << bits) - share).max() <= (used.sum() + 1) / (1 << bits)


def test_quantised_counts_are_what_they_were():
    assert quantize_counts([5, 0, 1, 10**12], 8).tolist() == [1, 0, 1, 254]
    assert quantize_counts([1, 1, 1], 4).tolist() == [6, 5, 5]


@pytest.mark.parametrize(
    ("counts", "bits", "message"), [([1] * 300, 8, "fit"), ([-1, 2], 8, "negative")]
)
def test_impossible_counts_are_refused(counts, bits, message):
    with pytest.raises(ValueError, match=message):
        quantize_counts(counts, bits)


@given(st.lists(st.integers(0, 40), max_size=400))
def test_symbols_come_back(symbols):
    table = quantize_counts(np.bincount(symbols, minlength=41) if symbols else np.zeros(41))
    code = encode_static(symbols, table)
    assert decode_static(code, table, len(symbols)).tolist() == symbols


def test_the_code_is_as_long_as_the_entropy():
    rng = np.random.default_rng(0)
    probabilities = np.array([0.9, 0.05, 0.03, 0.02])
    symbols = rng.choice(4, 100_000, p=probabilities)
    counts = np.bincount(symbols)
    table = quantize_counts(counts)
    entropy = -np.sum(counts * np.log2(counts / counts.sum())) / 8
    assert len(encode_static(symbols, table)) == pytest.approx(entropy, rel=1e-3)


def test_frequencies_are_used_exactly():
    table = np.array([1, 2**24 - 3, 2])
    code = encode_static([0] * 1000, table)
    assert 8 * len(code) == pytest.approx(24_000, abs=64)
    code = encode_static([2] * 1000, table)
    assert 8 * len(code) == pytest.approx(23_000, abs=64)


def test_one_symbol_costs_nothing():
    table = quantize_counts([0, 0, 7])
    assert encode_static([2, 2, 2], table) == b""
    assert decode_static(b"", table, 3).tolist() == [2, 2, 2]


def test_known_bytes():
    table = quantize_counts([3, 1, 4, 1, 5])
    symbols = [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 2, 2, 4]
    assert encode_static(symbols, table).hex() == "e8fc960d00000000"


def test_a_symbol_without_a_frequency_is_refused():
    with pytest.raises(ValueError, match="no frequency"):
        encode_static([0, 1], [65536, 0])


@pytest.mark.parametrize("table", [[3, 4], [-1, 2], [2**24, 2**24]])
def test_impossible_tables_are_refused(table):
    with pytest.raises(ValueError, match="frequencies"):
        encode_static([0], table)


TABLE = quantize_counts([30, 1, 4, 1, 5])


@pytest.mark.parametrize("data", [b"abc", b"abcd" * 40, b"\xff" * 8])
def test_damaged_codes_are_an_error(data):
    with pytest.raises(FormatError, match="damaged token stream"):
        decode_static(data, TABLE, 12)


def test_an_empty_table_holds_no_symbols():
    with pytest.raises(FormatError, match="empty"):
        decode_static(b"", [0, 0], 3)
    with pytest.raises(FormatError, match="none are needed"):
        decode_static(b"abcd", [65536, 0], 3)
