"""Eight numbers that tell the network what kind of image it looks at.

Quantiles of the prediction error over the local scale, and how large, how discrete and how heavy
the errors are: measured for each kind of phase by the encoder, rounded to a byte each and stored.
"""

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.lattice import KINDS
from astro_vq.entropy.integer_network import LARGEST_INPUT, STATISTICS
from astro_vq.errors import FormatError

Integers = npt.NDArray[np.int64]

_LEVELS = (0.25, 0.5, 0.75, 0.95, 0.99)
_UNIT = 1 / 16
_SUM_OF_TWELVE = 192.0  # a local scale is a sum over twelve neighbours in sixteenths


def measure_statistics(prediction: Integers, scale: Integers, values: Integers) -> Integers:
    """Return the statistics (8,) of a phase, integers within -127 to 127.

    Parameters
    ----------
    prediction : ndarray of int64, shape (n,)
        In sixteenths.
    scale : ndarray of int64, shape (n,)
        Local scales, see `astro_vq.entropy.contexts.Context`.
    values : ndarray of int64, shape (n,)
        What was there; n is at least 1.
    """
    local = scale / _SUM_OF_TWELVE
    error = values - prediction / 16
    size = np.abs(error)
    heaviness = (size.mean() + 1e-3) / np.median(size + 0.3)
    numbers = [
        *np.log(np.quantile(size / local, _LEVELS) + 1e-3),
        np.log(np.median(local)),
        (np.rint(error) == 0).mean(),
        np.log(heaviness),
    ]
    return np.clip(np.rint(np.array(numbers) / _UNIT), -LARGEST_INPUT, LARGEST_INPUT).astype(
        np.int64
    )


def encode_statistics(table: dict[tuple[int, int], Integers]) -> bytes:
    """Return the statistics of the finest levels as bytes; all three kinds of each are there."""
    levels = len(table) // KINDS
    rows = [table[level, kind] for level in range(levels) for kind in range(KINDS)]
    return bytes([levels]) + b"".join(row.astype(np.int8).tobytes() for row in rows)


def decode_statistics(reader: ByteReader) -> dict[tuple[int, int], Integers]:
    """Read what `encode_statistics` wrote.

    Raises
    ------
    FormatError
        If the bytes are damaged.
    """
    levels = reader.byte()
    table: dict[tuple[int, int], Integers] = {}
    for level in range(levels):
        for kind in range(KINDS):
            row = np.frombuffer(reader.take(STATISTICS), np.int8).astype(np.int64)
            if row.min() < -LARGEST_INPUT:
                raise FormatError("damaged pixel stream: image statistics out of range")
            table[level, kind] = row
    return table
