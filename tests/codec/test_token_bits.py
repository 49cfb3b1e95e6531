"""Bits per token, against closed forms."""

import numpy as np
import pytest

from astro_vq.codec.token_bits import measure_bits


def test_dense_tokens():
    maps = np.zeros((1, 2, 4, 8), np.int32)
    maps[0, 0] = np.arange(32).reshape(4, 8) % 4  # two bits; the other depth none
    found = measure_bits(maps, codes=200, sparse=False, coded_bytes=16)
    assert found == {"count": 64, "fixed_width": 8, "order_0": 1.0, "coded": 2.0}


def test_sparse_tokens():
    maps = np.zeros((1, 4, 8, 8), np.int32)
    maps[0, 0, ::2, ::2] = np.arange(1, 17).reshape(4, 4)  # 16 of 64 positions, all codes differ
    maps[0, 1, ::2, ::2] = 300 + np.arange(16).reshape(4, 4) % 2
    found = measure_bits(maps, codes=16, sparse=True, coded_bytes=30)
    assert (found["count"], found["fixed_width"], found["coded"]) == (16, 6 + 4 + 1, 15.0)
    places = 4 * (0.25 * 2 + 0.75 * np.log2(4 / 3))
    assert found["order_0"] == pytest.approx(places + 4 + 1)


def test_no_tokens():
    maps = np.zeros((1, 2, 8, 8), np.int32)
    assert measure_bits(maps, codes=16, sparse=True, coded_bytes=0) == {"count": 0}
