"""Networks: exact numbers of weights and shapes, and windows that equal the whole image."""

import pytest
import torch

from astro_vq.config import ModelConfig
from astro_vq.layers import count_weights
from astro_vq.models.networks import NETWORKS, build_compact, build_oord


def shapes(network, x):
    result = []
    for layer in network:
        x = layer(x)
        if count_weights(layer):
            result.append(tuple(x.shape[1:]))
    return result


def test_compact_has_exactly_the_stated_weights():
    networks = build_compact(ModelConfig(), 1, 16, 1)
    weights = [count_weights(m) for m in [*networks.encoder, *networks.decoder]]
    assert [n for n in weights if n] == [320, 18_496, 1_040, 9_280, 18_464, 289]
    assert sum(weights) == 47_889


def test_compact_with_batch_norm_has_scale_and_shift_in_place_of_biases():
    networks = build_compact(ModelConfig(batch_norm=True), 1, 16, 1)
    weights = [count_weights(m) for m in [*networks.encoder, *networks.decoder]]
    expected = [288, 64, 18_432, 128, 1_040, 9_216, 128, 18_432, 64, 289]
    assert [n for n in weights if n] == expected


def test_compact_has_the_stated_shapes_for_a_224_pixel_image():
    networks = build_compact(ModelConfig(), 1, 16, 1)
    x = torch.zeros(1, 1, 224, 224)
    assert shapes(networks.encoder, x) == [(32, 112, 112), (64, 56, 56), (16, 56, 56)]
    latents = torch.zeros(1, 16, 56, 56)
    assert shapes(networks.decoder, latents) == [(64, 112, 112), (32, 224, 224), (1, 224, 224)]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_oord_is_the_network_of_the_paper(norm, last):
    config = ModelConfig(network="oord", latent_channels=64, batch_norm=norm, last_convolution=last)
    networks = build_oord(config, 3, 64, 3)
    h, n = 256, 2 * 256 if norm else 256  # bias, or scale and shift
    residual = h * h * 9 + n + h * h + n
    encoder = (3 * h * 16 + n) + (h * h * 16 + n) + 2 * residual + (h * 64 + 64)
    assert count_weights(networks.encoder) == encoder
    ends = (h * h * 16 + n) + (h * 3 * 9 + 3) if last else h * 3 * 16 + 3
    decoder = (64 * h + n) + 2 * residual + (h * h * 16 + n) + ends
    assert count_weights(networks.decoder) == decoder
    x = torch.zeros(1, 3, 32, 32)
    assert networks.encoder(x).shape == (1, 64, 8, 8)
    assert networks.decoder(torch.zeros(1, 64, 8, 8)).shape == (1, 3, 32, 32)
    kinds = [type(m).__name__ for m in networks.encoder.modules()]
    assert kinds.count("BatchNorm2d") == (6 if norm else 0)


def test_oord_has_the_numbers_of_weights_that_the_paper_gives():
    networks = build_oord(ModelConfig(network="oord", latent_channels=64), 3, 64, 3)
    first, second, two_residuals = 12_544, 1_048_832, 2 * 655_872
    assert count_weights(networks.encoder) == first + second + two_residuals + 16_448
    assert count_weights(networks.decoder) == 16_640 + two_residuals + second + 12_291
    norm = ModelConfig(network="oord", latent_channels=64, batch_norm=True)
    networks = build_oord(norm, 3, 64, 3)
    # a scale and a shift of 256 channels in place of each bias but those of the outer two
    assert count_weights(networks.encoder) == 2_389_568 + 6 * 256
    assert count_weights(networks.decoder) == 2_389_507 + 6 * 256


def test_widths_are_arguments():
    config = ModelConfig(network="oord", hidden_channels=8, residual_blocks=1, latent_channels=4)
    networks = build_oord(config, 1, 4, 1)
    assert networks.halo == 2
    assert networks.encoder(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 4, 4)
    small = build_compact(ModelConfig(hidden_channels=4), 1, 16, 1)
    assert count_weights(small.encoder[0]) == 4 * 9 + 4


