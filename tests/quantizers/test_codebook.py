"""Searches over a codebook: against brute force, and in bounded memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_vq.quantizers import codebook
from astro_vq.quantizers.codebook import cluster_sums, draw_rows, find_nearest, run_kmeans


@settings(deadline=None)
@given(
    rows=st.integers(0, 40), codes=st.integers(1, 20), dim=st.integers(1, 9), seed=st.integers(0, 9)
)
def test_the_nearest_code_is_that_of_brute_force(rows, codes, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    e = torch.randn(codes, dim, generator=generator, dtype=torch.float64)
    nearest = find_nearest(x, e)
    table = (x[:, None] - e[None]).square().sum(-1)
    torch.testing.assert_close(nearest.indices, table.argmin(1))
    torch.testing.assert_close(nearest.distances, table.min(1).values)


def test_chunks_give_what_one_piece_gives(monkeypatch):
    x, e = torch.randn(1000, 8), torch.randn(64, 8)
    whole = find_nearest(x, e)
    monkeypatch.setattr(codebook, "CHUNK_NUMBERS", 64 * 7)
    parts = find_nearest(x, e)
    assert (whole.indices == parts.indices).float().mean() > 0.999  # away from float ties
    torch.testing.assert_close(whole.distances, parts.distances, atol=1e-4, rtol=1e-4)


def test_no_table_of_all_distances_is_made(monkeypatch):
    sizes = []
    addmm = torch.addmm

    def spy(*args):
        result = addmm(*args)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(torch, "addmm", spy)
    find_nearest(torch.randn(20_000, 2), torch.randn(1024, 2))
    assert max(sizes) <= codebook.CHUNK_NUMBERS
    assert sum(sizes) == 20_000 * 1024


def test_sums_of_clusters_are_those_of_a_loop():
    x, i = torch.randn(50, 3), torch.randint(4, (50,))
    expected = torch.stack([x[i == k].sum(0) for k in range(5)])
    torch.testing.assert_close(cluster_sums(x, i, 5), expected)


def test_rows_are_drawn_without_replacement_and_by_weight():
    rows = torch.arange(100.0)[:, None]
    drawn = draw_rows(rows, 100, torch.Generator().manual_seed(0))
    assert drawn.unique().numel() == 100
    weights = torch.zeros(100)
    weights[[3, 50]] = 1
    drawn = draw_rows(rows, 2, torch.Generator().manual_seed(0), weights=weights)
    assert sorted(drawn[:, 0].tolist()) == [3, 50]
    assert len(draw_rows(rows[:3], 7, torch.Generator().manual_seed(0))) == 7


def test_weighted_draws_follow_the_weights():
    rows = torch.arange(3.0)[:, None]
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([1.0, 2.0, 7.0])
    first = torch.cat([draw_rows(rows, 1, generator, weights=weights)[0] for _ in range(3000)])
    share = torch.bincount(first.long(), minlength=3) / 3000
    torch.testing.assert_close(share, weights / 10, atol=0.03, rtol=0)


def test_kmeans_finds_well_separated_clusters():
    generator = torch.Generator().manual_seed(0)
    truth = 100 * torch.randn(8, 4, generator=generator)
    rows = (truth[:, None] + torch.randn(8, 50, 4, generator=generator)).reshape(-1, 4)
    # twice as many centres as clusters: each cluster holds one
    centres = run_kmeans(rows, 16, generator=generator)
    assert torch.cdist(truth, centres).min(1).values.max() < 3


@pytest.mark.parametrize("count", [1, 3])
def test_kmeans_with_fewer_rows_than_codes_gives_distinct_finite_codes(count):
    centres = run_kmeans(torch.randn(count, 2), 5, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(centres).all()
    assert centres.unique(dim=0).shape[0] == 5
