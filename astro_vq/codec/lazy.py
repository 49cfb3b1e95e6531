"""Images as dask arrays."""

from typing import Any

import numpy as np

from astro_vq.codec.section import Section
from astro_vq.errors import DataError


def dask_array(section: Section, chunks: Any, label: object, where: str) -> Any:  # noqa: ANN401
    """Return a section as a `dask.array`, which decodes a chunk when it is computed.

    Parameters
    ----------
    section : Section
        The image.
    chunks : int, tuple or str
        As dask takes them.
    label : object
        What tells the image from others; equal labels give equal names of tasks.
    where : str
        File and HDU, for messages.

    Raises
    ------
    DataError
        dask is not installed.
    """
    try:
        import dask.array
        from dask.base import tokenize
    except ImportError as err:
        raise DataError(f'{where}: to_dask needs dask: pip install "astro-vq[dask]"') from err
    make: Any = dask.array.from_array  # it has no types
    return make(
        section,
        chunks=chunks,
        name=f"avq-{tokenize(label, chunks)}",
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * section.ndim, section.dtype),
    )
