"""Jobs on a cluster of Dask workers, which see the same files under the same names."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astro_vq import __version__
from astro_vq.batch.jobs import Job, Outcome, Work, attempt
from astro_vq.batch.pools import Finished
from astro_vq.errors import BatchError, describe_error

JOBS_AHEAD = 2
"""Jobs on their way to the cluster for each of its threads."""

_LOOK_EVERY = 5.0  # seconds between looks at how many workers there are


class DaskPool:
    """Runs jobs on a Dask cluster that is there; needs ``astro-vq[dask]``.

    Parameters
    ----------
    work : callable
        Does one job; the workers must be able to import it.
    address : str
        Of the scheduler, such as ``tcp://head:8786``; or the path of a scheduler file (.json).
    patience : float
        Seconds to wait for the scheduler and for a first worker.

    Raises
    ------
    BatchError
        Dask is not installed, the cluster cannot be reached or has no worker, or a worker has no
        astro-vq or another version of it. From `wait`, when the cluster is lost.
    """

    def __init__(self, work: Work, address: str, *, patience: float = 30.0) -> None:
        try:
            from distributed import Client, as_completed
        except ImportError as err:
            raise BatchError(
                "a Dask cluster needs dask.distributed: pip install astro-vq[dask]"
            ) from err
        self._work = work
        self._futures: dict[Any, int] = {}
        is_file = address.endswith(".json")
        where: dict[str, Any] = {"scheduler_file" if is_file else "address": address}
        try:
            self._client = Client(**where, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as err:
            raise BatchError(
                f"no Dask scheduler at {address}: {describe_error(err)}; start one with `dask "
                "scheduler` and workers with `dask worker`"
            ) from err
        try:
            self._wait_for_workers(address, patience)
            self._check_versions()
            self._completed = as_completed(loop=self._client.loop)
            self._looked = -_LOOK_EVERY
            self._threads = 1
        except BaseException:
            self._client.close()
            raise

    @property
    def capacity(self) -> int:
        """Jobs that the cluster may hold, which changes as workers come and go."""
        if time.monotonic() - self._looked > _LOOK_EVERY:
            self._threads = max(1, sum(self._client.nthreads().values()))
            self._looked = time.monotonic()
        return JOBS_AHEAD * self._threads

    def submit(self, number: int, job: Job) -> None:
        """Send a job to the cluster."""
        future = self._client.submit(
            attempt,
            self._work,
            _absolute(job),
            pure=False,
            key=f"astro-vq-{id(self)}-{number}-{time.monotonic_ns()}",
        )
        self._futures[future] = number
        self._completed.add(future)

    def wait(self) -> Sequence[Finished]:
        """Return what has finished, at least one job."""
        futures = self._completed.next_batch(block=True)
        return [self._finish(future) for future in futures]

    def close(self) -> None:
        """Cancel what has not begun, and leave the cluster as it was."""
        self._client.cancel(list(self._futures))
        self._futures.clear()
        self._client.close()

    def _finish(self, future: Any) -> Finished:  # noqa: ANN401
        number = self._futures.pop(future)
        if future.status == "finished":
            return Finished(number, future.result())
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ == "KilledWorker":
                return Finished(number, None, "its Dask workers died, one after the other")
            return Finished(number, Outcome(Path(), error=describe_error(error)))
        raise BatchError(
            f"the Dask cluster gave a job up ({future.status}); is its scheduler still there?"
        )

    def _wait_for_workers(self, address: str, patience: float) -> None:
        try:
            self._client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise BatchError(
                f"the Dask cluster at {address} has no worker; start some with `dask worker`"
            ) from None

    def _check_versions(self) -> None:
        """Refuse workers that might write other bytes."""
        try:
            versions = self._client.run(_version)
        except Exception as err:  # whatever the import on a worker met
            raise BatchError(
                f"a Dask worker cannot import astro-vq ({describe_error(err)}); install it there"
            ) from err
        others = {worker: found for worker, found in versions.items() if found != __version__}
        if others:
            worker, found = next(iter(others.items()))
            raise BatchError(
                f"the Dask worker {worker} has astro-vq {found}, here it is {__version__}; "
                "install the same version everywhere"
            )


def _version() -> str:
    from astro_vq import __version__ as found

    return found


def _absolute(job: Job) -> Job:
    output = None if job.output is None else job.output.absolute()
    may_replace = job.may_replace or job.is_new  # the cluster tries again by itself
    return job._replace(source=job.source.absolute(), output=output, may_replace=may_replace)
