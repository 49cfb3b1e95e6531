"""Perplexity and dead codes against their formulas."""

import pytest
import torch

from astro_vq.quantizers.usage import measure_usage, usage_of_counts


def test_perplexity_of_even_use_is_the_number_of_codes_in_use():
    usage = measure_usage(torch.arange(8).repeat(5), 10)
    assert usage.perplexity.item() == pytest.approx(8)
    assert usage.dead.item() == 2


def test_perplexity_is_the_exponential_of_the_entropy():
    counts = torch.tensor([1, 3, 0, 4])
    p = counts[counts > 0] / 8
    expected = torch.exp(-(p * p.log()).sum()).item()
    assert usage_of_counts(counts).perplexity.item() == pytest.approx(expected, rel=1e-6)


def test_negative_indices_are_no_code():
    usage = measure_usage(torch.tensor([[0, -1], [2, -1]]), 3)
    assert usage.counts.tolist() == [1, 0, 1]


def test_nothing_at_all_has_perplexity_one():
    usage = measure_usage(torch.empty(0, dtype=torch.int64), 3)
    assert usage.perplexity.item() == 1
    assert usage.dead.item() == 3
