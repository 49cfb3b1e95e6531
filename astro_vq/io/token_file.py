"""Token maps of many images in one HDF5 file.

Layout (format 1). Attributes of the file: ``format`` ('astro-vq tokens'), ``version``, ``writer``,
``model``, ``hash``, ``stride``, ``halo``, ``channels``, ``codes``, ``depth``. Datasets:

``tokens``
    All maps one after the other, each (K, h, w) in C order; uint8 or uint16.
``headers``
    Bytes of all headers of maps, 80 to a card: axes and world coordinates of the map.
``maps/first``, ``maps/shape``, ``maps/header``
    For each map where it starts in ``tokens``; K, h, w; where its header starts, and how long.
``maps/source``, ``maps/hdu``, ``maps/plane``, ``maps/name``, ``maps/object``
    File as it was named, HDU, first plane of the cube, EXTNAME, and OBJECT.
``maps/size``, ``maps/sky``, ``maps/sigma``
    Rows and columns of the image; sky level and noise (N, channels) that became 0 and 1.

With maps of one size, ``tokens[:].reshape(-1, K, h, w)`` is all of them.
"""

import os
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple, Self

import h5py
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq import __version__
from astro_vq.errors import FormatError

KIND = "astro-vq tokens"
VERSION = 1
"""Format number; a number never changes its meaning."""

_TOKENS_CHUNK = 2**16
_MAPS_CHUNK = 1024
_TEXTS = ("source", "name", "object")
_COLUMNS = {
    "first": (np.int64, ()),
    "shape": (np.int32, (3,)),
    "header": (np.int64, (2,)),
    "size": (np.int32, (2,)),
    "hdu": (np.int32, ()),
    "plane": (np.int32, ()),
}


class TokenFormat(NamedTuple):
    """What the tokens of a file are.

    Attributes
    ----------
    model, hash : str
        Name and content hash of the model.
    stride, halo, channels, codes, depth : int
        As `astro_vq.codec.tokens.TokenLayer` has them.
    """

    model: str
    hash: str
    stride: int
    halo: int
    channels: int
    codes: int
    depth: int


class ImageTokens(NamedTuple):
    """The token map of one image.

    Attributes
    ----------
    indices : ndarray of int, shape (K, h, w)
        Code indices.
    source : str
        File that the image came from, as it was named.
    hdu, plane : int
        HDU, and first plane of a cube.
    name, object : str
        EXTNAME and OBJECT, '' where there are none.
    size : (int, int)
        Rows and columns of the image, pixels.
    sky, sigma : tuple of float
        For each band the level and noise, unit of the image, that became 0 and 1.
    header : str
        FITS cards of the map: axes and world coordinates.
    """

    indices: NDArray[np.integer]
    source: str
    hdu: int
    plane: int
    name: str
    object: str
    size: tuple[int, int]
    sky: tuple[float, ...]
    sigma: tuple[float, ...]
    header: str

    def to_header(self) -> fits.Header:
        """Return the cards of the map; ``astropy.wcs.WCS`` takes them."""
        return fits.Header.fromstring(self.header)


