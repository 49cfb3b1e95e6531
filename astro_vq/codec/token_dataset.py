"""Token maps as a `torch` dataset: of a file that ``tokenize`` wrote, or of `.avq` files."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from astro_vq.codec.reader import open as open_avq
from astro_vq.codec.tokenize import is_avq, read_tokens
from astro_vq.errors import DataError
from astro_vq.io.token_file import ImageTokens, TokenFile, TokenFormat

_KEPT_MAPS = 8

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class _Place(NamedTuple):
    """Where a map lies: number in the token file, or `.avq` file, HDU and stack."""

    path: str
    hdu: int
    stack: int


class TokenDataset(Dataset[dict[str, Tensor]]):
    """Token maps, read when they are asked for.

    Can be pickled and used by any number of workers: each process opens files for itself, and
    keeps a few maps.

    Parameters
    ----------
    source : path, or sequence of paths
        A file that ``astro-vq tokenize`` wrote, a folder of `.avq` files (searched with all
        folders below it), or such files. All must be of one model.
    size : int, optional
        Give windows of `size` x `size` positions, side by side in each map, so that all items
        are alike; what is left at the right and bottom edges, and smaller maps, are left out.
        Whole maps when not given.

    Attributes
    ----------
    format : TokenFormat
        Model, stride, number of codes and depth.
    shapes : ndarray of int32, shape (N, 3)
        K, h and w of each map.

    Raises
    ------
    DataError
        There is no map, or none as large as `size`, or maps of different models.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> maps = TokenDataset("tokens.h5", size=16)  # doctest: +SKIP
    >>> for batch in DataLoader(maps, batch_size=32, num_workers=4):  # doctest: +SKIP
    ...     batch["indices"].shape  # (32, K, 16, 16)
    """

    def __init__(self, source: Paths, *, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ValueError(f"the size of windows must be positive, got {size}")
        self.size = size
        self._file: TokenFile | None = None
        self._places: list[_Place] = []
        paths = [source] if isinstance(source, str | os.PathLike) else list(source)
        first = Path(paths[0]) if paths else None
        if len(paths) == 1 and first is not None and first.is_file() and not is_avq(first):
            self._file = TokenFile(first)
            self.format, self.shapes = self._file.format, self._file.shapes
        else:
            self.format, self.shapes, self._places = _scan(_find(paths))
        self._kept: OrderedDict[int, NDArray[np.integer]] = OrderedDict()
        rows, columns = self.shapes[:, 1].astype(np.int64), self.shapes[:, 2].astype(np.int64)
        counts = np.ones(len(self.shapes), np.int64)
        if size is not None:
            counts = (rows // size) * (columns // size)
        self._ends = np.cumsum(counts)
        if not len(self):
            what = "is empty" if size is None else f"has no map of {size} x {size} positions"
            raise DataError(f"{', '.join(map(str, paths)) or 'nothing'}: {what}")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Return one item.

        Parameters
        ----------
        i : int
            Number of the item.

        Returns
        -------
        dict
            ``indices`` (K, h, w) int64; ``map``, the number of the map; ``corner`` (2,), row and
            column of the window within it.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of {len(self)}")
        i %= len(self)
        number = int(np.searchsorted(self._ends, i, side="right"))
        indices = self._map(number)
        y = x = 0
        if self.size is not None:
            across = int(self.shapes[number, 2]) // self.size
            row, column = divmod(i - int(self._ends[number - 1] if number else 0), across)
            y, x = row * self.size, column * self.size
            indices = indices[:, y : y + self.size, x : x + self.size]
        return {
            "indices": torch.from_numpy(indices.astype(np.int64)),
            "map": torch.tensor(number),
            "corner": torch.tensor([y, x]),
        }

    def describe(self, number: int) -> ImageTokens:
        """Return a map with its source, object, scaling and coordinates.

        Parameters
        ----------
        number : int
            Number of the map (``map`` of an item).
        """
        if self._file is not None:
            return self._file.read(number)
        place = self._places[number]
        plane = place.stack * self.format.channels
        maps = read_tokens(place.path).maps
        return next(item for item in maps if (item.hdu, item.plane) == (place.hdu, plane))

    def _map(self, number: int) -> NDArray[np.integer]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        if self._file is not None:
            indices = self._file.indices(number)
        else:
            place = self._places[number]
            with open_avq(place.path) as file:
                tokens = file[place.hdu].tokens
            indices = tokens if tokens.ndim == 3 else tokens[place.stack]
        self._kept[number] = indices
        if len(self._kept) > _KEPT_MAPS:
            self._kept.popitem(last=False)
        return indices

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_kept": OrderedDict()}


def _find(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    found: list[str] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found.extend(str(item) for item in sorted(path.rglob("*")) if is_avq(item))
        elif is_avq(path):
            found.append(str(path))
        else:
            raise DataError(f"{path}: one file of tokens alone, or .avq files and folders of them")
    return found


def _scan(paths: Sequence[str]) -> tuple[TokenFormat, NDArray[np.int32], list[_Place]]:
    """Return what the tokens of `.avq` files are, their shapes, and where they lie."""
    known: TokenFormat | None = None
    shapes: list[tuple[int, ...]] = []
    places: list[_Place] = []
    for path in paths:
        with open_avq(path) as file:
            about = file.info()
        for hdu in about["hdus"]:
            if "tokens" not in hdu:
                continue
            stacks, *shape = hdu["tokens"]["shape"]
            layer = {name: int(hdu["tokens"][name]) for name in TokenFormat._fields[2:]}
            found = TokenFormat(model=about["model"]["name"], hash=about["model"]["hash"], **layer)
            if known is not None and found.hash != known.hash:
                raise DataError(
                    f"{path}: tokens of model {found.model!r} (hash {found.hash}), but others are "
                    f"of {known.model!r} (hash {known.hash}); take the files of one model"
                )
            known = known or found
            for stack in range(stacks):
                shapes.append(tuple(shape))
                places.append(_Place(path, hdu["index"], stack))
    if known is None:
        raise DataError(f"no tokens in {', '.join(paths) or 'any .avq file: there is none'}")
    return known, np.array(shapes, np.int32).reshape(-1, 3), places
