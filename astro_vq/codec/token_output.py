"""Token maps of many files on their way into one: nothing is there before all of it is."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from astro_vq.codec.tokenize import TokenizedFile
from astro_vq.errors import DataError
from astro_vq.io.atomic import atomic_writer
from astro_vq.io.token_file import TokenFile, TokenFormat, TokenWriter


class TokenOutput:
    """Takes the maps of one file after another; see `token_output`.

    Attributes
    ----------
    sources : frozenset of str
        Names of the files whose maps were there before.
    maps : int
        Maps added.
    """

    def __init__(self, file: BinaryIO, existing: TokenFile | None) -> None:
        self._file = file
        self._format: TokenFormat | None = None if existing is None else existing.format
        self._path = "" if existing is None else existing.path
        self._writer: TokenWriter | None = None
        self.sources = frozenset(() if existing is None else existing.column("source"))
        self.maps = 0

    def add(self, found: TokenizedFile) -> None:
        """Add the maps of a file.

        Raises
        ------
        DataError
            They are of another model than those that are there.
        """
        if self._format is not None and found.format.hash != self._format.hash:
            raise DataError(
                f"{self._path}: has tokens of model {self._format.model!r} (hash "
                f"{self._format.hash}), not of {found.format.model!r} (hash {found.format.hash}); "
                "write to another file"
            )
        if self._writer is None:
            appends = self._format is not None
            self._format = found.format
            self._writer = TokenWriter(self._file, found.format, append=appends)
        self._writer.add(found.maps)
        self.maps += len(found.maps)

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._writer is not None:
            self._writer.close()

    def check(self) -> None:
        """Raise _NothingWritten if no map was added."""
        if self._writer is None:
            raise _NothingWritten


class _NothingWritten(Exception):  # noqa: N818 - never seen outside
    """There is no map, and so no file."""


@contextmanager
def token_output(
    path: str | os.PathLike[str], *, overwrite: bool = False, append: bool = False
) -> Iterator[TokenOutput]:
    """Open a file for token maps, which appears under its name when the block ends.

    When the block is interrupted (`KeyboardInterrupt`), maps of whole files stay: to go on,
    append to them. With no map at all there is no file.

    Parameters
    ----------
    path : path-like
        The file.
    overwrite : bool
        Replace a file that exists.
    append : bool
        Add to a file that exists.

    Yields
    ------
    TokenOutput

    Raises
    ------
    FileExistsError
        The file exists, and neither `overwrite` nor `append` is set.
    FormatError
        The file to append to is no token file.
    """
    if overwrite and append:
        raise ValueError("overwrite and append exclude each other")
    target = Path(path)
    existing = TokenFile(target) if append and target.exists() else None
    if target.exists() and not overwrite and existing is None:
        raise FileExistsError(
            f"{path} exists already; use --append to add to it, --overwrite to replace it, or "
            "choose another output"
        )
    stopped: KeyboardInterrupt | None = None
    try:
        with atomic_writer(target, overwrite=overwrite or append) as file:
            output = TokenOutput(file, existing)
            if existing is not None:
                existing.close()
                with target.open("rb") as before:
                    shutil.copyfileobj(before, file)
            try:
                yield output
            except KeyboardInterrupt as err:
                stopped = err
            finally:
                output.close()
            output.check()
    except _NothingWritten:
        pass
    if stopped is not None:
        raise stopped
