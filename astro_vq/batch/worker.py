"""What a process of a `ProcessPool` does; loads nothing heavy before threads are limited."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from astro_vq.batch.jobs import Outcome, attempt

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read by numerical libraries when they are loaded."""

READY = "ready"
INTERRUPTED = "interrupted"


def serve(connection: "Connection[Any, Any]", threads: int) -> None:
    """Do jobs that come through a connection until it is closed.

    The first message is (initialise or None, work), each further one (number, job); answers are
    `READY` once, then (number, outcome or `INTERRUPTED`). Ctrl-C is left to the process at the
    other end, which sends SIGTERM: unfinished output is then removed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    try:
        initialise, work = connection.recv()
        _prepare(initialise)
        connection.send(READY)
        while True:
            number, job = connection.recv()
            try:
                answer: Outcome | str = attempt(work, job)
            except KeyboardInterrupt:
                answer = INTERRUPTED
            connection.send((number, answer))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the other end is closed: there is nothing more to do


def _prepare(initialise: Callable[[], None] | None) -> None:
    if initialise is not None:
        initialise()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
