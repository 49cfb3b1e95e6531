"""Splits by object, the record of a build, and what a folder refuses."""

import json

import pytest
from astro_vq.data_recipes.base import BuildOptions, build_recipe
from astro_vq.data_recipes.folder import SPLITS, safe_name, split_of

from astro_vq.errors import DataError

SMALL = BuildOptions(count=4, size=32)


def test_splits_are_80_10_10_and_depend_on_the_name_alone():
    counts = {split: 0 for split in SPLITS}
    for number in range(10_000):
        counts[split_of(f"object {number}")] += 1
    assert counts == {"train": 8017, "validation": 1029, "test": 954}
    assert split_of(" M31 ") == split_of("M31")


def test_names_are_safe_on_every_system():
    assert safe_name("../../etc/passwd") == "etc_passwd"
    assert safe_name("J010.5-02.3 a:b\\c") == "J010.5-02.3_a_b_c"
    assert safe_name("...") == "unnamed"
    assert len(safe_name("x" * 500)) == 120


def test_another_build_is_replaced_only_when_asked_and_only_its_files(tmp_path):
    build_recipe("simulated", tmp_path, SMALL)
    (tmp_path / "train" / "mine.txt").write_text("keep")
    other = BuildOptions(count=2, size=32, seed=1)
    with pytest.raises(FileExistsError, match="simulated with other options; use --overwrite"):
        build_recipe("simulated", tmp_path, other)
    build_recipe("simulated", tmp_path, other, overwrite=True)
    assert len(list(tmp_path.rglob("*.fits"))) == 2
    assert (tmp_path / "train" / "mine.txt").exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.fits").write_bytes(b"")
    with pytest.raises(FileExistsError, match="no recipe put there"):
        build_recipe("simulated", tmp_path, SMALL, overwrite=True)


def test_a_record_that_names_files_elsewhere_removes_none(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("")
    record = {"recipe": "x", "options": {}, "files": {"../victim": 1, "train/../../victim": 1}}
    (tmp_path / "out" / "recipe.json").write_text(json.dumps({**record, "sha256": {}}))
    build_recipe("simulated", tmp_path / "out", SMALL, overwrite=True)
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"recipe": 1}', '{"files": []}'])
def test_a_damaged_record_is_told(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(DataError, match=r"recipe\.json"):
        build_recipe("simulated", tmp_path, SMALL)
