"""What codes residuals under the tables that `astro_vq.entropy.local_scale` picks for them."""

import functools

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.coder import StaticModel
from astro_vq.entropy.local_scale import table_of
from astro_vq.entropy.tables import frequencies

Integers = npt.NDArray[np.int64]


@functools.lru_cache(maxsize=8192)
def table_model(number: int) -> StaticModel:
    """Return the model of a table's number; the last ones are kept."""
    return StaticModel(frequencies(*table_of(number)))


def group_tables(numbers: Integers) -> tuple[npt.NDArray[np.intp], list[tuple[int, int, int]]]:
    """Return an order that sorts table numbers, and (number, start, stop) of each group."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    stops = np.append(starts[1:], ordered.size)
    groups = zip(ordered[starts].tolist(), starts.tolist(), stops.tolist(), strict=True)
    return order, list(groups)
