"""Normal pixels that are correlated: given covariance, stationary noise, or low rank, learnt."""

import sys
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from astro_vq.likelihoods.base import Likelihood, standard_normal_like, sum_except_batch
from astro_vq.likelihoods.gaussian import LOG_TWO_PI, factorise, log_density, whiten
from astro_vq.likelihoods.marginal import FactorCache, Known, complete
from astro_vq.likelihoods.normal import Normal, NormalParameters
from astro_vq.likelihoods.stationary import StationaryNoise

COVARIANCES = ("stationary", "full", "low-rank")

METHODS = ("auto", "exact", "circulant")

EXACT_PIXELS = 1024
"""Largest plane, in pixels, for which 'auto' takes the exact path."""


class MultivariateNormalParameters(NamedTuple):
    """Parameters of `MultivariateNormal`.

    Attributes
    ----------
    mean : Tensor (B, C, H, W)
        Mean, network units.
    log_scale : Tensor, broadcasts to (B, C, H, W)
        Natural logarithm of what the noise of each pixel is multiplied by; of the standard
        deviation of the independent part for 'low-rank'.
    factor : Tensor (B, R, C, H, W)
        Columns of the low-rank part; R is zero otherwise.
    """

    mean: Tensor
    log_scale: Tensor
    factor: Tensor


