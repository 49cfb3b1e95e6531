"""Which files a command line means: names, folders, patterns, and lists of all these in a file."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from astro_vq.errors import DataError
from astro_vq.io.names import is_fits_name


class FoundFile(NamedTuple):
    """A file, and the folder that it lies in below the folder that was given.

    Attributes
    ----------
    path : Path
        The file.
    below : Path
        Empty for a file that was given by name.
    """

    path: Path
    below: Path = Path()


def is_compressed_name(path: Path) -> bool:
    """Whether a file name is that of a compressed file (.avq)."""
    return path.suffix.lower() == ".avq"


def find_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    accepts: Callable[[Path], bool] = is_fits_name,
    what: str = "FITS image",
) -> list[FoundFile]:
    """Return the files that names, folders, patterns and lists stand for, each once, in order.

    Parameters
    ----------
    paths : iterable of path-like
        Files (returned as they are, whether they exist or not), folders (all files below with an
        accepted name, hidden ones left out), patterns such as ``night*/*.fits`` that the shell
        left alone, and ``@list.txt``: a file with one of these on each line.
    accepts : callable
        Says whether a name in a folder is one of those to work on.
    what : str
        What to call these files in messages.

    Raises
    ------
    DataError
        A folder holds no such file, or a pattern fits none.
    OSError
        A list cannot be read.
    """
    found: dict[Path, FoundFile] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            some = [FoundFile(p, p.parent.relative_to(path)) for p in _below(path, accepts)]
            if not some:
                raise DataError(f"{path}: no {what} in this folder or below")
        elif path.exists():
            some = [FoundFile(path)]
        elif str(path).startswith("@"):
            some = find_files(read_list(Path(str(path)[1:])), accepts=accepts, what=what)
        elif any(sign in str(path) for sign in "*?["):
            some = [FoundFile(Path(p)) for p in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            if not some:
                raise DataError(f"{path}: no file fits this pattern")
        else:
            some = [FoundFile(path)]
        for file in some:
            found.setdefault(file.path, file)
    return list(found.values())


def read_list(source: Path | TextIO) -> list[str]:
    """Return the lines of a file of names; empty ones and those that begin with # are left out.

    Names are relative to the current folder, as on a command line.
    """
    if isinstance(source, Path):
        with source.open(encoding="utf-8", errors="surrogateescape") as file:
            return read_list(file)
    lines = (line.rstrip("\r\n") for line in source)
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _below(folder: Path, accepts: Callable[[Path], bool]) -> Sequence[Path]:
    return sorted(_walk(folder, accepts))


def _walk(folder: Path, accepts: Callable[[Path], bool]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and accepts(path) and path.is_file():
                yield path
