"""The commands of the tutorial run as they stand, one after the other, and do what it says."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from astro_vq.cli.main import main
from astropy.io import fits
from click.testing import CliRunner

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tutorial.rst"


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^ +\$ astro-vq (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 8
    for command in commands:
        done = CliRunner().invoke(main, shlex.split(command))
        assert done.exit_code == 0, f"{command}: {done.stderr}"
    frames = sorted(tmp_path.glob("sky/*/*.fits"))
    assert len(frames) == 12
    for path in frames:
        again = tmp_path / "again" / path.relative_to(tmp_path / "sky")
        before, after = fits.getdata(path), fits.getdata(again)
        header = fits.getheader(path)
        if "SKYSIGMA" in header and before.dtype.kind == "f" and not header["NCORFWHM"]:
            assert np.abs(before - after).max() <= 0.15 * header["SKYSIGMA"]
    assert (tmp_path / "codes" / "codebook.html").exists()
    lines = (tmp_path / "packed.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in lines)
    assert (tmp_path / "tokens.h5").stat().st_size > 0
