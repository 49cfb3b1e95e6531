"""The learned model of pixels: networks, templates and tables, shipped as versioned format data.

The file is part of the file format: what it holds never changes under one version.
"""

import functools
import importlib.resources

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from astro_vq.codec.lattice import KINDS
from astro_vq.entropy.contexts import ContextTables
from astro_vq.entropy.integer_network import IntegerNetwork
from astro_vq.entropy.templates import Located, TemplateFamily

ENGINE_VERSION = 1
_SHIFT_BITS = 11  # shift = output * local scale / 2**11, in 1/256
_SCALE_OFFSET = 137  # 16 * log2(2 * 12 * 16), rounded: half the mean difference has scale 1
_OUTPUT_STEPS = 64  # scale outputs are in 1/64 of a sixteenth of an octave
_LARGEST_OUTPUT = 8191

Integers = npt.NDArray[np.int64]


class PixelModel:
    """The model of one kind of phase.

    Parameters
    ----------
    network : IntegerNetwork
        Outputs: shift, scale, and a score for each template.
    templates : TemplateFamily
        The distributions to choose from.
    tables : ContextTables
        What the inputs are made with.
    typical : ndarray of int64, shape (8,)
        Statistics of a typical image, for images too small to store their own.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        templates: TemplateFamily,
        tables: ContextTables,
        typical: Integers,
    ) -> None:
        self.templates = templates
        self._network = network
        self.tables = tables
        self._typical = typical

    def locate(
        self, neighbours: Integers, prediction: Integers, statistics: Integers | None
    ) -> Located:
        """Return the distribution of each pixel.

        Parameters
        ----------
        neighbours : ndarray of int64, shape (24, n)
        prediction : ndarray of int64, shape (n,)
            In sixteenths.
        statistics : ndarray of int64, shape (8,), or None
            Of the image, see `astro_vq.codec.statistics`.
        """
        context = self.tables.context(neighbours, prediction)
        biases = self._network.biases(self._typical if statistics is None else statistics)
        outputs = self._network.run(context.inputs, biases)
        centre = (prediction << 4) + (outputs[0] * context.scale >> _SHIFT_BITS)
        stretch = np.clip(outputs[1], -_LARGEST_OUTPUT - 1, _LARGEST_OUTPUT)
        scale = (stretch + context.log_scale * _OUTPUT_STEPS) // _OUTPUT_STEPS - _SCALE_OFFSET
        return self.templates.locate(outputs[2:].argmax(0), centre, scale)


@functools.cache
def load_engine() -> tuple[PixelModel, ...]:
    """Return the models of the three kinds of phases."""
    name = f"pixels-{ENGINE_VERSION}.safetensors"
    folder = importlib.resources.files("astro_vq.pretrained")
    tensors = load((folder / "pixels" / name).read_bytes())
    tables = ContextTables(tensors["compress"], tensors["logarithm"].astype(np.int64))
    models = []
    for kind in range(KINDS):
        mark = f"phase{kind}."
        own = {k.removeprefix(mark): v for k, v in tensors.items() if k.startswith(mark)}
        templates = TemplateFamily(own.pop("templates"))
        typical = own.pop("typical").astype(np.int64)
        models.append(PixelModel(IntegerNetwork(own), templates, tables, typical))
    return tuple(models)
