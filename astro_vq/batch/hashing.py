"""What a file is: its size, its time, and the SHA-256 of its bytes."""

import hashlib
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """A file at some time.

    Attributes
    ----------
    size : int
        Bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds.
    sha256 : str
        Of its bytes, hexadecimal.
    """

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Read a file.

        Raises
        ------
        OSError
            It cannot be read.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, digest)


def has_hash(path: Path, sha256: object) -> bool:
    """Whether a file is there, can be read, and has these bytes."""
    try:
        return FileState.of(path).sha256 == sha256
    except OSError:
        return False


def has_state(path: Path, size: object, mtime_ns: object, sha256: object) -> bool:
    """Whether a file is as it was: by size and time, or else by its bytes."""
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != size:
        return False
    return stat.st_mtime_ns == mtime_ns or has_hash(path, sha256)
