"""MiraBest: radio galaxies out of batches that are pickles, which are never unpickled."""

import pickletools
import re
import tarfile

import numpy as np
from numpy.typing import NDArray

from astro_vq.errors import DataError

from .archives import copy_rows, fetch_archive, split_stacks
from .base import BuildOptions, Recipe, Report
from .facts import recipe_of
from .folder import BuildFolder

SIDE = 150
_BATCH = re.compile(r"(?:.*/)?(data_batch_\d+|test_batch)$")
_BLOBS = {"BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "BINUNICODE", "BINUNICODE8"}
_LARGEST = 1 << 28  # bytes of a batch; a real one has some 4 MB


def build_mirabest(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Fetch the archive and take the images of all batches, its own test batch among them.

    The batches name no objects, so that the object of an image is its place in a batch, and copies
    are told by the hash of their pixels when a model is trained.

    Raises
    ------
    DownloadError
        When it cannot be fetched.
    DataError
        When the archive is not as it is described.
    """
    path = fetch_archive(recipe, folder, options, report)
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                found = _BATCH.match(member.name)
                file = archive.extractfile(member) if found and member.isfile() else None
                if found is None or file is None:
                    continue
                if member.size > _LARGEST:
                    raise DataError(f"{path}: {member.name} has {member.size} bytes")
                batch = images_of_pickle(file.read())
                names += [f"{found[1]}-{row:04d}" for row in range(len(batch))]
                images.append(batch)
    except (tarfile.TarError, OSError, EOFError) as err:
        raise DataError(f"{path} is a damaged archive ({err}); remove it and run again") from err
    if not names:
        raise DataError(f"{path} is not as {recipe.home} describes it: it has no images")
    count = options.count or recipe.count
    with split_stacks(folder, names[:count], (SIDE, SIDE), ()) as files:
        copy_rows(files, np.concatenate(images)[:count])


def images_of_pickle(stream: bytes) -> NDArray[np.uint8]:
    """Return the images (N, 150, 150) that a pickle holds, read as a list of operations.

    Nothing of it is carried out: an operation whose argument is as long as whole images gives its
    bytes, and all others are passed over.

    Raises
    ------
    DataError
        When it is no pickle.
    """
    size = SIDE * SIDE
    found = []
    try:
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name not in _BLOBS:
                continue
            blob = argument.encode("latin-1", "replace") if isinstance(argument, str) else argument
            if blob and len(blob) % size == 0:
                found.append(np.frombuffer(bytes(blob), np.uint8).reshape(-1, SIDE, SIDE))
    except ValueError as err:
        raise DataError(f"a batch is no pickle ({err})") from err
    return np.concatenate(found) if found else np.empty((0, SIDE, SIDE), np.uint8)


RECIPE = recipe_of(__file__, build_mirabest, set())
