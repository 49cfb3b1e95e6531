"""Jobs on a Dask cluster of this machine."""

import pytest

from astro_vq.batch.cluster import DaskPool
from astro_vq.batch.run import run_jobs
from astro_vq.errors import BatchError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    # threads of this process: quick to start, and a cluster like any other to its client
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        protocol="tcp",
    ) as cluster:
        yield cluster


def test_a_cluster_does_the_jobs_in_order(cluster, module, make_jobs, tmp_path, monkeypatch):
    names = ["slow", "bad", "io once", *(f"n{i}" for i in range(20))]
    jobs = make_jobs(*names)
    monkeypatch.chdir(tmp_path)
    relative = [
        job._replace(source=job.source.relative_to(tmp_path), output=job.output) for job in jobs
    ]
    pool = DaskPool(module.work, cluster.scheduler_address)
    assert pool.capacity == 4
    outcomes = list(run_jobs(relative, pool))
    assert [str(outcome.source) for outcome in outcomes] == names
    assert [outcome.error for outcome in outcomes] == ["", "bad: no image", *([""] * 21)]
    assert outcomes[2].attempts == 2
    assert outcomes[3].done.result["input"] == "n0"
    assert jobs[3].output.read_bytes() == b"0n"


def test_a_worker_of_another_version_is_refused(cluster, module, monkeypatch):
    monkeypatch.setattr("astro_vq.batch.cluster.__version__", "9")
    with pytest.raises(BatchError, match=r"has astro-vq .*, here it is 9"):
        DaskPool(module.work, cluster.scheduler_address)


def test_a_cluster_that_is_not_there_is_named(module):
    with pytest.raises(BatchError, match=r"no Dask scheduler at tcp://127.0.0.1:1"):
        DaskPool(module.work, "tcp://127.0.0.1:1", patience=0.3)
