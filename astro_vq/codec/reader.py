"""Reading `.avq` files from Python: `open`, whole images, sections, tokens, previews."""

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq.codec.container import FORMAT_VERSION
from astro_vq.codec.models import ModelSource
from astro_vq.codec.reader_hdu import AvqHDU
from astro_vq.codec.section import Section
from astro_vq.codec.stored import StoredFile
from astro_vq.errors import DataError


class AvqFile:
    """An open `.avq` file. What is asked of it as a whole is that of its first image.

    Parameters
    ----------
    file : binary file object
        Seekable.
    name : str
        For messages.
    model : str or path, optional
        Model to decode tokens with, instead of the one that the file names; same hash.
    device : str
        Where the model runs.
    owns_file : bool
        Whether `close` closes the file.

    Attributes
    ----------
    hdus : tuple of AvqHDU
        The HDUs of the original.

    Raises
    ------
    FormatError
        The file is no `.avq` file, or damaged.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        owns_file: bool = False,
    ) -> None:
        self._owns_file = owns_file
        self._stored = StoredFile(file, name)
        self._models = ModelSource(self._stored, model=model, device=device)
        self.hdus = tuple(AvqHDU(self._stored, hdu, self._models) for hdu in self._stored.hdus)

    def __enter__(self) -> "AvqFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it was open before."""
        if self._owns_file:
            self._stored.close()

    def __len__(self) -> int:
        return len(self.hdus)

    def __iter__(self) -> Iterator[AvqHDU]:
        return iter(self.hdus)

    def __getitem__(self, index: int) -> AvqHDU:
        return self.hdus[index]

    def __repr__(self) -> str:
        return f"<AvqFile {self._stored.name!r}: {self.fidelity}, {len(self.hdus)} HDUs>"

    @property
    def image(self) -> AvqHDU:
        """The first image that has pixels (or else the first image).

        Raises
        ------
        DataError
            There is none.
        """
        images = [hdu for hdu in self.hdus if hdu.is_image]
        if not images:
            raise DataError(f"{self._stored.name}: no image in this file")
        return next((hdu for hdu in images if 0 not in hdu.shape), images[0])

    @property
    def fidelity(self) -> str:
        """Fidelity of the loosest image."""
        return self._stored.globals.text("AVQFID")

    @property
    def header(self) -> fits.Header:
        """See `AvqHDU.header`."""
        return self.image.header

    @property
    def shape(self) -> tuple[int, ...]:
        """See `AvqHDU.shape`."""
        return self.image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `AvqHDU.dtype`."""
        return self.image.dtype

    @property
    def section(self) -> Section:
        """See `AvqHDU.section`."""
        return self.image.section

    @property
    def data(self) -> NDArray[Any]:
        """See `AvqHDU.data`."""
        return self.image.data

    @property
    def tokens(self) -> NDArray[np.int32]:
        """See `AvqHDU.tokens`."""
        return self.image.tokens

    @property
    def preview(self) -> NDArray[np.float32]:
        """See `AvqHDU.preview`."""
        return self.image.preview

    def info(self) -> dict[str, Any]:
        """Return what is in the file as JSON-able values, without decoding."""
        stored = self._stored
        model = None
        if self._models.hash:
            model = {
                "name": self._models.name,
                "hash": self._models.hash,
                "embedded": stored.model_bytes > 0,
                "bytes": stored.model_bytes,
            }
        return {
            "file": stored.name,
            "bytes": stored.size,
            "format": stored.globals.integer("AVQVERS", most=FORMAT_VERSION),
            "writer": stored.globals.text("AVQWRITE", default=""),
            "original": stored.globals.text("AVQNAME", default=""),
            "original_bytes": stored.globals.integer("AVQSIZE", default=0) or None,
            "fidelity": self.fidelity,
            "model": model,
            "hdus": [hdu.info() for hdu in self.hdus],
        }


def open(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> AvqFile:
    """Open an `.avq` file.

    Parameters
    ----------
    source : path, URL or binary file object
        URLs (``https://``, ``s3://``) need the package fsspec.
    model : str or path, optional
        Model to decode tokens with, instead of the one that the file names; same hash.
    device : str
        Where the model runs.

    Returns
    -------
    AvqFile
        Use it in a ``with`` block, or close it.

    Raises
    ------
    FormatError
        The file is no `.avq` file, or damaged.
    OSError
        It cannot be opened.
    """
    if not isinstance(source, str | os.PathLike):
        label = getattr(source, "name", None)
        shown = label if isinstance(label, str) else "<file object>"
        return AvqFile(source, shown, model=model, device=device)
    name = os.fspath(source)
    file = _open_url(name) if "://" in name else io.FileIO(name)
    try:
        return AvqFile(file, name, model=model, device=device, owns_file=True)
    except BaseException:
        file.close()
        raise


def _open_url(url: str) -> BinaryIO:
    try:
        import fsspec  # type: ignore[import-untyped]  # an optional package
    except ImportError as err:
        raise DataError(f"{url}: install the package fsspec to read URLs") from err
    file: BinaryIO = fsspec.open(url, "rb").open()
    return file
