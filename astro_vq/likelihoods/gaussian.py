"""Normal densities with a full covariance: factors and their repair."""

import math
import warnings

import torch
from torch import Tensor

from astro_vq.errors import AstroVQWarning

LOG_TWO_PI = math.log(2 * math.pi)

SMALLEST_EIGENVALUE = 1e-9
"""Eigenvalues below this part of the largest count as zero: whitening would blow up rounding."""


def factorise(covariance: Tensor, *, repair: bool = True) -> Tensor:
    """Return the Cholesky factor of a covariance, repaired aloud or refused where it has none.

    Parameters
    ----------
    covariance : Tensor (N, N)
        Symmetric; float64 on the CPU.
    repair : bool
        Raise eigenvalues to `SMALLEST_EIGENVALUE` of the largest, with a warning that says how
        many and how far; otherwise refuse.

    Returns
    -------
    Tensor (N, N)
        Lower triangular.

    Raises
    ------
    ValueError
        Not a finite symmetric matrix, or not positive definite and `repair` is off.
    """
    if covariance.dim() != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"a covariance must be square, got {tuple(covariance.shape)}")
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("a covariance must be finite")
    largest = covariance.abs().max()
    if not bool((covariance - covariance.T).abs().max() <= 1e-6 * largest):
        raise ValueError("a covariance must be symmetric")
    symmetric = (covariance + covariance.T) / 2
    factor, failed = torch.linalg.cholesky_ex(symmetric)
    diagonal = factor.diagonal()
    # pivots are a lower bound of the spread of eigenvalues: cheap, and enough to spot trouble
    if not int(failed) and bool(diagonal.min() ** 2 > SMALLEST_EIGENVALUE * diagonal.max() ** 2):
        return torch.as_tensor(factor)
    values, vectors = torch.linalg.eigh(symmetric)
    floor = SMALLEST_EIGENVALUE * values.max()
    low = values < floor
    if not bool(low.any()):
        return torch.as_tensor(factor)
    what = (
        f"the covariance is not positive definite: {int(low.sum())} of {len(values)} eigenvalues "
        f"lie below {float(floor):.3g}, the lowest is {float(values.min()):.3g}"
    )
    if not repair or not bool(values.max() > 0):
        raise ValueError(what)
    warnings.warn(f"{what}; they were raised to it", AstroVQWarning, stacklevel=3)
    fixed = (vectors * values.clamp_min(floor)) @ vectors.T
    return torch.as_tensor(torch.linalg.cholesky((fixed + fixed.T) / 2))


def whiten(residual: Tensor, factor: Tensor) -> Tensor:
    """Return residuals (B, N) in which a covariance L L^T has become the identity."""
    white: Tensor = torch.linalg.solve_triangular(factor.to(residual), residual.T, upper=False)
    return white.T


def log_density(residual: Tensor, factor: Tensor) -> Tensor:
    """Return the log density (B,), nats, of residuals (B, N) under a Cholesky factor (N, N)."""
    constant = factor.diagonal().log().sum() + 0.5 * len(factor) * LOG_TWO_PI
    return -0.5 * whiten(residual, factor).square().sum(1) - constant.to(residual)
