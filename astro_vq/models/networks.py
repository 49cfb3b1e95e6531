"""Encoders and decoders: `compact`, `oord`, `mlp`."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from astro_vq.config import ModelConfig
from astro_vq.layers import (
    ACTIVATIONS,
    LocalAttention,
    ResidualBlock,
    convolution,
    transposed_convolution,
)


class Networks(NamedTuple):
    """An encoder and its decoder.

    Attributes
    ----------
    encoder : nn.Module
        From pixels (B, C, H, W) to (B, encoded, H / stride, W / stride).
    decoder : nn.Module
        From latents (B, D, h, w) to the raw input of a likelihood (B, raw, h * stride, w * stride).
    stride : int
        Pixels per latent position along each axis.
    halo : int
        Latent positions around a window that either network looks at.
    """

    encoder: nn.Module
    decoder: nn.Module
    stride: int
    halo: int


def build_compact(config: ModelConfig, channels: int, encoded: int, raw: int) -> Networks:
    """Return the small network: two strided 3x3 convolutions and a 1x1, and their mirror image.

    ::

        pixels -- 3x3/2 -- act -- 3x3/2 -- act [-- attention] -- 1x1 --> latents
                   (32)           (64)           (64)            (16)
        latents [-- attention] -- T3x3*2 -- act -- T3x3*2 -- act -- T3x3 --> raw
                      (16)         (64)             (32)            (raw)

    With one channel and 16 latents: 320 + 18496 + 1040 and 9280 + 18464 + 289 = 47,889 weights.
    With ``batch_norm`` each convolution but the outer two (to the latents, to the pixels) is
    normalised and has no bias.

    Parameters
    ----------
    config : ModelConfig
        Width of the first layer (``hidden_channels``, 32 when unset; the second is twice that),
        ``latent_channels``, ``batch_norm``, ``attention`` and ``activation``.
    channels, encoded, raw : int
        Channels of the image, of the encoder's output and of the decoder's output.
    """
    width, norm = config.hidden_channels or 32, config.batch_norm
    act = ACTIVATIONS[config.activation]

    def strided(inputs: int, outputs: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=not norm)
        return [layer, *([nn.BatchNorm2d(outputs)] if norm else []), act()]

    def transposed(inputs: int, outputs: int) -> list[nn.Module]:
        layer = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=not norm)
        return [layer, *([nn.BatchNorm2d(outputs)] if norm else []), act()]

    encoder = nn.Sequential(
        *strided(channels, width),
        *strided(width, 2 * width),
        *_attention(config, 2 * width),
        nn.Conv2d(2 * width, encoded, 1),
    )
    decoder = nn.Sequential(
        *_attention(config, config.latent_channels),
        *transposed(config.latent_channels, 2 * width),
        *transposed(2 * width, width),
        nn.ConvTranspose2d(width, raw, 3, 1, 1),
    )
    return Networks(encoder, decoder, stride=4, halo=1 + config.attention)


def _attention(config: ModelConfig, channels: int) -> list[nn.Module]:
    """Return the attention block of a side, or nothing."""
    return [LocalAttention(channels, config.attention)] if config.attention else []


def build_oord(config: ModelConfig, channels: int, encoded: int, raw: int) -> Networks:
    """Return the network of the VQ-VAE paper.

    ::

        pixels -- 4x4/2 -- act -- 4x4/2 -- residual -- residual [-- attention] -- act -- 1x1
               --> latents
        latents -- 1x1 -- residual -- residual [-- attention] -- act -- T4x4*2 -- act -- T4x4*2
                [-- act -- 3x3] --> raw

    All layers have ``hidden_channels`` (256 when unset) between the ends. With
    ``last_convolution`` the second transposed convolution keeps that width and a stride-1
    convolution ends the decoder. With ``batch_norm`` each convolution but the outer two (to the
    latents, to the pixels) is normalised.

    Parameters
    ----------
    config : ModelConfig
        See above; also ``latent_channels``, ``residual_blocks``, ``attention`` and
        ``activation``.
    channels, encoded, raw : int
        Channels of the image, of the encoder's output and of the decoder's output.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, section 4.1.
    """
    width, norm = config.hidden_channels or 256, config.batch_norm
    act = ACTIVATIONS[config.activation]

    def residuals() -> list[nn.Module]:
        return [
            ResidualBlock(width, batch_norm=norm, activation=config.activation)
            for _ in range(config.residual_blocks)
        ]

    encoder = nn.Sequential(
        convolution(channels, width, 4, stride=2, batch_norm=norm),
        act(),
        convolution(width, width, 4, stride=2, batch_norm=norm),
        *residuals(),
        *_attention(config, width),
        act(),
        convolution(width, encoded, 1),
    )
    last = (
        [
            transposed_convolution(width, width, 4, batch_norm=norm),
            act(),
            convolution(width, raw, 3),
        ]
        if config.last_convolution
        else [transposed_convolution(width, raw, 4)]
    )
    decoder = nn.Sequential(
        convolution(config.latent_channels, width, 1, batch_norm=norm),
        *residuals(),
        *_attention(config, width),
        act(),
        transposed_convolution(width, width, 4, batch_norm=norm),
        act(),
        *last,
    )
    return Networks(encoder, decoder, stride=4, halo=config.residual_blocks + 1 + config.attention)


class _ToImage(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)


def build_mlp(config: ModelConfig, channels: int, encoded: int, raw: int) -> Networks:
    """Return fully connected layers: the whole image becomes one latent vector.

    ::

        pixels -- flatten -- linear -- act -- linear -- act -- linear --> latents (B, D, 1, 1)
        latents -- flatten -- linear -- act -- linear -- act -- linear --> raw

    Parameters
    ----------
    config : ModelConfig
        ``image_size``, ``hidden_channels`` (200 when unset), ``latent_channels``, ``activation``.
    channels, encoded, raw : int
        Channels of the image, of the encoder's output and of the decoder's output.

    References
    ----------
    Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519, section 5 (widths).
    """
    width, size = config.hidden_channels or 200, config.image_size
    if size is None:
        raise ValueError("network 'mlp' needs image_size")
    act = ACTIVATIONS[config.activation]
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size**2, width),
        act(),
        nn.Linear(width, width),
        act(),
        nn.Linear(width, encoded),
        _ToImage(encoded, 1),
    )
    decoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(config.latent_channels, width),
        act(),
        nn.Linear(width, width),
        act(),
        nn.Linear(width, raw * size**2),
        _ToImage(raw, size),
    )
    return Networks(encoder, decoder, stride=size, halo=0)


NETWORKS: dict[str, Callable[[ModelConfig, int, int, int], Networks]] = {
    "compact": build_compact,
    "oord": build_oord,
    "mlp": build_mlp,
}
"""Names of networks and how to build them: (config, channels, encoded, raw)."""
