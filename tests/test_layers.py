"""Layers: shapes, and the gradients that pass a quantiser."""

import itertools

import pytest
import torch

from astro_vq.layers import (
    LocalAttention,
    ResidualBlock,
    convolution,
    count_weights,
    rotation,
    straight_through,
    transposed_convolution,
)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_strided_layers_halve_and_double_the_sides_exactly(kernel):
    x = torch.zeros(1, 2, 16, 12)
    if kernel % 2 == 0 or kernel >= 3:
        assert convolution(2, 3, kernel, stride=2)(x).shape == (1, 3, 8, 6)
    assert transposed_convolution(2, 3, kernel)(x).shape == (1, 3, 32, 24)
    if kernel % 2:
        assert convolution(2, 3, kernel)(x).shape == (1, 3, 16, 12)
        assert transposed_convolution(2, 3, kernel, stride=1)(x).shape == (1, 3, 16, 12)


def test_batch_norm_takes_the_place_of_the_bias():
    assert count_weights(convolution(4, 8, 3)) == 4 * 8 * 9 + 8
    assert count_weights(convolution(4, 8, 3, batch_norm=True)) == 4 * 8 * 9 + 16


def test_a_residual_block_is_relu_3x3_relu_1x1_added_to_its_input():
    torch.manual_seed(0)
    block = ResidualBlock(4)
    assert count_weights(block) == 4 * 4 * 9 + 4 + 4 * 4 + 4
    x = torch.randn(2, 4, 5, 5)
    three, one = block.layers[1][0], block.layers[3][0]
    expected = x + one(torch.relu(three(torch.relu(x))))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("channels", "heads"), [(6, 1), (64, 2)])
def test_local_attention_is_a_softmax_over_the_neighbours_within_the_image(channels, heads):
    torch.manual_seed(0)
    block = LocalAttention(channels, 1).double()
    x = torch.randn(2, channels, 4, 5, dtype=torch.float64)
    assert torch.equal(block(x), x)  # untrained
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    q, k, v = block.project((x - mean) / (variance + 1e-5).sqrt()).chunk(3, 1)
    expected = torch.zeros_like(x)
    size = channels // heads
    for b, head, i, j in itertools.product(range(2), range(heads), range(4), range(5)):
        part = slice(head * size, (head + 1) * size)
        near = [(y, z) for y in (i - 1, i, i + 1) for z in (j - 1, j, j + 1)]
        near = [(n, y, z) for n, (y, z) in enumerate(near) if 0 <= y < 4 and 0 <= z < 5]
        scores = torch.stack(
            [
                q[b, part, i, j] @ k[b, part, y, z] / size**0.5 + block.offset[head, n]
                for n, y, z in near
            ]
        )
        share = scores.softmax(0)
        for weight, (_, y, z) in zip(share, near, strict=True):
            expected[b, part, i, j] += weight * v[b, part, y, z]
    torch.testing.assert_close(block(x), x + block.out(expected))


def test_attention_without_reach_is_refused():
    with pytest.raises(ValueError, match="reach must be at least 1, got 0"):
        LocalAttention(4, 0)


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_latent():
    latents = torch.randn(2, 3, 4, 4, requires_grad=True)
    codes = torch.randn(2, 3, 4, 4)
    weight = torch.randn(2, 3, 4, 4)
    passed = straight_through(latents, codes)
    torch.testing.assert_close(passed, codes)
    (passed * weight).sum().backward()
    torch.testing.assert_close(latents.grad, weight)


def test_rotation_has_the_value_of_the_code_and_turns_the_gradient_with_the_vector():
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    latents.requires_grad_()
    codes = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    passed = rotation(latents, codes)
    torch.testing.assert_close(passed, codes)
    (passed * weight).sum().backward()
    # the angle between gradient and latent is that between upstream gradient and code
    scale = codes.norm(dim=1) / latents.norm(dim=1)
    torch.testing.assert_close(latents.grad.norm(dim=1), scale * weight.norm(dim=1))

    def cosine(a, b):
        return torch.cosine_similarity(a, b, dim=1)

    torch.testing.assert_close(cosine(latents.grad, latents), cosine(weight, codes))


def test_rotation_of_a_latent_opposite_to_its_code_goes_straight_through():
    latents = torch.tensor([[[[1.0]], [[0.0]]]], requires_grad=True)
    passed = rotation(latents, torch.tensor([[[[-2.0]], [[0.0]]]]))
    torch.testing.assert_close(passed, torch.tensor([[[[-2.0]], [[0.0]]]]))
    passed.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))


def test_rotation_survives_zero_vectors():
    latents = torch.zeros(1, 2, 1, 1, requires_grad=True)
    passed = rotation(latents, torch.zeros(1, 2, 1, 1))
    passed.sum().backward()
    assert torch.isfinite(passed).all()
    assert torch.isfinite(latents.grad).all()
