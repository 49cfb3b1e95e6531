"""Names and opening of the files that are read and written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from astro_vq.codec.container import SUFFIX
from astro_vq.io.atomic import atomic_writer
from astro_vq.io.byte_source import ByteSource, is_url, name_of, open_bytes

File = str | os.PathLike[str] | BinaryIO
"""A name, a URL (of an `.avq` file that is read), or an open binary file."""

_PACKED = (".gz", ".bz2", ".fz")


def compressed_name(path: Path) -> Path:
    """Return ``image.fits.avq`` for ``image.fits``, also when that is packed (gz, bz2, fz)."""
    stem = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return stem.with_name(stem.name + SUFFIX)


def decompressed_name(source: File) -> Path:
    """Return ``image.fits`` for ``image.fits.avq``; that of a URL is in the current folder.

    Raises
    ------
    ValueError
        The name does not end in ``.avq``.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if is_url(name):
        name = url_name(name)
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
    if not is_url(source) and Path(output).exists() and Path(source).samefile(output):
        raise ValueError(f"{output} is the input; choose another name for the output")


def label_of(file: File) -> str:
    """Return what to call a file in results and messages."""
    if isinstance(file, str | os.PathLike):
        return os.fspath(file) if is_url(file) else str(Path(file))
    return name_of(file)


def url_name(url: str) -> str:
    """Return the file name at the end of a URL."""
    return unquote(PurePosixPath(urlsplit(url).path).name)


@contextlib.contextmanager
def opened(source: File) -> Iterator[ByteSource]:
    """Open an `.avq` file to read, by name, by URL, or as it is open already."""
    with contextlib.closing(open_bytes(source)) as bytes_source:
        yield bytes_source


@contextlib.contextmanager
def open_output(output: File, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file to write that is there only when all of it is; a file object stays as it is."""
    if isinstance(output, str | os.PathLike):
        with atomic_writer(output, overwrite=overwrite) as file:
            yield file
    else:
        yield output
