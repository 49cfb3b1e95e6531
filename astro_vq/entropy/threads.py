"""Work in several threads, with results that do not depend on how many there are."""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar, cast

_BAND_SIZE = 1 << 16  # values of a band of rows

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

_place = threading.local()
_helpers: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def in_threads(
    work: Callable[[_Given], _Result], items: Sequence[_Given], *, worth: bool = True
) -> list[_Result]:
    """Do the same to all, in as many threads as a process should have.

    That is ``OMP_NUM_THREADS`` where it is set, else the number of cores; one where the work is
    too little to be worth more, and within work that is shared out already. The thread that asks
    takes its part; helpers are kept for the next time. After an error nothing more is begun.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    if threads < 2 or len(items) < 2 or not worth or getattr(_place, "inside", False):
        return [work(item) for item in items]
    results: list[_Result | None] = [None] * len(items)
    numbers = itertools.count()  # its steps are not divided between threads

    has_failed = threading.Event()

    def take_part() -> None:
        try:
            while not has_failed.is_set() and (number := next(numbers)) < len(items):
                results[number] = work(items[number])
        except BaseException:
            has_failed.set()
            raise

    helpers = _pool(threads - 1)
    futures = [helpers.submit(take_part) for _ in range(min(threads, len(items)) - 1)]
    _place.inside = True
    try:
        take_part()
    finally:
        _place.inside = False
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()
    return cast(list[_Result], results)


def in_bands(
    work: Callable[[int, int], _Result], shape: tuple[int, ...], unit: int = 1
) -> list[_Result]:
    """Do the same to bands of rows, given the first of each and where it stops.

    Parameters
    ----------
    work : callable
        What to do.
    shape : tuple of int
        Rows and columns; bands are such that each is worth a thread.
    unit : int
        Bands begin at multiples of it.
    """
    rows, columns = shape
    step = max(_BAND_SIZE // max(columns, 1) // unit, 1) * unit
    bands = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    return in_threads(lambda band: work(*band), bands)


def _pool(helpers: int) -> ThreadPoolExecutor:
    with _lock:
        if helpers not in _helpers:
            _helpers[helpers] = ThreadPoolExecutor(helpers, "astro-vq", initializer=_enter)
        return _helpers[helpers]


def _enter() -> None:
    _place.inside = True


def _forget() -> None:
    """Forget the helpers of the process that this one was forked from."""
    global _lock
    _lock = threading.Lock()
    _helpers.clear()
    _place.inside = False


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
