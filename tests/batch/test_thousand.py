"""A thousand real files through a run that is killed twice and resumed."""

import importlib.util
from pathlib import Path

import pytest
from astro_vq.cli.main import main
from click.testing import CliRunner

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bench_batch.py"


@pytest.mark.slow
@pytest.mark.sky
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="looks for processes in /proc")
def test_a_thousand_files_are_each_done_once_whatever_is_killed(sky_dir, tmp_path):
    spec = importlib.util.spec_from_file_location("bench_batch", SCRIPT)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    files = bench.make_files(tmp_path / "in", 1000, sky_dir, side=16, largest=500_000)
    assert len(files) == 1000
    options = ("--no-tokens", "--effort", "1")
    # checks that 998 files are done once, that two are listed, and that a resumed run knows both
    bench.survive(tmp_path, 1000, options, done=1000)
    assert len(bench.hashes(tmp_path / "packed")) == 998
    some = files[:998:8]
    serial = ["compress", *some, *options, "-O", tmp_path / "serial"]
    done = CliRunner().invoke(main, list(map(str, serial)))
    assert done.exit_code == 0, done.stderr
    packed = [tmp_path / "packed" / path.parent.name / f"{path.name}.avq" for path in some]
    for one, other in zip(packed, sorted((tmp_path / "serial").iterdir()), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()
