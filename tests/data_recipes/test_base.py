"""What every recipe of the table promises, and that each builds what the trainer reads."""

import dataclasses
import datetime
import json
from collections import Counter

import h5py
import numpy as np
import pytest
from astro_vq.data_recipes import download as fetching
from astro_vq.data_recipes.base import RECIPES, BuildOptions, Recipe, build_recipe, load_recipe
from astro_vq.data_recipes.folder import SPLITS
from astropy.io import fits
from bad_server import misbehaving
from fake_archives import answer

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import ConfigError, DataError, DownloadError

REMOTE = [name for name in RECIPES if name != "simulated"]


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(fetching, "sleep", waited.append)
    return waited


@pytest.fixture(scope="module")
def server():
    with misbehaving(answer) as running:
        yield running


@pytest.fixture
def unsigned(monkeypatch):
    """Take away the checksums of the real files, which the fake ones cannot have."""
    for name in ("galaxy10", "mirabest"):
        facts = load_recipe(name).facts
        monkeypatch.setitem(facts, "checksum", "")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_table_states_its_facts(name):
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert recipe.name == name
    assert "\n" not in recipe.summary
    for text in (recipe.summary, recipe.description, recipe.licence, recipe.citation, recipe.size):
        assert len(text) > 10
    assert recipe.count > 0
    assert callable(recipe.build)
    assert recipe.options <= {field.name for field in dataclasses.fields(BuildOptions)}
    assert ("mirror" in recipe.options) == bool(recipe.urls) == (name != "simulated")
    for url in (*recipe.urls, *([recipe.home] if recipe.urls else [])):
        assert url.startswith("https://")
    if recipe.urls:
        assert datetime.date.fromisoformat(recipe.written)
        assert not recipe.checked or datetime.date.fromisoformat(recipe.checked)


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="simulated"):
        load_recipe("nothing")


def build(server, name, folder, count=8, **options):
    url = server.url if server else ""
    return build_recipe(name, folder, BuildOptions(count=count, mirror=url, **options))


@pytest.mark.parametrize("name", REMOTE)
def test_every_recipe_builds_what_the_trainer_reads(name, server, unsigned, tmp_path):
    result = build(server, name, tmp_path / "data", count=2 if name == "ztf-stamps" else 8)
    record = json.loads((tmp_path / "data" / "recipe.json").read_text())
    assert record["complete"]
    assert record["licence"]
    assert sum(result.images.values()) >= 6
    folders = [tmp_path / "data" / split for split in SPLITS]
    stacks = [folder / "images.h5" for folder in folders if (folder / "images.h5").exists()]
    index = CutoutIndex.build(() if stacks else folders, stacks)
    assert not index.rejects
    channels = 3 if name in ("legacy-survey", "sdss", "galaxy10") else 1
    assert len(index.images) == sum(result.images.values()) * channels
    asked = len(server.asked)
    again = build(server, name, tmp_path / "data", count=2 if name == "ztf-stamps" else 8)
    assert again.images == result.images
    assert len(server.asked) == asked  # all is there


def test_simulated_frames_are_of_four_kinds_and_repeatable(tmp_path):
    options = BuildOptions(count=8, size=64, seed=3)
    lines = []
    result = build_recipe("simulated", tmp_path / "a", options, report=lines.append)
    assert len(lines) == sum(result.images.values()) == 8
    build_recipe("simulated", tmp_path / "b", options)
    kinds = Counter()
    for path in (tmp_path / "a").rglob("*.fits"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
        data, header = fits.getdata(path, header=True)
        assert data.shape == (64, 64)
        kind = path.name.partition("-")[0]
        kinds[kind] += 1
        assert (header["BUNIT"] == "Jy/beam") == (kind == "radio") == ("BMAJ" in header)
        assert (data.dtype.kind == "u") == (kind == "counts")
        if kind == "counts":
            assert np.median(data) <= 3
    assert kinds == dict.fromkeys(("plain", "correlated", "radio", "counts"), 2)


def test_a_position_without_an_image_is_left_out_and_told(server, tmp_path, waits):
    server.faults = [("none",), ("status", 404)]
    result = build(server, "lotss", tmp_path, count=3)
    assert sum(result.images.values()) == 2
    ((name, reason),) = result.left_out.items()
    assert name.startswith("J")
    assert "404" in reason
    assert waits == [2.0, 2.0]  # between requests


def test_a_build_that_broke_off_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "POLICY", fetching.Policy(attempts=1))
    server.faults = [("none",), ("cut", 3000)]
    with pytest.raises(DownloadError, match="3000 bytes are kept"):
        build(server, "first", tmp_path, count=3)
    assert not json.loads((tmp_path / "recipe.json").read_text())["complete"]
    before = len(server.asked)
    result = build(server, "first", tmp_path, count=3)
    assert sum(result.images.values()) == 3
    assert len(server.asked) == before + 2
    assert server.asked[before][1] == "bytes=3000-"


