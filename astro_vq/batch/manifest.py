"""A manifest: a file of JSON lines that says of each job what was read, written and found.

The first line of a run has ``"status": "run"`` with the command, its settings and the folder that
relative names start from. Each job has a line ``"started"`` before it begins, and ``"done"`` or
``"failed"`` when it ends; the last line of a job counts. Lines are on the disk before the next jobs
begin, so that nothing is lost but a last line that was being written.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from astro_vq import __version__
from astro_vq.batch.jobs import Job, Outcome
from astro_vq.errors import BatchError, FormatError

FORMAT = 1
"""Number of the format; a number never changes its meaning."""

_START = b'{"status": "run", '


class Manifest:
    """A manifest that is being written; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
        File of JSON lines.
    command : str
        What is done, such as ``compress``.
    settings : mapping
        JSON values that the outputs depend on: with others, a job is not done.
    resume : bool
        Go on with a manifest that is there: jobs that it says are done are left out, others that
        it knows may replace their outputs where these were new.
    overwrite : bool
        Begin a manifest anew that is there.

    Raises
    ------
    FileExistsError
        It is there, and neither `resume` nor `overwrite` is set.
    FormatError
        It is no manifest, or damaged before its last line.
    BatchError
        Another run is writing it.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        if path.exists() and path.stat().st_size and not (resume or overwrite):
            raise FileExistsError(
                f"{path} exists already; go on with that run with --resume, begin anew with "
                "--overwrite, or choose another manifest"
            )
        self.path = path
        text = json.dumps([command, settings], sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._pending: list[bytes] = []
        self._known: dict[str, int] = {}
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b", buffering=0)
        try:
            _lock(self._file, path)
            _check_ours(self._file, path)
            end = self._read_known() if resume else 0
            self._file.truncate(end)
            self._file.seek(end)
        except BaseException:
            self._file.close()
            raise
        about = {"manifest": FORMAT, "version": __version__, "command": command}
        self._add("run", about | {"settings": dict(settings), "folder": str(Path.cwd())})
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._file.close()

    def recall(self, job: Job) -> Job:
        """Return a job with what an earlier run said of it."""
        offset = self._known.get(_place(job))
        if offset is None:
            return job
        place = self._file.tell()
        self._file.seek(offset)
        record = json.loads(_read_line(self._file))
        self._file.seek(place)
        is_done = record["status"] == "done"
        is_same = is_done and record.get("key") == self._key
        is_new = is_done or record.get("is_new", True)  # older manifests do not say
        return job._replace(previous=record if is_same else None, is_new=is_new, may_replace=is_new)

    def begin(self, job: Job) -> None:
        """Note that a job is about to begin, unless it was done before."""
        if job.previous is None:
            names = {"input": str(job.source), "output": _text(job.output)}
            self._add("started", names | {"is_new": job.is_new})

    def end(self, job: Job, outcome: Outcome) -> None:
        """Note what came of a job, unless it was left out."""
        done = outcome.done
        if done.is_skipped:
            return
        record: dict[str, Any] = {"input": str(outcome.source), "output": _text(outcome.output)}
        record |= done.record or {}
        record |= {"is_new": job.is_new, "attempts": outcome.attempts, "key": self._key}
        if done.notes:
            record["notes"] = list(done.notes)
        if outcome.is_failure:
            record["error"] = outcome.error or "; ".join(done.problems)
        self._add("failed" if outcome.is_failure else "done", record)

    def flush(self) -> None:
        """Bring what was noted to the disk."""
        if not self._pending:
            return
        data = memoryview(b"".join(self._pending))
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
        self._pending.clear()

    def _add(self, status: str, record: Mapping[str, Any]) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"status": status, "time": now} | dict(record), allow_nan=False)
        self._pending.append(line.encode() + b"\n")

    def _read_known(self) -> int:
        """Note where the last line of each job is; return where the last whole line ends."""
        folder, end = Path.cwd(), 0
        for offset, record in _iter_lines(self._file, self.path):
            end = offset
            if record is None:
                break
            if record["status"] == "run":
                folder = Path(record["folder"])
                continue
            job = Job(Path(record["input"]), _path(record["output"]))
            self._known[_place(job, folder)] = offset
        else:
            end = self._file.seek(0, os.SEEK_END)
        return end


def read_manifest(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a manifest; a last line that was cut off is left out.

    Raises
    ------
    FormatError
        It is no manifest, or damaged before its last line.
    """
    with path.open("rb") as file:
        for _, record in _iter_lines(file, path):
            if record is not None:
                yield record


def _iter_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield offset and record of each line; None for a last one that was cut off."""
    offset, size = 0, file.seek(0, os.SEEK_END)
    with os.fdopen(os.dup(file.fileno()), "rb") as lines:
        lines.seek(0)
        for number, line in enumerate(lines, start=1):
            record = _parse(line) if line.endswith(b"\n") else None
            if record is None and offset + len(line) < size:
                raise FormatError(f"{path}: line {number} is no line of a manifest")
            if number == 1 and record is not None and record.get("manifest") != FORMAT:
                raise FormatError(
                    f"{path}: it is no manifest of format {FORMAT}, which this version reads"
                )
            yield offset, record
            offset += len(line)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    keys = ("folder",) if record.get("status") == "run" else ("input", "output")
    is_whole = "status" in record and all(key in record for key in keys)
    return record if is_whole else None


def _read_line(file: BinaryIO) -> bytes:
    """Read to the end of a line from a file without a buffer."""
    line = b""
    while not line.endswith(b"\n"):
        piece = file.read(4096)
        head, newline, _ = piece.partition(b"\n")
        line += head + newline
        if not piece:
            break
    return line


def _place(job: Job, folder: Path | None = None) -> str:
    """Return what a job is known by: the whole names of its input and output."""
    start = Path.cwd() if folder is None else folder
    output = "" if job.output is None else os.path.normpath(start / job.output)
    return f"{os.path.normpath(start / job.source)}\0{output}"


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _check_ours(file: BinaryIO, path: Path) -> None:
    """Refuse a file with contents that are not those of a manifest.

    Raises
    ------
    FormatError
        Nothing of it is changed.
    """
    file.seek(0)
    start = file.read(len(_START))
    if start != _START[: len(start)]:
        raise FormatError(f"{path}: it is no manifest, so nothing is written to it")


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other runs from writing the same manifest, where the system can."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BatchError(f"{path}: another run is writing this manifest") from None
    except OSError:  # a file system without locks
        return
