"""Probabilities that streams of sparse tokens start from: data of the format, never changed.

``contexts-1`` are those of maps of coder 2, ``contexts-2`` those of maps and detail of coder 3;
``tests/benchmarks/train_contexts.py`` learns them.
"""

import functools
from importlib import resources

import numpy as np
from safetensors.numpy import load

from astro_vq.entropy.binary_coder import HALF, Integers


def start_contexts(version: int, name: str, count: int) -> Integers:
    """Return a copy of the shipped probabilities; one half where their number is another.

    Parameters
    ----------
    version : int
        Of the file.
    name : str
        ``maps`` or ``detail``.
    count : int
        How many are needed.
    """
    shipped = _read(version).get(name)
    if shipped is None or shipped.size != count:
        return np.full(count, HALF, np.int64)
    return shipped.copy()


@functools.cache
def _read(version: int) -> dict[str, Integers]:
    path = resources.files("astro_vq.pretrained") / "tokens" / f"contexts-{version}.safetensors"
    if not path.is_file():
        return {}
    arrays = {name: np.asarray(a, np.int64) for name, a in load(path.read_bytes()).items()}
    return {"maps": arrays["probabilities"]} if "probabilities" in arrays else arrays
