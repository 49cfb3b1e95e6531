"""What a position depends on, probabilities, drawing, and a field of known entropy."""

import math

import pytest
import torch

from astro_vq.config import ModelConfig, PriorConfig
from astro_vq.errors import ModelMismatchError
from astro_vq.models import build_model
from astro_vq.models.vqvae2 import join_levels, split_levels
from astro_vq.priors import TokenPrior, build_prior
from astro_vq.priors.pixelcnn import MapShape, PixelCNN


def small(depth=1, levels=1, codes=3, layers=2):
    torch.manual_seed(0)
    config = PriorConfig(width=8, layers=layers, radius=1, context=4)
    return TokenPrior(MapShape(codes, depth), levels=levels, config=config).double().eval()


def changed_by(prior, indices, place):
    """Return which log-probabilities change when one index does, as booleans of each level."""
    before = prior.log_probs(indices)
    other = indices.clone()
    other[place] = (other[place] + 1) % prior.shape.codes
    return [(a != b)[0] for a, b in zip(before, prior.log_probs(other), strict=True)]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_position_depends_on_exactly_its_causal_past(depth):
    prior = small(depth, layers=5)
    size = 5
    indices = torch.randint(0, 3, (1, depth, size, size), generator=torch.manual_seed(1))
    order = torch.arange(depth * size * size).view(size, size, depth).permute(2, 0, 1)
    for k in range(depth):
        for y, x in [(0, 0), (0, 4), (2, 1), (2, 4), (3, 0), (4, 4)]:
            changed = changed_by(prior, indices, (0, k, y, x))[0]
            assert torch.equal(changed, order >= order[k, y, x])  # itself, and all that is later


def test_nothing_in_reach_is_a_blind_spot_and_nothing_beyond_it_counts():
    network = PixelCNN(MapShape(2, 1), width=8, layers=2, radius=1).double()
    indices = torch.zeros(1, 1, 9, 9, dtype=torch.int64)
    embedded = network.embed(indices).detach().requires_grad_()
    network.embed = lambda _: embedded
    network.log_probs(indices)[0, 0, 5, 4].backward()
    seen = embedded.grad[0].abs().sum(0) > 0
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[5, 1:4] = True  # one to the left, and one more with each layer
    for row, reach in ((4, 2), (3, 2), (2, 2)):
        expected[row, 4 - reach : 5 + reach] = True
    assert torch.equal(seen, expected)
    assert network.reach == 3


def test_probabilities_of_all_maps_add_up_to_one():
    prior = small(depth=2, codes=3)
    every = torch.cartesian_prod(*[torch.arange(3)] * 8).view(-1, 2, 2, 2)
    assert prior.log_prob(every).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_two_levels_the_bottom_sees_all_of_the_top_and_the_top_nothing_of_the_bottom():
    prior = small(levels=2)
    top = torch.randint(0, 3, (1, 1, 2, 2), generator=torch.manual_seed(2))
    bottom = torch.randint(0, 3, (1, 1, 4, 4), generator=torch.manual_seed(3))
    indices = join_levels(top, bottom)
    assert all(torch.equal(a, b) for a, b in zip(split_levels(indices), (top, bottom), strict=True))
    of_top = changed_by(prior, indices, (0, 0, 1, 1))  # the last of the top
    assert of_top[0].sum() == 1
    assert of_top[1][0, 0, 0]  # even the first of the bottom
    of_bottom = changed_by(prior, indices, (0, 1, 0, 0))  # the first of the bottom
    assert not of_bottom[0].any()
    assert of_bottom[1].sum() > 4


def test_large_maps_in_bands_give_the_same(monkeypatch):
    prior = small(depth=2, levels=2)
    indices = torch.randint(0, 3, (1, 10, 9, 5), generator=torch.manual_seed(4))
    whole = [part.detach() for part in prior.log_probs(indices)]
    monkeypatch.setattr("astro_vq.priors.token_prior.ROWS", 4)
    with torch.no_grad():
        bands = prior.log_probs(indices)
    for a, b in zip(whole, bands, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2])
