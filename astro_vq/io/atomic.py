"""Write a file under a temporary name and give it its real name only when it is complete."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".part"


@contextmanager
def atomic_writer(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a new binary file that appears under its name only when the block ends well.

    The bytes go to a hidden temporary file in the same folder; at the end they are flushed to
    disk and the file is renamed. Any exception, `KeyboardInterrupt` included, removes it, so
    that a full disk or an interrupted run leaves neither half a file nor a damaged old one.

    Parameters
    ----------
    path : path-like
        Name of the file to write. A symbolic link is followed.
    overwrite : bool
        Replace a file that exists; otherwise it is an error.

    Yields
    ------
    file object
        Opened for binary reading and writing, seekable.

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is false (also when it appears while writing), or the
        name belongs to something that is no regular file.
    FileNotFoundError
        The folder does not exist.
    """
    target = Path(os.path.realpath(path))
    _check_target(target, Path(path), overwrite=overwrite)
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}{_SUFFIX}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            with suppress(OSError):  # file systems without modes
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        _rename(temporary, target, Path(path), overwrite=overwrite)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove temporary files that a killed process left of a file; none may be writing it."""
    target = Path(os.path.realpath(path))
    with suppress(OSError):
        for entry in list(os.scandir(target.parent)):
            name = entry.name
            start = _prefix(target)
            is_ours = name.startswith(start) and name.endswith(_SUFFIX)
            if is_ours and len(name) == len(start) + 8 + len(_SUFFIX):
                Path(entry.path).unlink(missing_ok=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file, early, before work is done that would be lost.

    Raises
    ------
    FileExistsError
        It is there and must not be replaced.
    """
    if path.exists() and not overwrite:
        raise _exists(path)


def _prefix(target: Path) -> str:
    """Return how the temporary names of a file begin."""
    return f".{target.name[:200]}."


def _check_target(target: Path, shown: Path, *, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {shown}: the folder {target.parent} does not exist")
    if not target.exists():
        return
    if not target.is_file():
        raise FileExistsError(f"cannot write {shown}: it exists and is no regular file")
    refuse_existing(shown, overwrite=overwrite)


def _exists(shown: Path) -> FileExistsError:
    return FileExistsError(
        f"{shown} exists already; use --overwrite (overwrite=True in Python) to replace it, "
        "or choose another output"
    )


def _rename(temporary: Path, target: Path, shown: Path, *, overwrite: bool) -> None:
    """Give the finished file its name; without `overwrite` never over another file."""
    if overwrite:
        temporary.replace(target)
        return
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise _exists(shown) from None
    except OSError:  # a file system without hard links
        if target.exists():
            raise _exists(shown) from None
        temporary.rename(target)
    else:
        temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the folder's entry of the new name, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
