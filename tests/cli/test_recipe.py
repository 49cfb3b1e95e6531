"""astro-vq recipe: list, show, build; errors in one line; what it builds trains."""

import json

import pytest
from astro_vq.cli.main import main
from astro_vq.data_recipes import download as fetching
from astro_vq.data_recipes.base import RECIPES
from bad_server import misbehaving
from click.testing import CliRunner
from fake_archives import answer
from matplotlib.figure import Figure


def run(*arguments):
    return CliRunner().invoke(main, ["recipe", *map(str, arguments)])


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(fetching, "sleep", lambda seconds: None)


def test_list_names_all_recipes():
    done = run("list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(RECIPES)
    assert [entry["name"] for entry in json.loads(run("list", "--json").stdout)] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_show_tells_licence_citation_source_and_whether_it_was_checked(name):
    text = run("show", name).stdout
    facts = json.loads(run("show", name, "--json").stdout)
    for key in ("licence", "citation", "summary"):
        assert facts[key] in text
    assert all(url in text for url in facts["urls"])
    assert ("NOT CHECKED" in text) == (bool(facts["urls"]) and facts["checked"] is None)
    if facts["urls"]:
        assert facts["checksum"] in text


def test_build_writes_splits_and_says_how_to_train(tmp_path):
    done = run("build", "simulated", "-o", tmp_path / "sky", "--count", 4, "--size", 32)
    assert done.exit_code == 0, done.stderr
    counts = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert list(counts) == ["train", "validation", "test"]
    assert sum(counts.values()) == len(list((tmp_path / "sky").rglob("*.fits"))) == 4
    assert f"astro-vq train --fits-dir {tmp_path / 'sky' / 'train'} -o RUN" in done.stderr


@pytest.mark.slow
def test_what_a_remote_recipe_builds_trains(tmp_path, monkeypatch):
    for name in ("draw_curves", "draw_reconstructions", "draw_usage"):  # tests/training draws them
        monkeypatch.setattr(f"astro_vq.training.outputs.{name}", lambda *_, **__: Figure())
    with misbehaving(answer) as server:
        server.faults = [("cut", 900), ("status", 429, {"Retry-After": "1"})]
        done = run("build", "sdss", "-o", tmp_path / "sky", "--count", 8, "--mirror", server.url,
                   "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert sum(result["images"].values()) == 8
    arguments = [*result["train"].split(), "--bands", "g,r,i", "-o", str(tmp_path / "run")]
    small = ["--steps", "2", "--batch-size", "2", "--cutout-size", "16", "--hidden-channels", "8"]
    trained = CliRunner().invoke(main, ["train", *arguments, *small, "--codes", "8"])
    assert trained.exit_code == 0, trained.stderr


def test_wrong_use_and_failures_are_one_line_each(tmp_path, monkeypatch):
    assert run("show").exit_code == 2
    done = run("build", "simulated")
    assert done.exit_code == 2
    assert "-o DIR" in done.stderr
    done = run("show", "nothing")
    assert done.exit_code == 1
    assert "there are: simulated, legacy-survey" in done.stderr
    monkeypatch.setattr(fetching, "POLICY", fetching.Policy(attempts=1))
    done = run("build", "keck", "-o", tmp_path / "k", "--mirror", "http://127.0.0.1:9")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "files.json: could not fetch http://127.0.0.1:9/api/datasets/AstroCompress/" in line