def test_drawing_follows_the_probabilities(levels):
    prior = small(depth=2, levels=levels, codes=2)
    for network in prior.pixelcnns:
        for head in network.heads:
            head.weight.data *= 20  # almost certain at each position, so that a draw tells
    drawn = prior.sample(4, (3, 4), generator=torch.manual_seed(5))
    again = prior.sample(4, (3, 4), generator=torch.manual_seed(5))
    assert drawn.shape == (4, prior.depth, 3, 4)
    assert torch.equal(drawn, again)
    cold = prior.sample(4, (3, 4), temperature=1e-9, generator=torch.manual_seed(6))
    for part, tokens in zip(prior.log_probs(cold), prior.maps(cold), strict=True):
        assert (part > math.log(0.5)).all()  # of two codes, always the likelier one
        assert tokens.shape == part.shape
    with pytest.raises(ValueError, match="temperature must be positive"):
        prior.sample(1, (2, 2), temperature=0.0)


def markov_field(number, size, generator, stay=0.9, codes=4):
    """Return maps whose rows are Markov chains, and their entropy in bits per token."""
    first = torch.randint(0, codes, (number, 1, size, 1), generator=generator)
    moves = torch.rand(number, 1, size, size - 1, generator=generator) > stay
    steps = torch.randint(1, codes, moves.shape, generator=generator) * moves
    maps = torch.cat([first, steps], -1).cumsum(-1) % codes
    step = -stay * math.log2(stay) - (1 - stay) * math.log2((1 - stay) / (codes - 1))
    return maps, (math.log2(codes) + (size - 1) * step) / size


def test_a_markov_field_is_learnt_to_its_entropy():
    generator = torch.manual_seed(7)
    prior = TokenPrior(MapShape(4, 1), levels=1, config=PriorConfig(width=16, layers=2))
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for step in range(120):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 120)
        maps, _ = markov_field(32, 8, generator)
        loss = -prior.log_prob(maps).mean() / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    maps, entropy = markov_field(2000, 8, generator)
    with torch.no_grad():
        bits = -prior.log_prob(maps).mean().item() / 64 / math.log(2)
    assert entropy == pytest.approx(0.79906, abs=1e-5)
    assert entropy - 0.01 < bits < entropy + 0.03
    drawn = prior.sample(500, (2, 8), generator=generator)
    stays = (drawn[..., 1:] == drawn[..., :-1]).double().mean().item()
    assert stays == pytest.approx(0.9, abs=0.02)


def test_it_begins_at_the_frequencies_of_codes():
    prior = small(depth=2, codes=4)
    indices = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2]).view(1, 2, 2, 2)
    for head in prior.pixelcnns[0].heads:
        head.weight.data.zero_()
    prior.set_frequencies(indices)
    found = prior.log_probs(indices)[0].exp()
    assert found[0, 0, 0, 0].item() == pytest.approx(4 / 8)
    assert found[0, 1, 0, 0].item() == pytest.approx(5 / 8)


def test_priors_are_built_for_models_with_tokens():
    residual = ModelConfig(quantizer="residual", depth=3, codes=16)
    prior = build_prior(build_model(residual, 1), PriorConfig(width=4, layers=1))
    assert (prior.shape, prior.levels, prior.depth) == (MapShape(16, 3), 1, 3)
    two = build_prior(build_model(ModelConfig(model="vqvae2", codes=16), 1))
    assert (two.levels, two.depth) == (2, 5)
    with pytest.raises(ModelMismatchError, match="VAE has no tokens"):
        build_prior(build_model(ModelConfig(model="vae"), 1))
    many = ModelConfig(quantizer="residual", depth=33, codes=2048)
    with pytest.raises(ModelMismatchError, match="33 indices of 2048 codes"):
        build_prior(build_model(many, 1))
    with pytest.raises(ModelMismatchError, match=r"\(B, 3, h, w\)"):
        prior.log_prob(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
