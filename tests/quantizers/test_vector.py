"""The vector quantiser: losses, moving averages, start and restarts, against formulas."""

import pytest
import torch

from astro_vq.quantizers import VectorQuantizer


def latents(seed=0, batch=4, dim=3):
    return torch.randn(batch, dim, 6, 5, generator=torch.Generator().manual_seed(seed))


def test_losses_are_means_over_all_numbers_with_their_own_gradients():
    quantizer = VectorQuantizer(8, 3, update="gradient", kmeans_init=False, restart=False)
    z = latents().requires_grad_()
    out = quantizer(z)
    code = quantizer.lookup(out.indices)
    expected = (z - code).square().sum() / z.numel()
    torch.testing.assert_close(out.codebook_loss, expected)
    torch.testing.assert_close(out.commitment_loss, expected)
    (grad_z,) = torch.autograd.grad(out.commitment_loss, z, retain_graph=True)
    torch.testing.assert_close(grad_z, 2 * (z - code).detach() / z.numel())
    assert torch.autograd.grad(out.codebook_loss, z, allow_unused=True, retain_graph=True) == (
        None,
    )
    (grad_e,) = torch.autograd.grad(out.codebook_loss, quantizer.codebook)
    rows = z.detach().movedim(1, -1).reshape(-1, 3)
    indices = out.indices.reshape(-1)
    expected_e = torch.stack(
        [(2 * (quantizer.codebook[k].detach() - rows[indices == k])).sum(0) for k in range(8)]
    )
    torch.testing.assert_close(grad_e, expected_e / z.numel())


def test_the_moving_average_is_that_of_the_paper():
    quantizer = VectorQuantizer(4, 3, decay=0.9, kmeans_init=False, restart=False)
    size, total = torch.ones(4), quantizer.codebook.clone()
    for step in range(5):
        z = latents(step)
        rows = z.movedim(1, -1).reshape(-1, 3)
        indices = quantizer.indices(z).reshape(-1)
        scale = 4 / len(rows)  # counts in units of an even share
        counts = torch.bincount(indices, minlength=4) * scale
        sums = torch.stack([rows[indices == k].sum(0) for k in range(4)]) * scale
        size = 0.9 * size + 0.1 * counts
        total = 0.9 * total + 0.1 * sums
        out = quantizer(z)
        torch.testing.assert_close(quantizer.codebook, total / size[:, None], rtol=1e-3, atol=1e-4)
    assert out.codebook_loss.item() == 0


def test_the_first_batch_sets_the_codes_near_its_latents():
    quantizer = VectorQuantizer(16, 3, restart=False)
    z = 5 + 0.1 * latents()
    before = VectorQuantizer(16, 3, restart=False, kmeans_init=False)(z)
    after = quantizer(z)
    assert after.commitment_loss < 0.01 * before.commitment_loss
    assert after.usage.dead == 0
    assert bool(quantizer.initialised)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_come_back_to_life(update):
    quantizer = VectorQuantizer(32, 3, update=update, kmeans_init=False, decay=0.9)
    with torch.no_grad():
        quantizer.codebook.fill_(100.0)
        quantizer.codebook[0] = 0
    for step in range(60):
        usage = quantizer(latents(step, batch=16)).usage
    assert usage.dead <= 1
    assert usage.perplexity > 20


def test_without_restarts_dead_codes_stay_dead():
    quantizer = VectorQuantizer(32, 3, kmeans_init=False, decay=0.9, restart=False)
    quantizer.cluster_sum.fill_(100.0)
    quantizer.codebook.fill_(100.0)
    quantizer.cluster_sum[0] = quantizer.codebook[0] = 0
    for step in range(30):
        usage = quantizer(latents(step)).usage
    assert usage.dead == 31


def test_a_restart_leaves_the_gradient_of_the_step_alone():
    quantizer = VectorQuantizer(8, 3, update="gradient", kmeans_init=False, cosine=True)
    quantizer.cluster_size[5] = 0  # to be restarted in this very step
    z = latents().requires_grad_()
    out = quantizer(z)
    (out.codebook_loss + out.commitment_loss + out.quantized.square().sum()).backward()
    assert torch.isfinite(quantizer.codebook.grad).all()


def test_the_global_generator_is_not_touched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 3)
    quantizer.cluster_size[5] = 0
    quantizer(latents())
    assert torch.equal(torch.rand(3), expected)


def test_cosine_compares_directions_only():
    quantizer = VectorQuantizer(16, 3, cosine=True)
    quantizer(latents())
    quantizer.eval()
    z = latents(1)
    assert torch.equal(quantizer.indices(z), quantizer.indices(7 * z))
    norms = quantizer(z).quantized.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": 1, "dim": 2}, "at least 2 codes, got 1"),
        ({"codes": 4, "dim": 0}, "must be positive"),
        ({"codes": 4, "dim": 2, "update": "adam"}, "update must be 'ema' or 'gradient'"),
        ({"codes": 4, "dim": 2, "decay": 1.0}, "decay must be at least 0 and below 1"),
        ({"codes": 4, "dim": 2, "gradient": "none"}, "gradient must be one of"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(**arguments)
