"""Work in several threads, with results that do not depend on how many there are."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


def in_threads(work: Callable[[_Given], _Result], items: Sequence[_Given]) -> list[_Result]:
    """Do the same to all, in as many threads as a process should have.

    That is ``OMP_NUM_THREADS`` where it is set, else the number of cores.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