class MultivariateNormal(Likelihood[MultivariateNormalParameters]):
    """Normal pixels with a covariance: ``x = mean + scale * noise``.

    ================  ==========================================================  =============
    covariance        noise                                                       from
    ================  ==========================================================  =============
    ``'stationary'``  autocovariance; channels independent                        the data
    ``'full'``        covariance matrix of all C H W pixels, for one image shape  the caller
    ``'low-rank'``    ``diag(scale**2) + V V^T``, R columns over all pixels       the decoder
    ================  ==========================================================  =============

    Masked pixels are marginalised exactly, for every kind; given and stationary noise does so by
    filling them with their means, so that first derivatives are exact and second ones are not
    to be had under a mask. Until an autocovariance is set, stationary noise is white with
    variance one, and the likelihood is `Normal`.

    Parameters
    ----------
    covariance : {'stationary', 'full', 'low-rank'}
        Kind of covariance.
    rank : int
        Columns R for 'low-rank'.
    scale : {'one', 'given', 'learnt', 'bounded'}
        As for `Normal`; 'low-rank' reads 'one' as 'learnt'.
    floor : float
        As for `Normal`.
    method : {'auto', 'exact', 'circulant'}
        Path of stationary noise, see `StationaryNoise`; 'auto' is exact up to `exact_pixels`.
    exact_pixels : int
        See `method`; pixels of one plane.
    repair : bool
        Make a covariance that is not positive definite so, with a warning; otherwise refuse it.

    Attributes
    ----------
    is_white : bool
        Take stationary noise as white, of the same variance, in training mode: for the first
        part of a training, see `astro_vq.training.noise.warm_noise`.
    """

    def __init__(
        self,
        covariance: str = "stationary",
        *,
        rank: int = 4,
        scale: str = "one",
        floor: float = 0.0,
        method: str = "auto",
        exact_pixels: int = EXACT_PIXELS,
        repair: bool = True,
    ) -> None:
        super().__init__()
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance must be one of {COVARIANCES}, got {covariance!r}")
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        if rank < 1:
            raise ValueError(f"rank must be positive, got {rank}")
        self.kind = covariance
        self.rank = rank if covariance == "low-rank" else 0
        self.method = method
        self.exact_pixels = exact_pixels
        self.repair = repair
        self.is_white = False
        if covariance == "low-rank" and scale == "one":
            scale = "learnt"
        self.independent = Normal(scale, floor=floor)
        self.noise = StationaryNoise(torch.ones(1, 1, 1))
        self._set_cholesky(torch.zeros(0, 0, dtype=torch.float64))

    @classmethod
    def from_autocovariance(cls, autocovariance: Any, **options: Any) -> Self:  # noqa: ANN401
        """Build the likelihood of stationary noise, see `set_autocovariance`."""
        likelihood = cls("stationary", **options)
        likelihood.set_autocovariance(autocovariance)
        return likelihood

    @classmethod
    def from_covariance(
        cls,
        covariance: Any = None,  # noqa: ANN401
        *,
        cholesky: Any = None,  # noqa: ANN401
        precision: Any = None,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Build the likelihood of a given covariance, see `set_covariance`."""
        likelihood = cls("full", **options)
        likelihood.set_covariance(covariance, cholesky=cholesky, precision=precision)
        return likelihood

    @property
    def pixels(self) -> int | None:
        """Numbers of an image (C H W) that 'full' is of; None for the other kinds."""
        return len(self.cholesky) if self.kind == "full" else None

    def set_autocovariance(self, autocovariance: Any) -> None:  # noqa: ANN401
        """Set the autocovariance of stationary noise.

        Parameters
        ----------
        autocovariance : array (2L+1, 2L+1) or (C, 2L+1, 2L+1)
            Network units squared, zero lag in the middle; as `data.noise.autocovariance` gives.

        Raises
        ------
        ValueError
            The kind is another, the array is no autocovariance, or it is not positive definite
            and `repair` is off.
        """
        if self.kind != "stationary":
            raise ValueError(f"covariance {self.kind!r} takes no autocovariance")
        values = torch.as_tensor(autocovariance, dtype=torch.float64)
        self.noise = StationaryNoise(values, repair=self.repair)

    def set_covariance(
        self,
        covariance: Any = None,  # noqa: ANN401
        *,
        cholesky: Any = None,  # noqa: ANN401
        precision: Any = None,  # noqa: ANN401
    ) -> None:
        """Set the covariance of all pixels of an image, flattened as (C, H, W).

        Parameters
        ----------
        covariance, cholesky, precision : array (N, N)
            One of them: the covariance, its lower Cholesky factor, or its inverse.

        Raises
        ------
        ValueError
            None or more than one is given, or the matrix is none of its kind.
        """
        given = [m for m in (covariance, cholesky, precision) if m is not None]
        if self.kind != "full":
            raise ValueError(f"covariance {self.kind!r} takes no matrix")
        if len(given) != 1:
            raise ValueError("give one of covariance, cholesky and precision")
        matrix = torch.as_tensor(given[0]).detach().to("cpu", torch.float64)
        if cholesky is not None:
            square = matrix.dim() == 2 and matrix.shape[0] == matrix.shape[1]
            if not square or bool(matrix.triu(1).any()) or not bool((matrix.diagonal() > 0).all()):
                raise ValueError(
                    "a Cholesky factor must be square and lower triangular, its diagonal positive"
                )
        elif precision is not None:
            inverse = torch.cholesky_inverse(factorise(matrix, repair=self.repair))
            matrix = factorise(inverse, repair=self.repair)
        else:
            matrix = factorise(matrix, repair=self.repair)
        self._set_cholesky(matrix)

    def _set_cholesky(self, factor: Tensor) -> None:
        self.cholesky = factor
        self._inverse: Tensor | None = None  # of the covariance, where masks have asked for it
        self._factors = FactorCache()

    def get_extra_state(self) -> Tensor:
        """Return what describes the noise, float64 on the CPU, for the state of the model."""
        return self.noise.autocovariance if self.kind == "stationary" else self.cholesky

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the noise that `get_extra_state` gave."""
        if self.kind == "stationary":
            self.noise = StationaryNoise(state, repair=False)
        else:
            self._set_cholesky(state.detach().to("cpu", torch.float64))

    def raw_channels(self, channels: int) -> int:
        """Return the channels of mean and scale as for `Normal`, and C R for 'low-rank'."""
        return self.independent.raw_channels(channels) + channels * self.rank

    def forward(self, raw: Tensor, scale: Tensor | None = None) -> MultivariateNormalParameters:
        """Turn (B, raw_channels, H, W) into parameters; see `Likelihood.forward`."""
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        # raw_channels(1) channels of raw belong to each channel of the image
        channels = raw.shape[1] // self.raw_channels(1)
        own = self.independent.raw_channels(channels)
        mean, log_scale = self.independent(raw[:, :own], scale)
        factor = raw[:, own:].reshape(len(raw), self.rank, *mean.shape[1:])
        return MultivariateNormalParameters(mean, log_scale, factor)

    def mean(self, parameters: MultivariateNormalParameters) -> Tensor:
        """Return the mean (B, C, H, W)."""
        return parameters.mean

    def _exact_pixels(self) -> int:
        return {"auto": self.exact_pixels, "exact": sys.maxsize, "circulant": 0}[self.method]

    def _log_prob(
        self, x: Tensor, parameters: MultivariateNormalParameters, mask: Tensor | None
    ) -> Tensor:
        if self.kind == "low-rank":
            return _low_rank_log_prob(x, parameters, mask)
        log_scale = parameters.log_scale.expand_as(x)
        residual = (x - parameters.mean) * torch.exp(-log_scale)
        if self.kind == "stationary" and self.is_white and self.training:
            lag = self.noise.lag
            sigma = self.noise.autocovariance[:, lag, lag].sqrt().to(x)[:, None, None]
            white = NormalParameters(parameters.mean, log_scale + sigma.log())
            return self.independent._log_prob(x, white, mask)
        if self.kind == "stationary":
            density = self.noise.log_density(residual, mask, exact_pixels=self._exact_pixels())
        else:
            density = self._full_log_density(residual, mask)
        counted = log_scale if mask is None else log_scale * mask
        return density - sum_except_batch(counted)

    def _full_log_density(self, residual: Tensor, mask: Tensor | None) -> Tensor:
        flat = residual.flatten(1)
        if flat.shape[1] != len(self.cholesky):
            raise ValueError(
                f"the covariance is of {len(self.cholesky)} pixels, an image of shape "
                f"{tuple(residual.shape[1:])} has {flat.shape[1]}"
            )
        factor = self.cholesky.to(flat)
        density = log_density(flat, factor)
        if mask is None:
            return density
        valid = mask.flatten(1)
        some = (~valid.all(1)).nonzero()[:, 0]
        if len(some) == 0:
            return density
        known = Known(
            solve=lambda planes: torch.cholesky_solve(planes.T, self.cholesky.to(planes)).T,
            apply=lambda planes: planes @ self.cholesky.to(planes) @ self.cholesky.T.to(planes),
            precision=self._precision,
            covariance=lambda chosen: (rows := self.cholesky[chosen]) @ rows.T,
            log_det=lambda: 2 * self.cholesky.diagonal().log().sum(),
            largest_block=flat.shape[1],
        )
        zeroed = (flat * valid)[some]
        completed = complete(zeroed.detach().double(), valid[some], known, self._factors, ())
        filled = torch.where(valid[some], zeroed, completed.planes.to(zeroed))
        marginal = log_density(filled, factor) + completed.gain.to(zeroed)
        return density.index_copy(0, some, marginal)

    def _precision(self, chosen: Tensor) -> Tensor:
        if self._inverse is None:
            self._inverse = torch.cholesky_inverse(self.cholesky)
        return self._inverse[chosen][:, chosen]

    def whiten(self, x: Tensor, parameters: MultivariateNormalParameters) -> Tensor:
        """Return residuals that are white, with variance one, if the likelihood is right.

        Parameters
        ----------
        x : Tensor (B, C, H, W)
            Pixels, all valid.
        parameters : MultivariateNormalParameters
            What `forward` gave; 'stationary' and 'full' only.
        """
        residual = (x - parameters.mean) * torch.exp(-parameters.log_scale)
        if self.kind == "stationary":
            return self.noise.whiten(residual, exact_pixels=self._exact_pixels())
        if self.kind == "full":
            return whiten(residual.flatten(1), self.cholesky).view_as(residual)
        raise ValueError("low-rank covariances have no whitening of fixed form")

    def sample(
        self, parameters: MultivariateNormalParameters, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (B, C, H, W); stationary noise does not wrap, whatever the method."""
        mean = parameters.mean
        if self.kind == "stationary":
            batch, channels, height, width = mean.shape
            pad = 2 * self.noise.lag
            larger = mean.new_empty(batch, channels, height + pad, width + pad)
            noise = self.noise.colour(standard_normal_like(larger, generator), (height, width))
        elif self.kind == "full":
            white = standard_normal_like(mean.flatten(1), generator)
            noise = (white @ self.cholesky.to(mean).T).view_as(mean)
        else:
            noise = standard_normal_like(mean, generator)
        result = mean + parameters.log_scale.exp() * noise
        if self.rank:
            weights = standard_normal_like(parameters.factor[:, :, 0, 0, 0], generator)
            result = result + torch.einsum("br,brchw->bchw", weights, parameters.factor)
        return result


def _low_rank_log_prob(
    x: Tensor, parameters: MultivariateNormalParameters, mask: Tensor | None
) -> Tensor:
    """Return the log density (B,) of ``diag + V V^T`` by the matrix determinant lemma."""
    scaled = torch.exp(-parameters.log_scale)
    valid = torch.ones_like(x) if mask is None else mask.to(x)
    residual = ((x - parameters.mean) * scaled * valid).flatten(1)  # (B, N)
    columns = (parameters.factor * (scaled * valid)[:, None]).flatten(2)  # (B, R, N)
    rank = columns.shape[1]
    inner = columns @ columns.mT + torch.eye(rank, dtype=x.dtype, device=x.device)
    factor = torch.linalg.cholesky(inner)  # (B, R, R), at least the identity: always there
    projected = (columns @ residual[:, :, None])[:, :, 0]
    part = torch.linalg.solve_triangular(factor, projected[:, :, None], upper=False)[:, :, 0]
    energy: Tensor = residual.square().sum(1) - part.square().sum(1)
    log_det: Tensor = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    log_det = log_det + 2 * sum_except_batch(parameters.log_scale * valid)
    return -0.5 * (energy + log_det + valid.flatten(1).sum(1) * LOG_TWO_PI)
