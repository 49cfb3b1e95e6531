"""Work that fails in every way that a test needs."""

import importlib

import pytest

WORK = '''
import os
import signal
import time
from pathlib import Path

from astro_vq.batch.jobs import Done
from astro_vq.errors import DataError
from astro_vq.io.atomic import atomic_writer


def first_time(job):
    """Say whether a job is tried for the first time."""
    mark = job.source.with_name(job.source.name + ".tried")
    is_first = not mark.exists()
    mark.write_bytes(b"")
    return is_first


def work(job):
    name = job.source.name
    if name == "bad":
        raise DataError("bad: no image")
    if name == "stop":
        raise KeyboardInterrupt
    if name == "io" or (name == "io once" and first_time(job)):
        raise OSError(5, "Input/output error", name)
    if name == "slow":
        time.sleep(0.3)
    data = job.source.read_bytes()
    if job.output is not None:
        replace = job.may_replace
        with atomic_writer(job.output, overwrite=replace) as file:
            file.write(data[::-1])
            if name == "dead" or (name == "dead once" and first_time(job)):
                os.kill(os.getpid(), signal.SIGKILL)
    if name == "dead late" and first_time(job):
        os.kill(os.getpid(), signal.SIGKILL)
    return Done({"input": str(job.source), "process": os.getpid(), "bits": 3.5}, ("a note",))


def die():
    os._exit(3)
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a module that other processes can import too."""
    name = f"work_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return importlib.import_module(name)


@pytest.fixture
def make_jobs(tmp_path):
    """Return a function that makes files of some names, and jobs that turn them round."""
    from astro_vq.batch.jobs import Job

    def make(*names):
        (tmp_path / "out").mkdir(exist_ok=True)
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return [Job(tmp_path / name, tmp_path / "out" / name) for name in names]

    return make
