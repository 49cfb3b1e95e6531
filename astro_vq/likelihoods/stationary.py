"""Stationary noise, known by its autocovariance: exact for cutouts, by FFT for whole images."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from astro_vq.errors import AstroVQWarning
from astro_vq.likelihoods.gaussian import (
    LOG_TWO_PI,
    factorise,
    log_density,
    masked_log_density,
    whiten,
)

LARGEST_BLOCK = 4096
"""Most masked (or valid) pixels of one plane that the FFT path marginalises exactly."""

SPECTRUM_FLOOR = 1e-6
"""Smallest power, as a part of the mean power, of a usable spectrum: below, a mode of the image
would weigh a million times more than another on the strength of a rounded autocovariance."""


class StationaryNoise:
    """Noise whose covariance depends on the distance of two pixels only.

    Channels are independent of each other. Two ways to the density of a plane:

    *exact*
        The covariance of the plane's pixels (block Toeplitz), by Cholesky: cost grows with the
        third power of the number of pixels, once per size, and with the second per plane.
    *circulant*
        The plane is taken as periodic; the covariance is then diagonal in Fourier space. Opposite
        edges count as neighbours, so that only pixels within the correlation length of an edge
        differ from the exact density: per pixel the difference falls as one over the side.

    Parameters
    ----------
    autocovariance : array (2L+1, 2L+1) or (C, 2L+1, 2L+1)
        Covariance by lag, zero lag in the middle, symmetric under ``lag -> -lag``; one for all
        channels or one each. Zero beyond L. In the units of the pixels, squared.
    repair : bool
        Raise the power where the spectrum is not positive, with a warning that says how far;
        otherwise refuse.
    """

    def __init__(self, autocovariance: Tensor, *, repair: bool = True) -> None:
        values = torch.as_tensor(autocovariance).detach().to("cpu", torch.float64)
        values = values[None] if values.dim() == 2 else values
        if values.dim() != 3 or values.shape[1] != values.shape[2] or values.shape[1] % 2 == 0:
            raise ValueError(
                "an autocovariance must be (2L+1, 2L+1) or (C, 2L+1, 2L+1), got "
                f"{tuple(values.shape)}"
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
        self.autocovariance = _make_positive((values + turned) / 2, repair=repair)
        self.lag = lag
        self._cached = lru_cache(maxsize=8)(self._compute)

    def __reduce__(self) -> tuple[type["StationaryNoise"], tuple[Tensor]]:
        return type(self), (self.autocovariance,)

    def spectrum(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return the power (C or 1, H, W) of each Fourier mode of a periodic plane."""
        return self._cached("spectrum", shape, like.dtype, like.device)

    def covariance(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return the covariance (C or 1, H W, H W) of the pixels of a plane."""
        return self._cached("covariance", shape, like.dtype, like.device)

    def factor(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return the Cholesky factor (C or 1, H W, H W) of the pixels of a plane."""
        return self._cached("factor", shape, like.dtype, like.device)

    def _compute(
        self, what: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        values: Tensor
        if what == "covariance":
            values = _toeplitz(self.autocovariance, shape)
        elif what == "factor":
            planes = _toeplitz(self.autocovariance, shape)
            values = torch.stack([factorise(plane) for plane in planes])
        else:
            values = _periodic_spectrum(self.autocovariance, shape)
            # frequencies between those that the repair looked at may dip a little below them
            variance = self.autocovariance[:, self.lag, self.lag, None, None]
            values = values.clamp_min(0.5 * SPECTRUM_FLOOR * variance)
            if what == "precision":  # by lag, of a periodic plane
                values = torch.fft.ifft2(1 / values).real
        return values.to(device, dtype)

    def log_density(self, residual: Tensor, mask: Tensor | None, *, exact: bool) -> Tensor:
        """Return the log density of images.

        Parameters
        ----------
        residual : Tensor (B, C, H, W)
            Pixels less their means.
        mask : Tensor of bool (B, C, H, W) or None
            True where a pixel counts; the others are marginalised, exactly so for either path.
        exact : bool
            Which path.

        Returns
        -------
        Tensor (B,)
            Nats.

        Raises
        ------
        ValueError
            On the circulant path, a plane has more than `LARGEST_BLOCK` masked and valid pixels.
        """
        self._check(residual)
        if mask is not None:
            residual = residual * mask
            if bool(mask.all()):
                mask = None
        density = self._exact(residual, mask) if exact else self._circulant(residual, mask)
        return density.sum(1)

    def _check(self, residual: Tensor) -> None:
        planes = len(self.autocovariance)
        if planes not in (1, residual.shape[1]):
            raise ValueError(
                f"the autocovariance has {planes} channels, the image has {residual.shape[1]}"
            )

    def _exact(self, residual: Tensor, mask: Tensor | None) -> Tensor:
        shape = (residual.shape[2], residual.shape[3])
        factors, result = self.factor(shape, residual), []
        for c, plane in enumerate(residual.flatten(2).unbind(1)):
            factor = factors[c % len(factors)]
            density = log_density(plane, factor)
            if mask is not None:
                valid = mask[:, c].flatten(1)
                some = (~valid.all(1)).nonzero()[:, 0]
                covariance = self.covariance(shape, residual)[c % len(factors)]
                marginal = masked_log_density(plane[some], covariance, valid[some])
                density = density.index_copy(0, some, marginal)
            result.append(density)
        return torch.stack(result, 1)

    def _circulant(self, residual: Tensor, mask: Tensor | None) -> Tensor:
        shape = (residual.shape[2], residual.shape[3])
        power = self.spectrum(shape, residual)
        half = power[..., : shape[1] // 2 + 1]
        modes = torch.fft.rfft2(residual, norm="ortho")
        # columns of the half plane stand for two, but for the first and the middle one
        twice = torch.full((half.shape[-1],), 2.0, dtype=residual.dtype, device=residual.device)
        twice[0] = 1
        if shape[1] % 2 == 0:
            twice[-1] = 1
        energy = (modes.real.square() + modes.imag.square()) * (twice / half)
        log_det = power.log().sum((1, 2))
        pixels = shape[0] * shape[1]
        density: Tensor = -0.5 * (energy.sum((2, 3)) + log_det + pixels * LOG_TWO_PI)
        if mask is None:
            return density
        return self._marginalise(residual, mask, density, modes / half)

    def _marginalise(
        self, residual: Tensor, mask: Tensor, density: Tensor, solved: Tensor
    ) -> Tensor:
        """Take masked pixels out of a density in which their residuals were zero."""
        shape = (residual.shape[2], residual.shape[3])
        weighted = torch.fft.irfft2(solved, s=shape, norm="ortho")  # C^-1 r
        precision = self._cached("precision", shape, torch.float64, torch.device("cpu"))
        covariance = torch.fft.ifft2(self.spectrum(shape, precision)).real
        result = density.clone()
        for b, c in (~mask.flatten(2).all(2)).nonzero().tolist():
            valid = mask[b, c].cpu()
            masked = int(valid.numel() - valid.sum())
            row = c % len(precision)
            if masked <= LARGEST_BLOCK:
                # log p(valid) = log p(all, masked = 0) - log p(masked = 0 | valid)
                factor = torch.linalg.cholesky(_block(precision[row], ~valid)).to(residual)
                part = whiten(weighted[b, c][~mask[b, c]][None], factor)[0]
                log_det = 2 * factor.diagonal().log().sum()
                result[b, c] = density[b, c] + 0.5 * (
                    part.square().sum() - log_det + masked * LOG_TWO_PI
                )
            elif valid.numel() - masked <= LARGEST_BLOCK:
                factor = torch.linalg.cholesky(_block(covariance[row], valid)).to(residual)
                result[b, c] = log_density(residual[b, c][mask[b, c]][None], factor)[0]
            else:
                raise ValueError(
                    f"a plane of {shape[0]} x {shape[1]} pixels has {masked} masked ones; at most "
                    f"{LARGEST_BLOCK} can be marginalised at once: cut it into smaller ones"
                )
        return result

    def whiten(self, residual: Tensor, *, exact: bool) -> Tensor:
        """Return residuals (B, C, H, W) that are white and of variance one if the noise is ours."""
        self._check(residual)
        shape = (residual.shape[2], residual.shape[3])
        if not exact:
            power = self.spectrum(shape, residual)[..., : shape[1] // 2 + 1]
            white: Tensor = torch.fft.irfft2(torch.fft.rfft2(residual) * power.rsqrt(), s=shape)
            return white
        factors = self.factor(shape, residual)
        planes = [
            whiten(plane, factors[c % len(factors)])
            for c, plane in enumerate(residual.flatten(2).unbind(1))
        ]
        return torch.stack(planes, 1).view_as(residual)

    def colour(self, white: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return noise (B, C, H, W) of white noise (B, C, H + pad, W + pad), pad >= 2 L.

        The padding makes the covariance within the image exact: opposite edges are independent.
        """
        self._check(white)
        size = (white.shape[2], white.shape[3])
        power = self.spectrum(size, white)[..., : size[1] // 2 + 1]
        noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * power.sqrt(), s=size)
        return noise[..., : shape[0], : shape[1]]


def _periodic_spectrum(autocovariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the power of a periodic plane: lags beyond its sides wrap and add up."""
    size = autocovariance.shape[1]
    places = [(torch.arange(size) - size // 2) % n for n in shape]
    flat = (places[0][:, None] * shape[1] + places[1][None, :]).reshape(-1)
    plane = torch.zeros(len(autocovariance), shape[0] * shape[1], dtype=torch.float64)
    plane.index_add_(1, flat, autocovariance.reshape(len(autocovariance), -1))
    power: Tensor = torch.fft.fft2(plane.view(-1, *shape)).real
    return power


def _toeplitz(autocovariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the covariance (C, H W, H W) of the pixels of a plane that does not wrap."""
    size = autocovariance.shape[1]
    lag = size // 2
    dy, dx = ((torch.arange(n)[:, None] - torch.arange(n)[None, :]) for n in shape)
    inside = (dy.abs() <= lag)[:, None, :, None] & (dx.abs() <= lag)[None, :, None, :]
    row, column = ((d + lag).clamp(0, size - 1) for d in (dy, dx))
    values = autocovariance[:, row[:, None, :, None], column[None, :, None, :]]
    pixels = shape[0] * shape[1]
    return (values * inside).reshape(-1, pixels, pixels)


def _block(by_lag: Tensor, chosen: Tensor) -> Tensor:
    """Return the matrix (M, M) between chosen pixels of a periodic plane, given by lag (H, W)."""
    y, x = chosen.nonzero().unbind(1)
    height, width = by_lag.shape
    return by_lag[(y[:, None] - y) % height, (x[:, None] - x) % width]


def _make_positive(autocovariance: Tensor, *, repair: bool) -> Tensor:
    """Return an autocovariance whose spectrum is positive at every frequency of a fine grid."""
    size = autocovariance.shape[1]
    lag, grid = size // 2, max(256, 8 * size)
    spectrum = _periodic_spectrum(autocovariance, (grid, grid))
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
    lowest = _periodic_spectrum(fixed, (grid, grid)).amin((1, 2))
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
