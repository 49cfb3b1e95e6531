"""Galaxy10 DECaLS: one HDF5 file of galaxies, split by object."""

import h5py
import numpy as np

from astro_vq.errors import DataError

from .archives import copy_rows, fetch_archive, split_stacks
from .base import BuildOptions, Recipe, Report
from .facts import recipe_of
from .folder import BuildFolder


def build_galaxy10(
    recipe: Recipe, folder: BuildFolder, options: BuildOptions, report: Report
) -> None:
    """Fetch the file and write its images as (N, 3, H, W), with ids, classes, ra and dec.

    Raises
    ------
    DownloadError
        When it cannot be fetched.
    DataError
        When the file is not as it is described.
    """
    path = fetch_archive(recipe, folder, options, report)
    try:
        with h5py.File(path, "r") as source:
            count = min(len(source["images"]), options.count or recipe.count)
            ra, dec = source["ra"][:count], source["dec"][:count]
            names = [f"J{a:09.5f}{d:+09.5f}" for a, d in zip(ra, dec, strict=True)]
            height, width, channels = source["images"].shape[1:]
            with split_stacks(folder, names, (channels, height, width), recipe.bands) as files:
                copy_rows(files, source["images"])
                for file in files.values():
                    rows = file["row"][:]
                    file["class"] = np.asarray(source["ans"][:count])[rows]
                    file["ra"], file["dec"] = ra[rows], dec[rows]
    except (OSError, KeyError, ValueError) as err:
        raise DataError(f"{path} is not as {recipe.home} describes it ({err})") from err


RECIPE = recipe_of(__file__, build_galaxy10, set())
