"""How large a model would be, told without the memory that it needs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from astro_vq.config import ModelConfig
from astro_vq.models import build_model

_KEEPING = {F.normalize, Tensor.mul, Tensor.sub, Tensor.div}
"""What leaves a tensor's shape as it is, where the rest are plain numbers."""


class _ShapesAlone(TorchFunctionMode):
    """Take the shapes of what first weights are made by, and leave out the arithmetic.

    torch could do this on its device ``meta`` too, but loads its compiler for it, which takes
    more than a second.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        options = dict(kwargs or {})
        if function in (torch.rand, torch.randn):
            options.pop("generator", None)
            return torch.empty(*args, **options | {"device": "meta"})
        if function in _KEEPING and not any(isinstance(arg, Tensor) for arg in args[1:]):
            return args[0]
        if function is torch.linalg.qr:  # of which models take Q, of matrices that are not wide
            return args[0], args[0]
        return function(*args, **options)


def count_numbers(config: ModelConfig, channels: int) -> int:
    """Return how many numbers the state of a model has.

    Parameters
    ----------
    config : ModelConfig
        What the model is.
    channels : int
        Channels of its images.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _ShapesAlone():
        return sum(tensor.numel() for tensor in build_model(config, channels).state_dict().values())
