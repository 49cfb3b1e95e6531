"""The order in which parts may import each other, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FOLDERS = {
    "astro_vq": ROOT / "astro_vq",
    "astro_vq.cli": ROOT / "cli",
    "astro_vq.data_recipes": ROOT / "data_recipes",
}

LEVELS = [
    {"errors", "types"},
    {"config", "io"},
    {"batch", "collective", "data", "layers"},
    {"quantizers", "likelihoods", "entropy"},
    {"models", "priors"},
    {"codec", "checkpoint"},
    {"training", "metrics", "plotting", "ecosystem"},
    {"report"},
    {"data_recipes", "cli"},
    {"__main__"},
]
"""Parts of the package, from those that import nothing of ours to those that import all."""

LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}
STRANGERS = {"quantizers", "likelihoods", "entropy"}


def find_modules() -> dict[str, Path]:
    modules = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            names = [package, *path.relative_to(folder).with_suffix("").parts]
            modules[".".join(name for name in names if name != "__init__")] = path
    return modules


MODULES = find_modules()


@cache
def imports_of(name: str) -> tuple[str, ...]:
    return tuple(find_imports(name))


def find_imports(name: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever the import stands."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(
                [*(start if node.level else []), *([node.module] if node.module else [])]
            )
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def part_of(module: str) -> str:
    """Return the part of the package that a module belongs to; '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


def foreign_imports(name: str) -> set[str]:
    return {target.split(".")[0] for target in imports_of(name)}


def find_misplaced() -> Iterator[str]:
    """Yield each import of a part that stands after the module's own, or beside it."""
    for name in sorted(MODULES):
        part = part_of(name)
        for target in imports_of(name):
            if target.split(".")[0] != "astro_vq":
                continue
            other = part_of(target)
            if part in ("", "pretrained"):
                yield f"{name} imports {target}"
            elif target != "astro_vq" and (
                LEVEL[other] > LEVEL[part] or (other != part and {other, part} <= STRANGERS)
            ):
                yield f"{name} imports {target}, which stands after it or is a stranger to it"


def test_a_module_imports_only_what_stands_before_it():
    assert list(find_misplaced()) == []


LIBRARY = sorted(name for name in MODULES if part_of(name) not in ("", "cli", "data_recipes"))


def taken_from_the_top(name: str) -> set[str]:
    """Return what a module imports from the package itself, modules aside."""
    taken = {
        alias.name
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
        for alias in getattr(node, "names", [])
        if (isinstance(node, ast.ImportFrom) and node.module == "astro_vq" and not node.level)
        or (isinstance(node, ast.Import) and alias.name == "astro_vq")
    }
    return {found for found in taken if f"astro_vq.{found}" not in MODULES}


def test_the_library_takes_from_the_top_of_the_package_only_the_version():
    taken = {name: taken_from_the_top(name) - {"__version__"} for name in LIBRARY}
    assert {name: found for name, found in taken.items() if found} == {}


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        name: {target for target in imports_of(name) if target in MODULES and target != name}
        for name in MODULES
    }
    graph["astro_vq"] = set()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' -> '.join(error.args[1])}")


def importers_of(package: str) -> set[str]:
    """Return the modules that import a package of others."""
    return {name for name in MODULES if package in foreign_imports(name)}


def test_reading_files_needs_no_torch():
    assert [name for name in importers_of("torch") if part_of(name) == "io"] == []


def test_only_the_coder_imports_constriction():
    assert importers_of("constriction") == {"astro_vq.entropy.coder"}


def test_click_stays_within_the_command_line():
    assert {part_of(name) for name in importers_of("click")} == {"cli"}


def loaded_modules(*arguments: str) -> set[str]:
    """Run a fresh interpreter with these arguments; return the modules that it has at the end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr))\n" + arguments[0]
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split())


HEAVY = {"torch", "matplotlib", "scipy", "astropy", "h5py"}


def test_import_astro_vq_loads_nothing_heavy():
    assert not loaded_modules("import astro_vq") & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compress", "--help"],
        ["decompress", "--help"],
        ["demo", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    assert not loaded_modules("from astro_vq.cli.main import main\nmain()", *arguments) & HEAVY


def test_the_train_help_loads_no_torch():
    loaded = loaded_modules("from astro_vq.cli.main import main\nmain()", "train", "--help")
    assert "torch" not in loaded


def test_every_public_name_is_listed_once_and_found_where_it_says():
    import astro_vq

    listed = set(astro_vq.__all__) - {"__version__"}
    assert listed <= set(dir(astro_vq))
    for name in listed:
        assert getattr(astro_vq, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    import astro_vq

    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        astro_vq.compres  # noqa: B018
