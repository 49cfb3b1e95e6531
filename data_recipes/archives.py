"""Archives that images are taken from: fetched once, and three HDF5 files of splits."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astro_vq.io.atomic import atomic_writer

from . import download as fetching
from .base import BuildOptions, Recipe, Report
from .folder import STACK, BuildFolder, split_of

SUMS = "SHA256SUMS"
_ROWS = 64


def fetch_archive(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> Path:
    """Fetch the one file of a recipe, or keep it when it is there and right.

    A file whose publisher states no checksum is recorded in ``SHA256SUMS`` when it comes for the
    first time, and held to that in later runs.
    """
    url = recipe.urls[0]
    path = folder.downloads / url.rsplit("/", 1)[-1]
    stated = str((recipe.facts or {}).get("checksum", ""))
    recorded = _recorded(folder.downloads / SUMS).get(path.name, "")
    checksum = stated or recorded
    report(f"{path.name}: {recipe.size}; checksum {checksum or 'not stated, recorded now'}")
    digest = fetching.download(
        url, path, checksum=checksum, mirror=options.mirror, policy=fetching.POLICY
    )
    if recorded != f"sha256:{digest}":
        sums = _recorded(folder.downloads / SUMS) | {path.name: f"sha256:{digest}"}
        lines = [f"{value.partition(':')[2]}  {name}\n" for name, value in sorted(sums.items())]
        with atomic_writer(folder.downloads / SUMS, overwrite=True) as file:
            file.write("".join(lines).encode())
    return path


def _recorded(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
    return {parts[1]: f"sha256:{parts[0]}" for parts in lines if len(parts) == 2}


@contextlib.contextmanager
def split_stacks(
    folder: BuildFolder, names: list[str], image_shape: tuple[int, ...], bands: tuple[str, ...]
) -> Iterator[dict[str, h5py.File]]:
    """Open three HDF5 files, with ids in and ``images`` of uint8 to be filled by `copy_rows`.

    Parameters
    ----------
    folder : BuildFolder
        The files appear in it when the block ends well.
    names : list of str
        Of the object of each image, in the order of the archive.
    image_shape : tuple of int
        (H, W) or (C, H, W).
    bands : tuple of str
        Names of the channels.
    """
    splits = np.array([split_of(name) for name in names])
    with contextlib.ExitStack() as stack:
        files = {}
        for split, place in folder.splits():
            rows = np.flatnonzero(splits == split)
            if not rows.size:
                continue
            raw = stack.enter_context(atomic_writer(place / STACK, overwrite=True))
            file = stack.enter_context(h5py.File(raw, "w"))
            images = file.create_dataset(
                "images", (rows.size, *image_shape), np.uint8, chunks=(1, *image_shape),
                compression="gzip", compression_opts=1,
            )  # fmt: skip
            if bands:
                images.attrs["bands"] = list(bands)
            file["id"] = [names[row] for row in rows]
            file["row"] = rows  # in the archive
            files[split] = file
        yield files
    for split, place in folder.splits():
        if split in files:
            folder.add(place / STACK, images=int(np.sum(splits == split)))


def copy_rows(files: dict[str, h5py.File], source: Any, first: int = 0) -> None:  # noqa: ANN401
    """Copy images (N, ...) of the archive's rows from `first` on to where they belong."""
    for file in files.values():
        rows = file["row"][:]
        inside = np.flatnonzero((rows >= first) & (rows < first + len(source)))
        for start in range(0, inside.size, _ROWS):
            take = inside[start : start + _ROWS]
            pixels: NDArray[Any] = np.asarray(source[rows[take] - first])
            file["images"][take] = np.moveaxis(pixels, 3, 1) if pixels.ndim == 4 else pixels
