"""Adam in the eigenbasis of the gradient's covariance: fewer steps for small dense networks.

Matrices are turned, on each side that is not too large, into the eigenvectors of the smoothed
``G G^T`` or ``G^T G``, which one step of power iteration and a QR decomposition follow every few
steps; Adam runs there. Everything else is Adam as it is.

Vyas et al. 2024, arXiv:2409.11321.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Soap(torch.optim.Optimizer):
    """Adam in a slowly turning basis.

    Parameters
    ----------
    params : iterable of nn.Parameter
        Weights.
    lr : float
        Learning rate.
    betas : tuple of float
        Decays of the mean gradient and of its square.
    turn : float
        Decay of the covariances.
    every : int
        Steps between updates of the bases.
    largest : int
        Sides longer than this keep their own basis.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 2e-3,
        *,
        betas: tuple[float, float] = (0.95, 0.98),
        turn: float = 0.98,
        every: int = 20,
        largest: int = 300,
    ) -> None:
        options = {"lr": lr, "betas": betas, "turn": turn, "every": every, "largest": largest}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Do one step with the gradients that are there; the first one only looks."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if state:
                    self._step(weight, weight.grad, state, group)
                else:
                    self._start(weight.grad, state, group)

    def _start(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state["step"] = torch.zeros(())
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
        for side in range(2 if gradient.dim() == 2 else 0):
            if gradient.shape[side] <= group["largest"]:
                state[f"covariance_{side}"] = covariance(gradient, side)
                vectors = torch.linalg.eigh(state[f"covariance_{side}"]).eigenvectors
                state[f"basis_{side}"] = vectors.flip(1).contiguous()

    def _step(
        self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        one, two = group["betas"]
        state["step"] += 1
        count = int(state["step"])
        turned = gradient
        left, right = state.get("basis_0"), state.get("basis_1")
        turned = turned if left is None else left.T @ turned
        turned = turned if right is None else turned @ right
        mean, square = state["mean"], state["square"]
        mean.lerp_(turned, 1 - one)
        square.mul_(two).addcmul_(turned, turned, value=1 - two)
        change = mean / ((square / (1 - two**count)).sqrt_().add_(1e-8))
        change = change if left is None else left @ change
        change = change if right is None else change @ right.T
        weight.add_(change, alpha=-group["lr"] / (1 - one**count))
        for side in (0, 1):
            if f"basis_{side}" not in state:
                continue
            smooth = state[f"covariance_{side}"]
            smooth.lerp_(covariance(gradient, side), 1 - group["turn"])
            if count % group["every"] == 0:
                basis = state[f"basis_{side}"]
                new = torch.linalg.qr(smooth @ basis).Q
                move = new.T @ basis
                state["mean"] = move @ state["mean"] if side == 0 else state["mean"] @ move.T
                state[f"basis_{side}"] = new


def covariance(gradient: Tensor, side: int) -> Tensor:
    """Return ``G G^T`` (side 0) or ``G^T G`` (side 1)."""
    return gradient @ gradient.T if side == 0 else gradient.T @ gradient
