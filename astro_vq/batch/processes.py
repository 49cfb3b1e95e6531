"""Jobs in several processes of this machine; one that dies costs another attempt at its job.

Unlike `concurrent.futures.ProcessPoolExecutor`, which breaks as a whole when a process dies, each
process has a connection of its own: it is known which job it was at, and only that one is lost.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from astro_vq.batch.jobs import Job, Work
from astro_vq.batch.pools import Finished
from astro_vq.batch.worker import INTERRUPTED, READY, serve
from astro_vq.errors import BatchError

JOBS_AHEAD = 2
"""Jobs that a process holds: the one it is at, and the next, so that it never waits for one."""

MOST_BAD_STARTS = 3
"""Processes in a row that may die before they are ready."""

_PATIENCE = 10.0  # seconds to wait for a process to leave before it is killed


class ProcessPool:
    """Runs jobs in processes that are started when they are needed, and again when they die.

    Parameters
    ----------
    work : callable
        Does one job; is sent once to each process.
    processes : int
        Number of processes.
    initialise : callable, optional
        Called once in each process, before it does anything.

    Raises
    ------
    BatchError
        From `wait`, when process after process dies at its start.
    KeyboardInterrupt
        From `wait`, when a job was interrupted.
    """

    def __init__(
        self, work: Work, processes: int, *, initialise: Callable[[], None] | None = None
    ) -> None:
        if processes < 1:
            raise ValueError(f"a pool needs a process at least, got {processes}")
        self._work = work
        self._initialise = initialise
        self._processes = processes
        self._threads = max(1, _usable_cores() // processes)
        self._queue: deque[tuple[int, Job]] = deque()
        self._workers: list[_Worker] = []
        self._bad_starts = 0

    @property
    def capacity(self) -> int:
        """Jobs that it may hold at a time."""
        return self._processes * JOBS_AHEAD

    def submit(self, number: int, job: Job) -> None:
        """Take a job, and give it to a process that has the fewest."""
        self._queue.append((number, job))
        self._hand_out()

    def wait(self) -> Sequence[Finished]:
        """Return what has finished since the last call, at least one job."""
        while True:
            self._hand_out()
            finished: list[Finished] = []
            ready = set(wait([c for w in self._workers for c in (w.connection, w.sentinel)]))
            for worker in list(self._workers):
                if worker.connection in ready or worker.sentinel in ready:
                    finished += self._collect(worker)
            if finished:
                return finished

    def close(self) -> None:
        """End all processes; those at a job are stopped, and remove what they were writing."""
        self._queue.clear()
        for worker in self._workers:
            worker.leave()
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._queue:
            worker = min(self._workers, key=lambda w: len(w.held), default=None)
            if len(self._workers) < self._processes and (worker is None or worker.held):
                worker = _Worker(self._threads, self._initialise, self._work)
                self._workers.append(worker)
            if worker is None or len(worker.held) >= JOBS_AHEAD:
                return
            worker.give(*self._queue.popleft())

    def _collect(self, worker: "_Worker") -> list[Finished]:
        """Take what a process has to say; if it is dead, put its jobs back but the lost one."""
        finished: list[Finished] = []
        try:
            while worker.connection.poll():
                answer = worker.connection.recv()
                if answer == READY:
                    worker.is_ready = True
                    self._bad_starts = 0
                    continue
                number, outcome = answer
                worker.held = [item for item in worker.held if item[0] != number]
                if outcome == INTERRUPTED:
                    raise KeyboardInterrupt
                finished.append(Finished(number, outcome))
        except (EOFError, OSError):
            worker.kill()
        if worker.is_alive:
            return finished
        self._workers.remove(worker)
        reason = worker.obituary()
        if not worker.is_ready:
            self._bad_starts += 1
            self._queue.extendleft(reversed(worker.held))
            if self._bad_starts >= MOST_BAD_STARTS:
                raise BatchError(
                    f"{self._bad_starts} processes in a row died at their start (the last one "
                    f"{reason}); is there memory for so many? Try a smaller -j"
                )
            return finished
        self._queue.extendleft(reversed(worker.held[1:]))
        if worker.held:
            finished.append(Finished(worker.held[0][0], None, f"its process {reason}"))
        return finished


class _Worker:
    """A process, the connection to it, and the jobs that it was given, in order."""

    def __init__(self, threads: int, initialise: Callable[[], None] | None, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, threads), daemon=True, name="astro-vq worker"
        )
        self._process.start()
        theirs.close()
        self.connection.send((initialise, work))
        self.held: list[tuple[int, Job]] = []
        self.is_ready = False

    connection: "Connection[Any, Any]"

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def give(self, number: int, job: Job) -> None:
        self.held.append((number, job))
        try:
            self.connection.send((number, job))
        except (BrokenPipeError, ConnectionResetError):
            return  # dead: seen by `wait`, which puts its jobs back

    def leave(self) -> None:
        if self.held or not self.is_ready:
            self._process.terminate()
        self.connection.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def join(self) -> None:
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self.kill()
        self._process.close()

    def obituary(self) -> str:
        """Say how the process died, and free what was left of it."""
        self._process.join()
        code = self._process.exitcode or 0
        self._process.close()
        self.connection.close()
        if code >= 0:
            return f"ended early with status {code}"
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"


def _usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
