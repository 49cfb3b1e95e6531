"""Write the density shapes that the entropy coder builds its tables from.

Run as ``python -m astro_vq.training.density_tables shapes-1.safetensors``. The file is data of the
format, not code: it is made once, shipped, and never changed under the same version, so that no
machine needs to evaluate these functions to the last bit.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from scipy import stats

FREEDOMS = (np.inf, 20.0, 10.0, 6.0, 4.0, 2.7, 1.8, 1.2)
GRID = 32  # points per unit of scale
REACH = 32  # units of scale
TOTAL_BITS = 30
_QUARTILE = 0.6744897501960817


def shapes() -> np.ndarray:
    """Return the upper half of the cumulative distributions.

    Student's t of several degrees of freedom, each with the quartiles of a unit Gaussian.

    Returns
    -------
    ndarray of uint32, shape (8, 1025)
        ``2**30 * (F(x) - 1/2)`` for x from 0 to 32 in steps of 1/32.
    """
    x = np.arange(GRID * REACH + 1) / GRID
    rows = []
    for freedom in FREEDOMS:
        law = stats.norm if np.isinf(freedom) else stats.t(freedom)
        stretch = law.ppf(0.75) / _QUARTILE
        rows.append(np.rint((0.5 - law.sf(x * stretch)) * 2**TOTAL_BITS))
    return np.stack(rows).astype(np.uint32)


def main() -> None:
    """Write the file named on the command line."""
    save_file({"upper_half": shapes()}, sys.argv[1], metadata={"version": "1"})


if __name__ == "__main__":
    main()
