"""Names of FITS files; loads nothing."""

import os
from pathlib import Path

_SUFFIXES = (".fits", ".fit", ".fts")
_PACKINGS = (".fz", ".gz", ".bz2")


def is_fits_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file name is one of FITS: .fits, .fit or .fts, also with .fz, .gz or .bz2."""
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in _PACKINGS:
        suffix = Path(path.stem).suffix.lower()
    return suffix in _SUFFIXES