def test_a_page_of_text_is_no_image(tmp_path):
    with (
        misbehaving(lambda path: b"<html>Down for maintenance") as server,
        pytest.raises(DataError, match=r"no image.*Down for maintenance"),
    ):
        build(server, "lotss", tmp_path, count=2)


def test_a_service_that_gives_nothing_is_not_asked_on_and_on(tmp_path):
    with misbehaving(lambda path: None) as server:
        with pytest.raises(DownloadError, match=r"first 10 positions gave nothing.*dr2_release"):
            build(server, "lotss", tmp_path, count=50)
        assert len(server.asked) == 10


def test_positions_come_from_a_list(server, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("Name, RAJ2000, DEJ2000\nM 51, 202.4696, 47.1952\nM101,210.802,54.349\n")
    result = build(server, "legacy-survey", tmp_path / "d", None, positions=table, bands=("g", "z"))
    found = {path.name for path in (tmp_path / "d").rglob("*.fits")}
    assert found == {"M_51.fits", "M101.fits"}
    assert sum(result.images.values()) == 2
    path, _ = server.asked[-1]
    assert "ra=210.802&dec=54.349&size=256&layer=ls-dr9&pixscale=0.262&bands=gz" in path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x\nM31,3\n", "no column dec, ra"),
        ("ra,dec\n", "lists no position"),
        ("ra,dec\n10,95\n", "line 2: dec is '95'"),
        ("ra,dec\n00:42:44,41\n", "line 2: ra is '00:42:44'"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ConfigError, match=f"list.csv.*{message}"):
        build(None, "sdss", tmp_path / "d", None, positions=tmp_path / "list.csv")


def test_options_that_a_recipe_does_not_take_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no use for --positions; it takes --count, --seed"):
        build_recipe("simulated", tmp_path, BuildOptions(positions=tmp_path / "x"))
    with pytest.raises(ConfigError, match="8 to 512 pixels, not 4096"):
        build(None, "sdss", tmp_path, size=4096)
    with pytest.raises(ConfigError, match="bands g, r, i"):
        build(None, "sdss", tmp_path, bands=("y",))


def test_a_file_without_a_stated_checksum_is_recorded_and_then_held_to(server, tmp_path):
    build(server, "ztf-alerts", tmp_path)
    (tmp_path / "downloads" / "ztf_public_20230220.tar.gz").write_bytes(b"spoilt")
    sums = (tmp_path / "downloads" / "SHA256SUMS").read_text()
    assert sums.endswith("  ztf_public_20230220.tar.gz\n")
    monkey = build(server, "ztf-alerts", tmp_path)
    assert sum(monkey.images.values()) == 21
    assert (tmp_path / "downloads" / "SHA256SUMS").read_text() == sums


def test_a_checksum_that_is_stated_is_held_to(server, tmp_path):
    with pytest.raises(DownloadError, match="it should be md5:965b5daa"):
        build(server, "mirabest", tmp_path)


def test_images_of_galaxy10_keep_their_rows(server, unsigned, tmp_path):
    build(server, "galaxy10", tmp_path, count=30)
    with h5py.File(tmp_path / "downloads" / "Galaxy10_DECals.h5") as source:
        images = source["images"][:]
        for split in SPLITS:
            if (tmp_path / split / "images.h5").exists():
                with h5py.File(tmp_path / split / "images.h5") as file:
                    rows = file["row"][:]
                    np.testing.assert_array_equal(
                        file["images"][:], images[rows].transpose(0, 3, 1, 2)
                    )
                    np.testing.assert_array_equal(file["class"][:], rows % 10)