def test_the_fully_connected_network_turns_an_image_into_one_vector():
    config = ModelConfig(network="mlp", image_size=28, latent_channels=50, activation="tanh")
    networks = NETWORKS["mlp"](config, 1, 100, 1)
    assert networks.encoder(torch.zeros(3, 1, 28, 28)).shape == (3, 100, 1, 1)
    assert networks.decoder(torch.zeros(3, 50, 1, 1)).shape == (3, 1, 28, 28)
    assert count_weights(networks.encoder) == 784 * 200 + 200 + 200 * 200 + 200 + 200 * 100 + 100


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(network="oord", hidden_channels=16, batch_norm=True),
        ModelConfig(network="oord", hidden_channels=16, last_convolution=True, residual_blocks=3),
        ModelConfig(attention=2, batch_norm=True, activation="leaky-relu"),
        ModelConfig(network="oord", hidden_channels=16, attention=1, batch_norm=True),
    ],
    ids=["compact", "oord", "oord-last", "compact-attention", "oord-attention"],
)
def test_a_window_with_halo_gives_what_the_whole_image_gives(config):
    torch.manual_seed(0)
    networks = NETWORKS[config.network](config, 1, 16, 1)
    stride, halo = networks.stride, networks.halo
    encoder, decoder = networks.encoder.double().eval(), networks.decoder.double().eval()
    for name, weight in [*encoder.named_parameters(), *decoder.named_parameters()]:
        if ".out." in name:  # an untrained attention block does nothing
            torch.nn.init.normal_(weight)
    x = torch.randn(1, 1, 96, 80, dtype=torch.float64)
    whole = encoder(x)
    image = decoder(whole)
    height, width = whole.shape[-2:]
    for y0, y1, x0, x1 in [(0, 5, 0, 4), (7, 12, 9, 11), (20, 24, 12, 20), (8, 9, 0, 20)]:
        ya, yb = max(0, y0 - halo), min(height, y1 + halo)
        xa, xb = max(0, x0 - halo), min(width, x1 + halo)
        inner = (..., slice(y0 - ya, y1 - ya), slice(x0 - xa, x1 - xa))
        window = encoder(x[..., ya * stride : yb * stride, xa * stride : xb * stride])
        torch.testing.assert_close(window[inner], whole[..., y0:y1, x0:x1])
        pixels = decoder(whole[..., ya:yb, xa:xb])
        inner = (
            ...,
            slice((y0 - ya) * stride, (y1 - ya) * stride),
            slice((x0 - xa) * stride, (x1 - xa) * stride),
        )
        expected = image[..., y0 * stride : y1 * stride, x0 * stride : x1 * stride]
        torch.testing.assert_close(pixels[inner], expected)


def test_the_halo_is_as_small_as_it_can_be():
    torch.manual_seed(0)
    for name, attention in [("compact", 0), ("oord", 0), ("compact", 2), ("oord", 2)]:
        config = ModelConfig(network=name, hidden_channels=16, attention=attention)
        networks = NETWORKS[name](config, 1, 16, 1)
        for weight_name, weight in networks.encoder.named_parameters():
            if weight_name.endswith("out.weight"):
                torch.nn.init.normal_(weight)
        x = torch.randn(1, 1, 64, 64, requires_grad=True)
        networks.encoder(x)[0, :, 8, 8].sum().backward()
        seen = x.grad[0, 0].nonzero()
        reach = max(8 - seen.min().item() // 4, seen.max().item() // 4 - 8)
        assert reach == networks.halo


def test_attention_adds_a_block_to_either_side():
    for name, width in (("compact", 64), ("oord", 256)):
        config = ModelConfig(network=name, attention=3)
        plain = NETWORKS[name](ModelConfig(network=name), 1, 16, 1)
        networks = NETWORKS[name](config, 1, 16, 1)
        inner = 16 if name == "compact" else width
        for side, channels in (("encoder", width), ("decoder", inner)):
            more = count_weights(getattr(networks, side)) - count_weights(getattr(plain, side))
            heads = channels // 32 if channels % 32 == 0 else 1
            assert more == 4 * channels * channels + 4 * channels + heads * 49
