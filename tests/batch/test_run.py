"""Jobs through every kind of pool: order, failures, processes that die, bounded queues."""

import os

import pytest

from astro_vq.batch.jobs import Done, Job
from astro_vq.batch.pools import SerialPool
from astro_vq.batch.processes import ProcessPool
from astro_vq.batch.run import run_jobs
from astro_vq.errors import BatchError
from astro_vq.io.atomic import atomic_writer


def make_pool(kind, work, **options):
    return SerialPool(work) if kind == 1 else ProcessPool(work, kind, **options)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_bad_file_does_not_stop_the_others(module, make_jobs, kind):
    jobs = make_jobs("slow", "bad", "b", "io", "io once")
    (jobs[2].source).unlink()
    outcomes = list(run_jobs(jobs, make_pool(kind, module.work)))
    assert [outcome.source.name for outcome in outcomes] == ["slow", "bad", "b", "io", "io once"]
    errors = [outcome.error for outcome in outcomes]
    assert errors[:2] == ["", "bad: no image"]
    assert "No such file" in errors[2]
    assert errors[3:] == ["io: Input/output error", ""]
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 1, 3, 2]
    assert outcomes[1].to_dict() == {"input": str(jobs[1].source), "error": "bad: no image"}
    assert "DataError" in outcomes[1].trace
    assert outcomes[0].done.notes == ("a note",)
    assert (outcomes[0].done.result["process"] == os.getpid()) == (kind == 1)
    assert jobs[0].output.read_bytes() == b"wols"


def test_a_process_that_dies_costs_its_job_another_attempt_and_the_others_nothing(
    module, make_jobs
):
    names = ["dead", "a", "dead once", *(f"n{i}" for i in range(8))]
    jobs = make_jobs(*names)
    outcomes = list(run_jobs(jobs, make_pool(2, module.work), retries=1))
    assert [outcome.source.name for outcome in outcomes] == names
    reason = "its process was killed by SIGKILL (out of memory?); tried 2 times"
    assert outcomes[0].error == reason
    assert [outcome.error for outcome in outcomes[1:]] == [""] * 10
    assert [outcome.attempts for outcome in outcomes] == [2, 1, 2, *([1] * 8)]
    assert sorted(path.name for path in jobs[0].output.parent.iterdir()) == sorted(names[1:])


def test_a_process_may_die_when_the_output_is_there_already(module, make_jobs):
    mine, theirs = make_jobs("dead late", "dead once")
    theirs.output.write_bytes(b"of somebody else")
    outcomes = list(run_jobs([mine, theirs], make_pool(2, module.work)))
    assert (outcomes[0].error, outcomes[0].attempts) == ("", 2)
    assert mine.output.read_bytes() == b"etal daed"
    assert "exists already" in outcomes[1].error
    assert theirs.output.read_bytes() == b"of somebody else"


def test_an_error_may_pass_when_the_output_is_there_already(make_jobs):
    (job,) = make_jobs("a")
    attempts = []

    def work(job):
        attempts.append(job.may_replace)
        with atomic_writer(job.output, overwrite=job.may_replace) as file:
            file.write(b"done")
        if len(attempts) == 1:
            raise OSError(5, "Input/output error", "of the folder")
        return Done({})

    (outcome,) = run_jobs([job], SerialPool(work))
    assert outcome.error == ""
    assert attempts == [False, True]


def test_processes_that_die_at_their_start_end_the_run(module, make_jobs):
    pool = ProcessPool(module.work, 2, initialise=module.die)
    with pytest.raises(BatchError, match=r"3 processes in a row died .* ended early with status 3"):
        list(run_jobs(make_jobs("a", "b"), pool))


@pytest.mark.parametrize("kind", [1, 2])
def test_an_interruption_ends_the_run(module, make_jobs, kind):
    jobs = make_jobs("a", "stop", "b", "c")
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(jobs, make_pool(kind, module.work)))


class BackwardsPool:
    """Ends the last job first, and notes how many it held."""

    capacity = 4

    def __init__(self, work):
        self.inner = SerialPool(work)
        self.held = []
        self.most = 0
        self.is_closed = False

    def submit(self, number, job):
        self.held.append((number, job))
        self.most = max(self.most, len(self.held))

    def wait(self):
        self.inner.submit(*self.held.pop())
        return self.inner.wait()

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("ordered", [True, False])
def test_jobs_are_taken_only_as_there_is_room(module, make_jobs, ordered, monkeypatch):
    monkeypatch.setattr("astro_vq.batch.run.AHEAD", 3)
    (job,) = make_jobs("a")
    taken = []

    def jobs():
        for number in range(1000):
            taken.append(number)
            yield Job(job.source, None)

    pool = BackwardsPool(module.work)
    outcomes = run_jobs(jobs(), pool, ordered=ordered)
    next(outcomes)
    # the first job is the last to come: no more than AHEAD outcomes a place wait for it, beside
    # those that the pool holds; then the pool is filled up again
    assert len(taken) == (3 * 4 + 3 + 4 if ordered else 5)
    assert 1 + sum(1 for _ in outcomes) == len(taken) == 1000
    assert pool.most == 4
    assert pool.is_closed