class TokenWriter:
    """Writes token maps; a context manager.

    Parameters
    ----------
    file : path-like or binary file object
        Where to write; a file object must be readable too.
    tokens : TokenFormat
        What all maps are.
    append : bool
        Add to the maps that are there, instead of starting a new file.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        tokens: TokenFormat,
        *,
        append: bool = False,
    ) -> None:
        self._file = h5py.File(file, "r+" if append else "w")
        if not append:
            self._create(tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, maps: Iterable[ImageTokens]) -> None:
        """Add maps after those that are there."""
        items = list(maps)
        if not items:
            return
        table = self._file["maps"]
        values: dict[str, Any] = {
            "first": _append(self._file["tokens"], [item.indices.ravel() for item in items]),
            "shape": [item.indices.shape for item in items],
            "size": [item.size for item in items],
            "hdu": [item.hdu for item in items],
            "plane": [item.plane for item in items],
            "sky": [item.sky for item in items],
            "sigma": [item.sigma for item in items],
        }
        texts = [np.frombuffer(item.header.encode("ascii"), np.uint8) for item in items]
        starts = _append(self._file["headers"], texts)
        values["header"] = [(a, text.size) for a, text in zip(starts, texts, strict=True)]
        values |= {name: [getattr(item, name) for item in items] for name in _TEXTS}
        count = len(table["first"])
        for name, column in values.items():
            table[name].resize(count + len(items), axis=0)
            table[name][count:] = column

    def _create(self, tokens: TokenFormat) -> None:
        file = self._file
        file.attrs["format"], file.attrs["version"] = KIND, VERSION
        file.attrs["writer"] = f"astro-vq {__version__}"
        for name, value in tokens._asdict().items():
            file.attrs[name] = value
        dtype = np.uint8 if tokens.codes <= 2**8 else np.uint16
        packed = {"maxshape": (None,), "compression": "gzip", "shuffle": True}
        file.create_dataset("tokens", (0,), dtype, chunks=(_TOKENS_CHUNK,), **packed)
        file.create_dataset("headers", (0,), np.uint8, chunks=(_TOKENS_CHUNK,), **packed)
        columns = {**_COLUMNS, **dict.fromkeys(("sky", "sigma"), (np.float64, (tokens.channels,)))}
        for name, (kind, axes) in columns.items():
            _create_column(file, name, kind, axes)
        for name in _TEXTS:
            _create_column(file, name, h5py.string_dtype(), ())


def _create_column(file: h5py.File, name: str, kind: Any, axes: tuple[int, ...]) -> None:  # noqa: ANN401
    file.create_dataset(
        f"maps/{name}",
        (0, *axes),
        kind,
        maxshape=(None, *axes),
        chunks=(_MAPS_CHUNK, *axes),
    )


def _append(dataset: h5py.Dataset, pieces: list[NDArray[Any]]) -> list[int]:
    """Add arrays to a flat dataset; return where each starts."""
    start = int(dataset.shape[0])
    ends = start + np.cumsum([piece.size for piece in pieces])
    dataset.resize(int(ends[-1]), axis=0)
    dataset[start:] = np.concatenate(pieces).astype(dataset.dtype)
    return [start, *(int(end) for end in ends[:-1])]


class TokenFile:
    """Reads a file of token maps; a context manager.

    Nothing is open until it is needed, and each process opens the file for itself: it can be
    pickled and used after a fork.

    Parameters
    ----------
    path : path-like
        The file.

    Attributes
    ----------
    path : str
        Its name.
    format : TokenFormat
        What the tokens are.
    shapes : ndarray of int32, shape (N, 3)
        K, h and w of each map.

    Raises
    ------
    FormatError
        It is no such file, damaged, or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._handle: h5py.File | None = None
        self._process = 0
        file = self._opened()
        if file.attrs.get("format") != KIND:
            raise FormatError(f"{self.path}: an HDF5 file, but not one of astro-vq tokens")
        version = int(file.attrs.get("version", 0))
        if version > VERSION:
            raise FormatError(
                f"{self.path}: token file of version {version}, this astro-vq ({__version__}) "
                f"reads up to {VERSION}: upgrade astro-vq"
            )
        try:
            values = {name: file.attrs[name] for name in TokenFormat._fields}
            self.shapes: NDArray[np.int32] = file["maps/shape"][:]
        except KeyError as err:
            raise FormatError(f"{self.path}: damaged token file: {err}") from err
        numbers = (int(values[name]) for name in TokenFormat._fields[2:])
        self.format = TokenFormat(str(values["model"]), str(values["hash"]), *numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.shapes)

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._handle is not None and self._process == os.getpid():
            self._handle.close()
        self._handle = None

    def column(self, name: str) -> list[Any]:
        """Return one column of ``maps``, such as ``'source'``, as plain values."""
        stored = self._opened()["maps"][name]
        values = stored.asstr()[:] if name in _TEXTS else stored[:]
        return list(values.tolist())

    def indices(self, i: int) -> NDArray[np.integer]:
        """Return the indices (K, h, w) of a map, in the dtype of the file."""
        start = int(self._opened()["maps/first"][self._check(i)])
        shape = self.shapes[i]
        size = int(np.prod(shape, dtype=np.int64))
        try:
            flat = np.asarray(self._opened()["tokens"][start : start + size])
            return flat.reshape(shape)
        except (OSError, ValueError) as err:
            raise FormatError(f"{self.path}: map {i} cannot be read: {err}") from err

    def read(self, i: int) -> ImageTokens:
        """Return a map with what is known of it."""
        table, i = self._opened()["maps"], self._check(i)
        start, length = (int(n) for n in table["header"][i])
        text = bytes(self._opened()["headers"][start : start + length])
        return ImageTokens(
            indices=self.indices(i),
            hdu=int(table["hdu"][i]),
            plane=int(table["plane"][i]),
            size=tuple(table["size"][i].tolist()),
            sky=tuple(table["sky"][i].tolist()),
            sigma=tuple(table["sigma"][i].tolist()),
            header=text.decode("ascii"),
            **{name: str(table[name].asstr()[i]) for name in _TEXTS},
        )

    def _check(self, i: int) -> int:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.path}: map {i} asked, it has {len(self)}")
        return i

    def _opened(self) -> h5py.File:
        if self._handle is None or self._process != os.getpid():
            try:
                self._handle = h5py.File(self.path, "r")
            except FileNotFoundError:
                raise
            except OSError as err:
                raise FormatError(f"{self.path} is no HDF5 file, or damaged ({err})") from err
            self._process = os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}
