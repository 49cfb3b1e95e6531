"""One file to work on, and what came of it."""

import errno
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from astro_vq.errors import describe_error

_LASTING = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
_LASTING_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)


class Job(NamedTuple):
    """One file to work on, and where its result goes if it is written.

    Attributes
    ----------
    source : Path
        The input.
    output : Path or None
        What is written.
    previous : mapping or None
        What a manifest says of this job when it was done in an earlier run.
    is_new : bool
        Nothing had the name of the output before the first attempt: what has it later is ours.
    may_replace : bool
        The output may be there from an earlier attempt, and is replaced.
    """

    source: Path
    output: Path | None = None
    previous: Mapping[str, Any] | None = None
    is_new: bool = False
    may_replace: bool = False


class Done(NamedTuple):
    """What the work on one file gives: a JSON-able result, notes, and what is wrong with it.

    Attributes
    ----------
    result : dict
        JSON values.
    notes, problems : sequence of str
        For people; with any problem the job counts as failed.
    record : mapping or None
        Lines for a manifest: hashes and figures.
    is_skipped : bool
        An earlier run has done it, and nothing has changed since.
    """

    result: dict[str, Any]
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
    record: Mapping[str, Any] | None = None
    is_skipped: bool = False


Work = Callable[[Job], Done]
"""Does one job; must be picklable for several processes."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file: what was done, or an error message with its traceback.

    Attributes
    ----------
    source : Path
        The input.
    done : Done
        Empty after an error.
    error, trace : str
        One line, and the traceback; '' when all went well.
    attempts : int
        How often it was tried.
    may_pass : bool
        The error is one that another attempt may not meet (of input and output, of memory).
    output : Path or None
        What was to be written.
    """

    source: Path
    done: Done = field(default_factory=lambda: Done({}))
    error: str = ""
    trace: str = ""
    attempts: int = 1
    may_pass: bool = False
    output: Path | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the exit status must say so."""
        return bool(self.error or self.done.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the result, or the input and the error, as a JSON object."""
        return {"input": str(self.source), "error": self.error} if self.error else self.done.result


def attempt(work: Work, job: Job) -> Outcome:
    """Do one job and return what came of it, an error included."""
    try:
        return Outcome(job.source, work(job), output=job.output)
    except Exception as error:  # reported and counted by whoever asked for it
        return Outcome(
            job.source,
            error=describe_error(error),
            trace="".join(traceback.format_exception(error)).rstrip(),
            may_pass=_may_pass(error),
            output=job.output,
        )


def _may_pass(error: Exception) -> bool:
    """Say whether the same job may go well when it is tried again."""
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING) and error.errno not in (None, *_LASTING_NUMBERS)
    return isinstance(error, MemoryError)
