"""The folder that a recipe builds: three splits by object, the downloads, and a record of it.

::

    DIR/train/ validation/ test/     FITS files, or one HDF5 file ``images.h5`` each
    DIR/downloads/                   archives as they were fetched, with SHA256SUMS
    DIR/recipe.json                  recipe, options, licence, citation, splits, what was left out
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from astro_vq.errors import DataError
from astro_vq.io.atomic import atomic_writer

SPLITS = ("train", "validation", "test")
RECORD = "recipe.json"
STACK = "images.h5"
_SHARES = (0.8, 0.9)  # where validation and test begin


class BuildResult(NamedTuple):
    """What was built: the folder, images of each split, and names left out with the reason."""

    folder: Path
    images: dict[str, int]
    left_out: dict[str, str]

    @property
    def train_options(self) -> str:
        """Options of ``astro-vq train`` that read the training split."""
        stack = self.folder / SPLITS[0] / STACK
        return f"--hdf5 {stack}" if stack.exists() else f"--fits-dir {self.folder / SPLITS[0]}"


def split_of(name: str) -> str:
    """Return the split of an object, by a hash of its name: 80, 10 and 10 per cent.

    The same name lies in the same split in every build, whatever else is in it.

    Examples
    --------
    >>> split_of("M31"), split_of("M33")
    ('train', 'train')
    """
    digest = hashlib.sha256(name.strip().encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return SPLITS[sum(share >= start for start in _SHARES)]


def safe_name(name: str) -> str:
    """Return a name that can be that of a file on every system."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name.strip()).strip("._")[:120] or "unnamed"


class BuildFolder:
    """A folder being built; see the module for what is in it.

    Parameters
    ----------
    path : Path
        Made if it is missing.
    about : dict
        For the record.  A folder with a record of the same recipe and options is gone on with.
    overwrite : bool
        Remove the files of another build first (those that its record lists).

    Raises
    ------
    FileExistsError
        When the folder holds another build, or files in its splits that no build made.
    """

    def __init__(self, path: Path, about: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.about = about
        self.images: dict[str, int] = {}  # of each file, by its name within the folder
        self.left_out: dict[str, str] = {}
        self.sums: dict[str, str] = {}
        self._prepare(overwrite)

    def _prepare(self, overwrite: bool) -> None:
        old = self._read_record()
        if not old.get("files"):
            old = {}  # a run that failed before it had anything
        same = old and all(old[key] == self.about[key] for key in ("recipe", "options"))
        if old and not same:
            if not overwrite:
                raise FileExistsError(
                    f"{self.path} holds a build of {old['recipe']} with other options; use "
                    "--overwrite to replace it, or another folder with -o"
                )
            for name in old["files"]:
                file = (self.path / name).resolve()
                if file.parent.parent == self.path.resolve() and file.parent.name in SPLITS:
                    file.unlink(missing_ok=True)
        elif not old and any(
            next((self.path / split).iterdir(), None)
            for split in SPLITS
            if (self.path / split).is_dir()
        ):
            raise FileExistsError(
                f"{self.path} has files in train, validation or test that no recipe put there; "
                "choose another folder with -o"
            )
        for split in SPLITS:
            (self.path / split).mkdir(parents=True, exist_ok=True)
        if old and same:
            self.images = {n: c for n, c in old["files"].items() if (self.path / n).is_file()}
        self._write_record(complete=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # so that a broken build can go on, or be replaced
            self._write_record(complete=False)

    def place(self, name: str, file_name: str) -> Path:
        """Return where a file with an image of the object `name` belongs."""
        return self.path / split_of(name) / file_name

    def has(self, path: Path) -> bool:
        """Tell whether an earlier run finished a file."""
        return self._name(path) in self.images and path.is_file()

    def add(self, path: Path, images: int = 1, sha256: str = "") -> None:
        """Count a finished file, with the checksum of what was fetched for it."""
        self.images[self._name(path)] = images
        if sha256:
            self.sums[self._name(path)] = sha256

    def leave_out(self, name: str, reason: str) -> None:
        """Record that an object is not there and why."""
        self.left_out[name] = reason

    @property
    def downloads(self) -> Path:
        """Folder of archives that images are taken from."""
        return self.path / "downloads"

    def finish(self) -> BuildResult:
        """Write the record and return what there is.

        Raises
        ------
        DataError
            When there is nothing.
        """
        counts = dict.fromkeys(SPLITS, 0)
        for name, images in self.images.items():
            counts[name.partition("/")[0]] += images
        self._write_record(complete=True)
        if not sum(counts.values()):
            example = next(iter(self.left_out.items()), ("", "there was nothing to fetch"))
            raise DataError(
                f"{self.path}: the recipe gave no image; {len(self.left_out)} were left out, such "
                f"as {example[0]}: {example[1]}"
            )
        return BuildResult(self.path, counts, dict(self.left_out))

    def splits(self) -> Iterator[tuple[str, Path]]:
        """Yield each split and its folder."""
        for split in SPLITS:
            yield split, self.path / split

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _read_record(self) -> dict[str, Any]:
        path = self.path / RECORD
        if not path.is_file():
            return {}
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            kinds = [type(record[key]) for key in ("recipe", "options", "files", "sha256")]
        except (ValueError, KeyError, TypeError) as err:
            raise DataError(
                f"{path} is damaged ({err}); remove the folder, or choose another with -o"
            ) from err
        if kinds != [str, dict, dict, dict]:
            raise DataError(f"{path} is no record of a build; choose another folder with -o")
        self.sums |= record["sha256"]
        return record

    def _write_record(self, *, complete: bool) -> None:
        record = {
            **self.about,
            "complete": complete,
            "files": self.images,
            "left_out": self.left_out,
            "sha256": self.sums,
        }
        with atomic_writer(self.path / RECORD, overwrite=True) as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())
