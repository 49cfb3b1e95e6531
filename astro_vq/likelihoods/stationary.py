"""Stationary noise, known by its autocovariance: exact for cutouts, by FFT for whole images."""

import functools

import torch
from torch import Tensor

from astro_vq.likelihoods.autocovariance import (
    SPECTRUM_FLOOR,
    block,
    check_autocovariance,
    make_positive,
    over_plane,
    periodic_spectrum,
    unwrap,
)
from astro_vq.likelihoods.gaussian import LOG_TWO_PI, factorise, log_density, whiten
from astro_vq.likelihoods.marginal import FactorCache, Known, boxes_of, complete

LARGEST_BLOCK = 4096
"""Most masked (or valid) pixels of one plane that are marginalised: a factor of 128 MiB."""


TAME_RANGE = 1e4
"""Largest ratio of powers for which single precision is good enough to fill masked pixels."""

_CPU = torch.device("cpu")


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

    Under a mask the plane is the smallest rectangle around the valid pixels, so that an image has
    the same density whatever it is padded with. Masked pixels within are marginalised exactly,
    with one factorisation for each different mask.

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
        values = check_autocovariance(autocovariance)
        self.autocovariance = make_positive(values, repair=repair)
        self.lag = values.shape[1] // 2
        self._is_tame = _range(self.autocovariance) < TAME_RANGE
        self._small = functools.lru_cache(maxsize=256)(
            self._compute
        )  # a number for each pixel or lag
        self._large = functools.lru_cache(maxsize=8)(
            self._compute
        )  # a number for each pair of pixels
        self._factors = FactorCache()

    def __reduce__(self) -> tuple[type["StationaryNoise"], tuple[Tensor]]:
        return type(self), (self.autocovariance,)

    def spectrum(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return the power (C or 1, H, W) of each Fourier mode of a periodic plane."""
        return self._small("spectrum", shape, like.dtype, like.device)

    def factor(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return the Cholesky factor (C or 1, H W, H W) of the pixels of a plane."""
        return self._large("factor", shape, like.dtype, like.device)

    def _compute(
        self, what: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        values: Tensor
        if what == "factor":
            everything = torch.ones(shape, dtype=torch.bool)
            lags = over_plane(self.autocovariance, shape)
            values = torch.stack([factorise(block(plane, everything)) for plane in lags])
        elif what == "inverse":
            values = torch.cholesky_inverse(self._large("factor", shape, dtype, device))
        elif what == "lags":  # of a plane that does not wrap
            values = over_plane(self.autocovariance, shape)
        else:
            values = periodic_spectrum(self.autocovariance, shape)
            # frequencies between those that the repair looked at may dip a little below them
            variance = self.autocovariance[:, self.lag, self.lag, None, None]
            values = values.clamp_min(0.5 * SPECTRUM_FLOOR * variance)
            if what != "spectrum":  # by lag, of a periodic plane
                values = 1 / values if what == "periodic precision" else values
                values = unwrap(torch.fft.ifft2(values).real)
        return values.to(device, dtype)

    def log_density(self, residual: Tensor, mask: Tensor | None, *, exact_pixels: int) -> Tensor:
        """Return the log density of images.

        Parameters
        ----------
        residual : Tensor (B, C, H, W)
            Pixels less their means.
        mask : Tensor of bool (B, C, H, W) or None
            True where a pixel counts; the others are marginalised.
        exact_pixels : int
            Largest plane, in pixels, that takes the exact path.

        Returns
        -------
        Tensor (B,)
            Nats.

        Raises
        ------
        ValueError
            A plane has more than `LARGEST_BLOCK` masked and valid pixels.
        """
        self._check(residual)
        if mask is not None and bool(mask.all()):
            mask = None
        rows = len(self.autocovariance)
        result = residual.new_zeros(len(residual))
        for row in range(rows):  # channels that share an autocovariance go together
            planes = residual[:, row::rows].flatten(0, 1)
            if mask is None:
                density = self._whole(planes, row, exact_pixels)
            else:
                masks = mask[:, row::rows].flatten(0, 1)
                density = self._masked(planes, masks, row, exact_pixels)
            result = result + density.view(len(residual), -1).sum(1)
        return result

    def _check(self, residual: Tensor) -> None:
        planes = len(self.autocovariance)
        if planes not in (1, residual.shape[1]):
            raise ValueError(
                f"the autocovariance has {planes} channels, the image has {residual.shape[1]}"
            )

    def _masked(self, planes: Tensor, mask: Tensor, row: int, exact_pixels: int) -> Tensor:
        """Return the log density (P,) of planes (P, H, W) with masks."""
        results, places = [], []
        for box, some in boxes_of(mask):
            where = torch.tensor(some, device=mask.device)
            places.append(where)
            if box is None:  # nothing is valid
                results.append(planes.new_zeros(len(some)))
                continue
            valid = mask[where][:, *box]
            values = planes[where][:, *box]
            if bool(valid.all()):
                results.append(self._whole(values, row, exact_pixels))
            else:
                results.append(self._with_holes(values * valid, valid, row, exact_pixels))
        return torch.cat(results)[torch.cat(places).argsort()]

    def _whole(self, planes: Tensor, row: int, exact_pixels: int) -> Tensor:
        """Return the log density (P,) of planes (P, H, W) without a mask."""
        shape = (planes.shape[1], planes.shape[2])
        if planes[0].numel() <= exact_pixels:
            return log_density(planes.flatten(1), self.factor(shape, planes)[row])
        return self._whole_periodic(planes, row)

    def _whole_periodic(self, planes: Tensor, row: int) -> Tensor:
        power = self.spectrum((planes.shape[1], planes.shape[2]), planes)[row]
        half = power[:, : planes.shape[2] // 2 + 1]
        modes = torch.fft.rfft2(planes, norm="ortho")
        # columns of the half plane stand for two, but for the first and the middle one
        twice = torch.full((half.shape[1],), 2.0, dtype=planes.dtype, device=planes.device)
        twice[0] = 1
        if planes.shape[2] % 2 == 0:
            twice[-1] = 1
        energy = (modes.real.square() + modes.imag.square()) * (twice / half)
        constant = power.log().sum() + power.numel() * LOG_TWO_PI
        density: Tensor = -0.5 * (energy.sum((1, 2)) + constant)
        return density

    def _with_holes(self, planes: Tensor, mask: Tensor, row: int, exact_pixels: int) -> Tensor:
        """Return the log density (P,) of the valid part of planes that are zero elsewhere."""
        shape = (planes.shape[1], planes.shape[2])
        is_exact = planes[0].numel() <= exact_pixels
        dtype = planes.dtype if self._is_tame else _double(planes.device)
        known = (self._know_exactly if is_exact else self._know_periodic)(shape, row, dtype)
        completed = complete(
            planes.detach().flatten(1).to(dtype),
            mask.flatten(1),
            known,
            self._factors,
            (row, shape, is_exact, dtype),
        )
        filled = torch.where(mask, planes, completed.planes.view_as(planes).to(planes))
        return self._whole(filled, row, exact_pixels) + completed.gain.to(planes)

    def _know_exactly(self, shape: tuple[int, int], row: int, dtype: torch.dtype) -> Known:
        def factor(planes: Tensor) -> Tensor:
            return self.factor(shape, planes)[row]

        def precision(chosen: Tensor) -> Tensor:
            places = chosen.nonzero()[:, 0]
            return self._large("inverse", shape, dtype, _CPU)[row][places[:, None], places]

        def covariance(chosen: Tensor) -> Tensor:
            lags = self._small("lags", shape, dtype, _CPU)[row]
            return block(lags, chosen.view(shape))

        return Known(
            solve=lambda planes: torch.cholesky_solve(planes.T, factor(planes)).T,
            apply=lambda planes: planes @ factor(planes) @ factor(planes).T,
            precision=precision,
            covariance=covariance,
            log_det=lambda: 2 * factor(torch.empty(0, dtype=dtype)).diagonal().log().sum(),
            largest_block=LARGEST_BLOCK,
        )

    def _know_periodic(self, shape: tuple[int, int], row: int, dtype: torch.dtype) -> Known:
        def multiply(planes: Tensor, *, invert: bool) -> Tensor:
            power = self.spectrum(shape, planes)[row, :, : shape[1] // 2 + 1]
            modes = torch.fft.rfft2(planes.view(-1, *shape))
            modes = modes / power if invert else modes * power
            result: Tensor = torch.fft.irfft2(modes, s=shape)
            return result.flatten(1)

        def between(what: str, chosen: Tensor) -> Tensor:
            return block(self._small(what, shape, dtype, _CPU)[row], chosen.view(shape))

        return Known(
            solve=functools.partial(multiply, invert=True),
            apply=functools.partial(multiply, invert=False),
            precision=functools.partial(between, "periodic precision"),
            covariance=functools.partial(between, "periodic lags"),
            log_det=lambda: self._small("spectrum", shape, dtype, _CPU)[row].log().sum(),
            largest_block=LARGEST_BLOCK,
        )

    def whiten(self, residual: Tensor, *, exact_pixels: int) -> Tensor:
        """Return residuals (B, C, H, W) that are white and of variance one if the noise is ours."""
        self._check(residual)
        shape = (residual.shape[2], residual.shape[3])
        if shape[0] * shape[1] > exact_pixels:
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


def _double(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _range(autocovariance: Tensor) -> float:
    """Return the ratio of the largest and the smallest power."""
    side = max(64, 4 * autocovariance.shape[1])
    power = periodic_spectrum(autocovariance, (side, side))
    return float((power.amax((1, 2)) / power.amin((1, 2))).max())
