"""Autocovariances: covariance by lag, checked, made positive, laid out over planes."""

import warnings
from typing import Any

import torch
from torch import Tensor

from astro_vq.errors import AstroVQWarning

SPECTRUM_FLOOR = 1e-6
"""Smallest power, as a part of the mean power, of a usable spectrum: below, a mode of the image
would weigh a million times more than another on the strength of a rounded autocovariance."""


def check_autocovariance(values: Any) -> Tensor:  # noqa: ANN401
    """Return an autocovariance (C, 2L+1, 2L+1), float64 on the CPU, made exactly symmetric.

    Parameters
    ----------
    values : array (2L+1, 2L+1) or (C, 2L+1, 2L+1)
        Covariance by lag, zero lag in the middle.

    Raises
    ------
    ValueError
        Of another shape, not finite, without variance, or not symmetric under ``lag -> -lag``.
    """
    values = torch.as_tensor(values).detach().to("cpu", torch.float64)
    values = values[None] if values.dim() == 2 else values
    if values.dim() != 3 or values.shape[1] != values.shape[2] or values.shape[1] % 2 == 0:
        raise ValueError(
            f"an autocovariance must be (2L+1, 2L+1) or (C, 2L+1, 2L+1), got {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError("an autocovariance must be finite")
    lag = values.shape[1] // 2
    variance = values[:, lag, lag]
    if not bool((variance > 0).all()):
        raise ValueError(f"the variance (zero lag) must be positive, got {variance.tolist()}")
    turned = values.flip(1, 2)
    if not bool((values - turned).abs().amax() <= 1e-6 * variance.max()):
        raise ValueError("an autocovariance must be the same at a lag and at its opposite")
    return torch.as_tensor((values + turned) / 2)


def periodic_spectrum(autocovariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the power of a periodic plane: lags beyond its sides wrap and add up."""
    size = autocovariance.shape[1]
    places = [(torch.arange(size) - size // 2) % n for n in shape]
    flat = (places[0][:, None] * shape[1] + places[1][None, :]).reshape(-1)
    plane = torch.zeros(len(autocovariance), shape[0] * shape[1], dtype=torch.float64)
    plane.index_add_(1, flat, autocovariance.reshape(len(autocovariance), -1))
    power: Tensor = torch.fft.fft2(plane.view(-1, *shape)).real
    return power


def over_plane(autocovariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the covariance by lag (C, 2H-1, 2W-1) in a plane that does not wrap."""
    lag, (height, width) = autocovariance.shape[1] // 2, shape
    up, left = min(lag, height - 1), min(lag, width - 1)
    table = autocovariance.new_zeros(len(autocovariance), 2 * height - 1, 2 * width - 1)
    table[:, height - 1 - up : height + up, width - 1 - left : width + left] = autocovariance[
        :, lag - up : lag + up + 1, lag - left : lag + left + 1
    ]
    return table


def unwrap(periodic: Tensor) -> Tensor:
    """Return the covariance by lag (C, 2H-1, 2W-1) of a periodic one (C, H, W)."""
    ys, xs = (torch.arange(1 - n, n) % n for n in periodic.shape[1:])
    return periodic[:, ys[:, None], xs]


def block(by_lag: Tensor, chosen: Tensor) -> Tensor:
    """Return the matrix (M, M) between chosen pixels (H, W), by lag (2H-1, 2W-1)."""
    y, x = chosen.nonzero().unbind(1)
    width = by_lag.shape[1]
    place = y * width + x
    from_middle = place + by_lag.numel() // 2
    return torch.take(by_lag, from_middle[:, None] - place)


def make_positive(autocovariance: Tensor, *, repair: bool) -> Tensor:
    """Return an autocovariance whose spectrum is positive at every frequency of a fine grid."""
    size = autocovariance.shape[1]
    lag, grid = size // 2, max(256, 8 * size)
    spectrum = periodic_spectrum(autocovariance, (grid, grid))
    mean = autocovariance[:, lag, lag, None, None]  # the mean power is the variance
    floor = SPECTRUM_FLOOR * mean
    low = spectrum < floor
    if not bool(low.any()):
        return autocovariance
    what = (
        f"the autocovariance is not positive definite: {float(low.double().mean()):.2%} of its "
        f"spectrum lies below {SPECTRUM_FLOOR:g} of the mean power, the lowest at "
        f"{float((spectrum / mean).min()):.3g}"
    )
    if not repair:
        raise ValueError(what)
    # clip the power, cut back to the lags there are, and make up for the cut at zero lag
    by_lag: Tensor = torch.fft.ifft2(spectrum.clamp_min(floor)).real
    places = (torch.arange(size) - lag) % grid
    fixed = by_lag[:, places[:, None], places[None, :]]
    lowest = periodic_spectrum(fixed, (grid, grid)).amin((1, 2))
    wanted = 1.5 * SPECTRUM_FLOOR  # of the variance after the repair
    missing = (wanted * fixed[:, lag, lag] - lowest).clamp_min(0) / (1 - wanted)
    fixed[:, lag, lag] += missing
    change = float((fixed[:, lag, lag] / autocovariance[:, lag, lag] - 1).abs().max())
    warnings.warn(
        f"{what}; it was raised, which changes the variance by {change:.2%}",
        AstroVQWarning,
        stacklevel=4,
    )
    return fixed
