"""A small network in exact integer arithmetic, so that it says the same on every machine.

Weights are integers of eight bits, activations of seven. Products are summed in float32, where
every partial sum stays below ``2**24`` and nothing is ever rounded, whatever the order of
summation, number of threads or device [1]_.

::

    inputs (28) -> 32 -> 32 -> outputs        z = clip(floor((W x + b) / 64), 0, 127)
    statistics (8) -> 32 -> b of each layer

The statistics describe the image: they modulate the biases, so that one network serves them all.

References
----------
.. [1] Balle, Johnston, Minnen 2019, "Integer networks for data compression with latent-variable
   models", ICLR.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

INPUTS, STATISTICS, HIDDEN = 28, 8, 32
LARGEST_INPUT = 127
LAYERS = ("statistics", "modulation", "first", "second", "last")
_SHIFT = np.float32(1 / 64)

Floats = npt.NDArray[np.float32]


class IntegerNetwork:
    """Weights and the two passes: statistics to biases, inputs to outputs.

    Parameters
    ----------
    weights : mapping of str to ndarray of integers
        ``statistics`` (32, 8), ``modulation`` (64 + O, 32), ``first`` (32, 28), ``second``
        (32, 32), ``last`` (O, 32), all within -127 to 127; ``statistics_bias`` (32,) and
        ``modulation_bias`` (64 + O,) within ``2**20``.

    Raises
    ------
    ValueError
        If a weight is missing, of another shape or so large that a sum could be rounded.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[np.integer]]) -> None:
        outputs = len(weights["last"])
        shapes = {
            "statistics": (HIDDEN, STATISTICS),
            "modulation": (2 * HIDDEN + outputs, HIDDEN),
            "first": (HIDDEN, INPUTS),
            "second": (HIDDEN, HIDDEN),
            "last": (outputs, HIDDEN),
            "statistics_bias": (HIDDEN,),
            "modulation_bias": (2 * HIDDEN + outputs,),
        }
        for name, shape in shapes.items():
            limit = 1 << 20 if name.endswith("bias") else 127
            if weights[name].shape != shape or np.abs(weights[name].astype(np.int64)).max() > limit:
                raise ValueError(f"weights {name!r} must be {shape} and within {limit}")
        self._weights = {name: weights[name].astype(np.float32) for name in shapes}
        self.outputs = outputs

    def biases(self, statistics: npt.NDArray[np.integer]) -> Floats:
        """Return the biases (64 + O,) that statistics (8,) within -127 to 127 ask for."""
        w = self._weights
        hidden = _activate(w["statistics"] @ statistics.astype(np.float32) + w["statistics_bias"])
        total: Floats = w["modulation"] @ hidden + w["modulation_bias"]
        return total

    def run(self, inputs: Floats, biases: Floats) -> npt.NDArray[np.int64]:
        """Return outputs (O, n) of inputs (28, n), integers within -127 to 127 as float32.

        Parameters
        ----------
        inputs : ndarray of float32, shape (28, n)
        biases : ndarray of float32, shape (64 + O,) or (64 + O, n)
            From `biases`; per column where the columns belong to different images.
        """
        w = self._weights
        if biases.ndim == 1:
            biases = biases[:, None]
        hidden = _activate(w["first"] @ inputs + biases[:HIDDEN])
        hidden = _activate(w["second"] @ hidden + biases[HIDDEN : 2 * HIDDEN])
        return (w["last"] @ hidden + biases[2 * HIDDEN :]).astype(np.int64)


def _activate(total: Floats) -> Floats:
    total *= _SHIFT
    np.floor(total, out=total)
    return np.clip(total, 0, 127, out=total)
