"""What pyproject.toml says about the package agrees with what lies in the folders."""

import importlib.metadata
import importlib.resources
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import astro_vq

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
TOPS = SETUPTOOLS["package-dir"]


def folder_of(package: str) -> Path:
    """Return the folder of a package by the longest entry of package-dir that it starts with."""
    top = max((name for name in TOPS if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT.joinpath(TOPS[top], *package.removeprefix(top).strip(".").split("."))


def packages_on_disk() -> set[str]:
    return {
        ".".join([top, *init.parent.relative_to(ROOT / folder).parts])
        for top, folder in TOPS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }


def test_the_list_of_packages_is_that_of_the_folders():
    listed = SETUPTOOLS["packages"]
    assert sorted(listed) == sorted(packages_on_disk())
    assert len(set(listed)) == len(listed)
    assert listed == sorted(listed)


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent for top in TOPS.values() for path in (ROOT / top).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_every_data_file_is_shipped_by_a_pattern():
    patterns = SETUPTOOLS["package-data"]
    forgotten = []
    for package in SETUPTOOLS["packages"]:
        folder = folder_of(package)
        below = [folder_of(other) for other in SETUPTOOLS["packages"] if other != package]
        inner = [other for other in below if folder in other.parents]
        for path in folder.rglob("*"):
            if not path.is_file() or path.suffix == ".py" or path.parent.name == "__pycache__":
                continue
            if any(other in path.parents for other in inner):
                continue
            name = path.relative_to(folder).as_posix()
            rules = [pattern.replace("**/", "") for pattern in patterns.get(package, [])]
            if not any(fnmatch(name, rule) or fnmatch(path.name, rule) for rule in rules):
                forgotten.append(path.relative_to(ROOT).as_posix())
    assert forgotten == []


def test_the_shipped_model_is_found_in_the_installed_package():
    folder = importlib.resources.files("astro_vq.pretrained") / "default"
    names = {entry.name for entry in folder.iterdir()}
    assert {"model.safetensors", "model.json"} <= names
    weights = (folder / "model.safetensors").read_bytes()
    assert 0 < len(weights) <= 8_000_000


def test_the_version_is_the_same_everywhere():
    assert astro_vq.__version__ == PROJECT["project"]["version"]
    assert importlib.metadata.version("astro-vq") == astro_vq.__version__


def test_the_changelog_has_an_entry_for_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {astro_vq.__version__}" in changelog


def test_the_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="astro-vq")
    assert entry.value == PROJECT["project"]["scripts"]["astro-vq"]
    assert callable(entry.load())


@pytest.mark.parametrize("extra", ["bench", "dask", "dev", "docs", "recipes", "remote", "zarr"])
def test_every_promised_extra_is_there(extra):
    assert PROJECT["project"]["optional-dependencies"][extra]


def test_the_package_says_that_it_is_typed():
    assert (importlib.resources.files("astro_vq") / "py.typed").is_file()
