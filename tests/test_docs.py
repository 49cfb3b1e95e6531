"""What README and documentation show works: commands parse, examples run."""

import re
import runpy
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from astro_vq.cli.main import COMMANDS, main
from astropy.io import fits

ROOT = Path(__file__).resolve().parents[1]


def shown_commands() -> list[str]:
    """Return every command line in README, documentation and help."""
    texts = [(ROOT / "README.md").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.rst"))]
    context = main.make_context("astro-vq", ["compress"])
    texts += [main.get_command(context, name).help for name in COMMANDS]
    pattern = r"^ *(?:\$ )?(astro-vq (?:" + "|".join(COMMANDS) + r")\b.*?) *(?:#.*)?$"
    return sorted({line for text in texts for line in re.findall(pattern, text, re.MULTILINE)})


@pytest.mark.parametrize("line", shown_commands())
def test_a_command_that_is_shown_is_understood(line, monkeypatch):
    _, name, *arguments = shlex.split(line)
    context = main.make_context("astro-vq", [name])
    command = main.get_command(context, name)
    for param in command.params:
        if isinstance(param.type, click.Path):
            monkeypatch.setattr(param.type, "exists", False)  # the files are made up
    with command.make_context(name, arguments, parent=context) as parsed:
        assert not parsed.args


def test_every_command_is_shown():
    shown = {line.split()[1] for line in shown_commands()}
    assert shown == set(COMMANDS)


def test_the_ten_line_example_runs(tmp_path, monkeypatch, capsys):
    pixels = np.random.default_rng(0).normal(100, 8, (256, 256)).astype(np.float32)
    image = fits.PrimaryHDU(pixels)
    image.header["OBJECT"] = "M 31"
    image.writeto(tmp_path / "m31.fits")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(ROOT / "docs" / "examples" / "ten_lines.py"))
    assert capsys.readouterr().out.startswith("max-error ")
    assert names["corner"].shape == (64, 100)
    assert names["tokens"].ndim == 3
    error = np.abs(fits.getdata(tmp_path / "again.fits") - pixels).max()
    assert error <= names["result"].max_error
    assert names["result"].max_error == pytest.approx(1.0, rel=0.1)


def test_readme_has_one_line_that_runs_the_main_job_and_one_that_runs_the_tests():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    one_liners = [line for line in lines if line.startswith("python3 -m venv ")]
    assert len(one_liners) == 2
    assert one_liners[0].endswith("astro-vq demo")
    assert one_liners[1].endswith("-m pytest")
