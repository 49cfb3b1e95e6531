"""Work that says what it read and wrote, and that leaves alone what an earlier run has done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astro_vq.batch.hashing import FileState, has_hash, has_state
from astro_vq.batch.jobs import Done, Job, Work
from astro_vq.errors import DataError


@dataclass(frozen=True)
class RecordedWork:
    """Does jobs with another work, between hashes of input and output.

    A job that its manifest says is done is left out where the output still has the same hash and
    the input is as it was (or was deleted by that run). Of a job without an output, the input is
    read to compare its hash.

    Parameters
    ----------
    work : callable
        Does one job.
    leaves_out : bool
        Whether jobs that are done are left out.
    """

    work: Work
    leaves_out: bool = True

    def __call__(self, job: Job) -> Done:
        """Do one job."""
        if self.leaves_out and job.previous is not None and _is_done(job, job.previous):
            result = {"input": str(job.source), "output": _text(job.output)}
            result |= dict(job.previous.get("figures", {}))
            return Done(result | {"skipped": True}, is_skipped=True)
        before = FileState.of(job.source)
        done = self.work(job)
        record: dict[str, Any] = {
            "input_bytes": before.size,
            "input_mtime_ns": before.mtime_ns,
            "input_sha256": before.sha256,
            "input_deleted": not job.source.exists(),
        }
        if not record["input_deleted"]:
            stat = job.source.stat()
            if (stat.st_size, stat.st_mtime_ns) != before[:2]:
                raise DataError(f"{job.source}: it was changed while it was worked on")
        if job.output is not None:
            after = FileState.of(job.output)
            record |= {"output_bytes": after.size, "output_sha256": after.sha256}
        record["figures"] = {
            name: value
            for name, value in done.result.items()
            if isinstance(value, str | int | float | bool | None)
            and name not in ("input", "output", "file")
        }
        return done._replace(record=record)


def _is_done(job: Job, record: Mapping[str, Any]) -> bool:
    if job.output is None:
        return has_hash(job.source, record.get("input_sha256"))
    is_there = record.get("input_deleted") and not job.source.exists()
    return bool(is_there or _is_same_input(job.source, record)) and has_hash(
        job.output, record.get("output_sha256")
    )


def _is_same_input(path: Path, record: Mapping[str, Any]) -> bool:
    return has_state(
        path,
        record.get("input_bytes"),
        record.get("input_mtime_ns"),
        record.get("input_sha256"),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
