"""Deleting an image that was compressed: only what was read, and only when it was verified."""

import os
from pathlib import Path

from astro_vq.codec.inputs import Input
from astro_vq.codec.paths import File
from astro_vq.codec.planning import Request
from astro_vq.errors import DataError
from astro_vq.io.atomic import sync_folder


class Deletion:
    """The deletion of an input that is yet to come.

    Parameters
    ----------
    request : Request
        What is promised.
    given : Input
        The source.
    output : path or binary file object
        What is written.

    Raises
    ------
    ValueError
        There is no file to delete, the output is none, or nothing but tokens will be kept.
    """

    def __init__(self, request: Request, given: Input, output: File) -> None:
        if request.fidelity == "tokens":
            raise ValueError(
                "an input is deleted only when its pixels are kept within a bound, and tokens have "
                "none; leave out --delete-input (delete_input)"
            )
        if given.path is None or not isinstance(output, str | os.PathLike):
            raise ValueError("delete_input needs an input and an output that are files")
        self._path = given.path
        self._state = _state(given.path)

    def run(self) -> None:
        """Delete the input.

        Raises
        ------
        DataError
            It has changed since it was read; it is kept.
        """
        if _state(self._path) != self._state:
            raise DataError(
                f"{self._path}: it was changed while it was compressed, so it is not deleted; "
                "compress it again"
            )
        self._path.unlink()
        sync_folder(self._path.parent)


def _state(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
