"""Layers that several networks share, and the gradient that passes a quantiser."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
}


def count_weights(module: nn.Module) -> int:
    """Return the number of learnt weights of a module."""
    return sum(p.numel() for p in module.parameters())


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, batch_norm: bool = False
) -> nn.Sequential:
    """Return a padded convolution that divides the image's sides by `stride`.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Side of the kernel; odd for stride 1, any for stride 2.
    stride : int
        1 or 2; sides of the input are multiples of it.
    batch_norm : bool
        Add batch normalisation (the convolution then has no bias).
    """
    padding = (kernel - 1) // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)
    return nn.Sequential(layer, *([nn.BatchNorm2d(outputs)] if batch_norm else []))


def transposed_convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 2, batch_norm: bool = False
) -> nn.Sequential:
    """Return a transposed convolution that multiplies the image's sides by `stride`.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Side of the kernel.
    stride : int
        1 or 2.
    batch_norm : bool
        Add batch normalisation (the convolution then has no bias).
    """
    padding = (kernel - 1) // 2
    extra = stride + 2 * padding - kernel  # makes the output exactly stride times the input
    layer = nn.ConvTranspose2d(
        inputs, outputs, kernel, stride, padding, output_padding=extra, bias=not batch_norm
    )
    return nn.Sequential(layer, *([nn.BatchNorm2d(outputs)] if batch_norm else []))


class ResidualBlock(nn.Module):
    """ReLU, 3x3, ReLU, 1x1, added to the input.

    ::

        x --+-- act -- 3x3 -- [norm] -- act -- 1x1 -- [norm] --+--> y
            |                                                  |
            +--------------------------------------------------+

    Parameters
    ----------
    channels : int
        Channels in, within and out.
    batch_norm : bool
        Batch normalisation after each convolution.
    activation : str
        Key of `ACTIVATIONS`.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, section 4.1.
    """

    def __init__(
        self, channels: int, *, batch_norm: bool = False, activation: str = "relu"
    ) -> None:
        super().__init__()
        make = ACTIVATIONS[activation]
        self.layers = nn.Sequential(
            make(),
            convolution(channels, channels, 3, batch_norm=batch_norm),
            make(),
            convolution(channels, channels, 1, batch_norm=batch_norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W) of (B, channels, H, W)."""
        return x + torch.as_tensor(self.layers(x))


class LocalAttention(nn.Module):
    """Each position attends to those around it; added to the input.

    ::

        x --+-- normalise -- 1x1 --> query, key, value -- softmax over (2 r + 1)^2 -- 1x1 --+--> y
            |                                                                               |
            +-------------------------------------------------------------------------------+

    Normalisation is over the channels of each position, and nothing looks farther than `reach`,
    so that a window with a halo gives what the whole image gives. Places outside the image are
    not attended to. The last convolution starts at zero: an untrained block changes nothing.

    Parameters
    ----------
    channels : int
        Channels in, within and out; heads have 32 each where that divides them, else one has all.
    reach : int
        Positions r along each axis on either side, at least 1.

    References
    ----------
    Ramachandran et al. 2019, arXiv:1906.05909; Hassani et al. 2022, arXiv:2204.07143.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        if reach < 1:
            raise ValueError(f"reach must be at least 1, got {reach}")
        self.reach = reach
        self.heads = channels // 32 if channels % 32 == 0 else 1
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.offset = nn.Parameter(torch.zeros(self.heads, (2 * reach + 1) ** 2))
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W) of (B, channels, H, W)."""
        height, width = x.shape[-2:]
        normal = F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
        parts = self.project(normal).view(len(x), 3, self.heads, -1, height, width)
        query, key, value = parts.unbind(1)  # (B, heads, channels / heads, H, W)
        query = query * query.shape[2] ** -0.5
        around = [self.reach] * 4
        key, value = F.pad(key, around), F.pad(value, around)
        outside = F.pad(x.new_zeros(height, width), around, value=-torch.inf)
        shifts = [
            (..., slice(dy, dy + height), slice(dx, dx + width))
            for dy in range(2 * self.reach + 1)
            for dx in range(2 * self.reach + 1)
        ]  # one place at a time: no neighbourhood is ever copied
        scores = [
            (query * key[shift]).sum(2) + self.offset[:, n, None, None] + outside[shift]
            for n, shift in enumerate(shifts)
        ]
        weights = torch.stack(scores).softmax(0).unsqueeze(3)
        attended = torch.zeros_like(query)
        for weight, shift in zip(weights, shifts, strict=True):
            attended = attended + weight * value[shift]
        return x + torch.as_tensor(self.out(attended.flatten(1, 2)))


def straight_through(latents: Tensor, quantized: Tensor) -> Tensor:
    """Return the quantised latents with the gradient of the latents.

    Parameters
    ----------
    latents, quantized : Tensor (B, D, h, w)
        What went in and what came out of a quantiser.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937, section 3.2.
    """
    return latents + (quantized - latents).detach()


def rotation(latents: Tensor, quantized: Tensor) -> Tensor:
    """Return the quantised latents with a gradient that is turned as the vectors were.

    Each latent e is carried to its code q by a rotation R and a scaling s = |q|/|e|; both
    count as constants in the backward pass, so that the gradient keeps its angle to the code.

    Parameters
    ----------
    latents, quantized : Tensor (B, D, h, w)
        What went in and what came out of a quantiser.

    References
    ----------
    Fifty et al. 2024, arXiv:2410.06424, section 4.2.
    """
    tiny = torch.finfo(latents.dtype).tiny ** 0.5  # zero vectors have no direction

    def norm(x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return length.clamp_min(tiny)

    with torch.no_grad():
        target = quantized.detach()
        scale = norm(target) / norm(latents)
        e, q = latents / norm(latents), target / norm(target)
        middle = e + q
        opposite = torch.linalg.vector_norm(middle, dim=1, keepdim=True) < 1e-6
        middle = middle / norm(middle)
    along = (middle * latents).sum(1, keepdim=True)
    turned = latents - 2 * along * middle + 2 * (e * latents).sum(1, keepdim=True) * q
    moved = scale * turned
    # a code opposite to its latent has no unique rotation: that position goes straight through
    return torch.where(opposite, straight_through(latents, target), moved)


GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight-through": straight_through,
    "rotation": rotation,
}
"""How the gradient passes a quantiser."""
