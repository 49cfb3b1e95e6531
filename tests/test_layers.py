"""Layers: shapes, and the gradients that pass a quantiser."""

import pytest
import torch

from astro_vq.layers import (
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
