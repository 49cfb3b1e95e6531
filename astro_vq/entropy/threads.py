"""Work in several threads, with results that do not depend on how many there are."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

_place = threading.local()


def in_threads(
    work: Callable[[_Given], _Result], items: Sequence[_Given], *, worth: bool = True
) -> list[_Result]:
    """Do the same to all, in as many threads as a process should have.

    That is ``OMP_NUM_THREADS`` where it is set, else the number of cores; one where the work is
    too little to be worth more, and within work that is shared out already.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if threads < 2 or len(items) < 2 or not worth or getattr(_place, "inside", False):
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items)), initializer=_enter) as pool:
        return list(pool.map(work, items))


def _enter() -> None:
    _place.inside = True
