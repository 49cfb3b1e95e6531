"""Work in threads: order, errors, work within work, and processes that are forked."""

import multiprocessing
import sys
import threading

import pytest

from astro_vq.entropy.threads import in_bands, in_threads


def test_threads_keep_the_order(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert in_threads(lambda v: v * v, range(7)) == [v * v for v in range(7)]


def test_threads_within_threads_are_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def names(_: int) -> set[int]:
        return set(in_threads(lambda v: threading.get_ident() + 0 * v, range(4)))

    assert all(len(found) == 1 for found in in_threads(names, range(3)))
    assert (
        in_threads(lambda v: threading.get_ident(), [1, 2], worth=False)
        == [threading.get_ident()] * 2
    )


def test_an_error_is_raised_and_nothing_more_is_begun(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = []
    both = threading.Barrier(2)

    def work(number):
        begun.append(number)
        if number < 2:
            both.wait(10)
        if number == 1:
            raise ValueError("one")
        threading.Event().wait(0.05)

    with pytest.raises(ValueError, match="one"):
        in_threads(work, range(100))
    assert len(begun) < 10
    assert in_threads(lambda v: v + 1, range(3)) == [1, 2, 3]


def _squares(_):
    return in_threads(lambda v: v * v, range(5))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert _squares(0) == [0, 1, 4, 9, 16]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map_async(_squares, [0, 1]).get(60) == [[0, 1, 4, 9, 16]] * 2


def test_bands_are_all_rows_once_and_begin_at_multiples():
    for shape, unit in (((1000, 700), 1), ((96, 65536), 32), ((5, 3), 4), ((0, 8), 2)):
        bands = in_bands(lambda first, stop: (first, stop), shape, unit)
        assert [row for band in bands for row in range(*band)] == list(range(shape[0]))
        assert all(first % unit == 0 for first, _ in bands)
