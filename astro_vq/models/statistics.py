"""Matching of image statistics between input and reconstruction: total flux, power spectrum."""

import torch
from torch import Tensor


def flux_mismatch(pixels: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """Return how far the sums of reconstructed images lie from those of the images.

    ``mean over images and channels of (sum of (mean - pixels))**2 / (number of valid pixels)``:
    one where the sums differ by as much as noise of variance one makes them.

    Parameters
    ----------
    pixels, mean : Tensor (B, C, H, W)
        Image and reconstruction, network units.
    mask : Tensor of bool (B, C, H, W) or None
        True where a pixel counts.

    Returns
    -------
    Tensor ()
    """
    difference = mean - pixels
    if mask is None:
        count = difference.new_tensor(float(pixels.shape[2] * pixels.shape[3]))
    else:
        difference = difference * mask
        count = mask.sum((2, 3)).clamp_min(1).to(difference)
    mismatch: Tensor = (difference.sum((2, 3)).square() / count).mean()
    return mismatch


def power_spectrum(images: Tensor) -> Tensor:
    """Return the power (B, C, n) of images (B, C, H, W), averaged over rings of wave number.

    White noise of variance one has power one at each of the n = min(H, W) // 2 + 1 rings; modes
    beyond the last are left out.
    """
    height, width = images.shape[-2:]
    rings = min(height, width) // 2 + 1
    ky = torch.fft.fftfreq(height, device=images.device)[:, None]
    kx = torch.fft.rfftfreq(width, device=images.device)[None, :]
    ring = (torch.hypot(ky, kx) * min(height, width)).round().long().flatten()
    inside = ring < rings
    weight = torch.where((kx == 0) | (kx == 0.5), 1.0, 2.0).expand(height, -1).flatten()[inside]
    modes = torch.fft.rfft2(images, norm="ortho")
    power = (modes.real.square() + modes.imag.square()).flatten(2)[..., inside]
    total = power.new_zeros(*power.shape[:2], rings)
    total = torch.index_add(total, 2, ring[inside], power * weight)
    count = torch.bincount(ring[inside], weights=weight, minlength=rings).to(power)
    mean: Tensor = total / count
    return mean


def spectrum_mismatch(pixels: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """Return how far the power spectra of reconstructed images lie from those of the images.

    ``mean over rings of (log(1 + P_mean) - log(1 + P_pixels))**2``: with the noise at power one,
    rings without signal weigh little. Masked pixels are zero in both.

    Parameters
    ----------
    pixels, mean, mask
        See `flux_mismatch`.

    Returns
    -------
    Tensor ()
    """
    if mask is not None:
        pixels, mean = pixels * mask, mean * mask
    logs = [torch.log1p(power_spectrum(image)) for image in (mean, pixels)]
    return (logs[0] - logs[1]).square().mean()
