"""The group of commands: names, help, flags that mean one thing, errors and exit statuses."""

import errno
import importlib
import subprocess
import sys

import click
import pytest
from astro_vq.cli.main import COMMANDS, main
from astro_vq.cli.options import SHARED_OPTIONS
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import astro_vq
from astro_vq.errors import AstroVQWarning, DataError


def load(name: str) -> click.Command:
    module, attribute = COMMANDS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str) -> list[click.Option]:
    return [param for param in load(name).params if isinstance(param, click.Option)]


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_stands_in_the_file_of_its_name(name):
    assert COMMANDS[name] == f"astro_vq.cli.{name}:{name}"
    assert load(name).name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    without = [param.opts for param in options_of(name) if not (param.help or "").strip()]
    assert without == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_what_the_command_does_with_two_examples(name):
    text = run(name, "--help").output
    examples = [line for line in text.splitlines() if line.startswith(f"    astro-vq {name}")]
    assert len(examples) >= 2
    assert text.splitlines()[2].strip().endswith(".")


EXCEPTIONS = {("train", "--model")}
"""Flags that the design gives a second meaning: the kind of model to train."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_shared_flag_means_the_same_in_every_command(name):
    owner = {flag: shared.flags for shared in SHARED_OPTIONS.values() for flag in shared.flags}
    for param in options_of(name):
        for flag in param.opts:
            if flag in owner and (name, flag) not in EXCEPTIONS:
                assert set(param.opts) == {text for text in owner[flag] if text.startswith("-")}


@pytest.mark.parametrize("name", COMMANDS)
def test_long_flags_are_words_with_dashes(name):
    for param in options_of(name):
        assert any(flag.startswith("--") for flag in param.opts)
        assert not any("_" in flag for flag in param.opts)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet_and_verbose(name):
    flags = {flag for param in options_of(name) for flag in param.opts}
    assert {"-q", "--quiet", "-v", "--verbose"} <= flags


def test_the_help_lists_every_command():
    done = run("--help")
    assert done.exit_code == 0
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"astro-vq, version {astro_vq.__version__}\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "astro_vq", "info", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("Usage: astro-vq info ")


def test_a_shell_completes_commands_and_options():
    complete = ShellComplete(main, {}, "astro-vq", "_ASTRO_VQ_COMPLETE")
    assert [item.value for item in complete.get_completions([], "comp")] == ["compress"]
    options = [item.value for item in complete.get_completions(["compress"], "--max")]
    assert options == ["--max-error"]


@pytest.mark.parametrize("arguments", [("squeeze",), ("compress",), ("info", "--nonsense", "x")])
def test_wrong_usage_exits_with_2(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage: " in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("x.fits: no image\nin it"), "astro-vq: error: x.fits: no image in it\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x.fits"),
            "astro-vq: error: x.fits: No such file or directory\n",
        ),
    ],
)
def test_an_error_is_one_line_on_stderr(monkeypatch, error, said):
    def fail(path, *, max_pixels):
        raise error

    monkeypatch.setattr(astro_vq, "open", fail, raising=False)
    done = run("info", "x.fits.avq")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", said)


def test_the_traceback_comes_with_vv_only(monkeypatch):
    def fail(path, *, max_pixels):
        raise DataError("broken")

    monkeypatch.setattr(astro_vq, "open", fail, raising=False)
    assert "Traceback" not in run("info", "-v", "x.avq").stderr
    loud = run("info", "-vv", "x.avq")
    assert loud.exit_code == 1
    assert "Traceback" in loud.stderr
    assert loud.stderr.endswith("astro-vq: error: broken\n")


def test_an_error_of_the_program_itself_is_not_hidden(monkeypatch):
    def fail(path, *, max_pixels):
        raise RuntimeError("a bug")

    monkeypatch.setattr(astro_vq, "open", fail, raising=False)
    assert isinstance(run("info", "x.avq").exception, RuntimeError)


def test_our_warnings_are_one_line_and_silent_when_quiet(monkeypatch):
    import warnings

    def warn(path, *, max_pixels):
        warnings.warn("look\nhere", AstroVQWarning, stacklevel=1)
        warnings.warn("of another package", UserWarning, stacklevel=1)
        raise DataError("stop")

    monkeypatch.setattr(astro_vq, "open", warn, raising=False)
    assert run("info", "x.avq").stderr.splitlines() == [
        "astro-vq: warning: look here",
        "astro-vq: error: stop",
    ]
    assert run("info", "-q", "x.avq").stderr.splitlines() == ["astro-vq: error: stop"]
