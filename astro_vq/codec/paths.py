"""Names and opening of the files that are read and written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from astro_vq.codec.container import SUFFIX
from astro_vq.io.atomic import atomic_writer

File = str | os.PathLike[str] | BinaryIO
"""A name or an open binary file."""

_PACKED = (".gz", ".bz2", ".fz")


def compressed_name(path: Path) -> Path:
    """Return ``image.fits.avq`` for ``image.fits``, also when that is packed (gz, bz2, fz)."""
    stem = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return stem.with_name(stem.name + SUFFIX)


def decompressed_name(source: File) -> Path:
    """Return ``image.fits`` for ``image.fits.avq``.

    Raises
    ------
    ValueError
        The name does not end in ``.avq``.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if not name.lower().endswith(SUFFIX):
        raise ValueError(f"name the output: {name or 'the source'} does not end in {SUFFIX}")
    path = Path(name[: -len(SUFFIX)])
    return path.with_suffix("") if path.suffix.lower() in _PACKED else path


def check_apart(source: object, output: File) -> None:
    """Refuse to write a file over the one that it is made from.

    Raises
    ------
    ValueError
        Both are the same file.
    """
    if not isinstance(source, str | os.PathLike) or not isinstance(output, str | os.PathLike):
        return
    if Path(output).exists() and Path(source).samefile(output):
        raise ValueError(f"{output} is the input; choose another name for the output")


def label_of(file: File) -> str:
    """Return what to call a file in results and messages."""
    if isinstance(file, str | os.PathLike):
        return str(Path(file))
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "<file object>"


@contextlib.contextmanager
def opened(source: File) -> Iterator[tuple[BinaryIO, str, int]]:
    """Open an `.avq` file and give it with its name and size."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield file, label_of(source), file.seek(0, os.SEEK_END)
        return
    yield source, label_of(source), source.seek(0, os.SEEK_END)


@contextlib.contextmanager
def open_output(output: File, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file to write that is there only when all of it is; a file object stays as it is."""
    if isinstance(output, str | os.PathLike):
        with atomic_writer(output, overwrite=overwrite) as file:
            yield file
    else:
        yield output
