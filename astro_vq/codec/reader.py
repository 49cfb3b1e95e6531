"""Reading `.avq` files from Python: `open`, whole images, sections, tokens, previews."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq.codec.container import FORMAT_VERSION, MAX_PIXELS
from astro_vq.codec.models import ModelSource
from astro_vq.codec.reader_hdu import AvqHDU
from astro_vq.codec.section import Section
from astro_vq.codec.stored import StoredFile
from astro_vq.errors import DataError
from astro_vq.io.byte_source import ByteSource, open_bytes


class AvqFile:
    """An open `.avq` file. What is asked of it as a whole is that of its first image.

    Headers have been read and checked; tiles are read when they are asked for. A file that was
    opened by name or URL can be pickled, and is opened again by whoever reads from the copy.

    Parameters
    ----------
    source : ByteSource
        The bytes.
    model : str or path, optional
        Model to decode tokens with, instead of the one that the file names; same hash.
    device : str
        Where the model runs.
    max_pixels : int or None
        See `open`.

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
        source: ByteSource,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        self._stored = StoredFile(source, max_pixels=max_pixels)
        self._models = ModelSource(self._stored, model=model, device=device)
        self.hdus = tuple(AvqHDU(self._stored, hdu, self._models) for hdu in self._stored.hdus)

    def __enter__(self) -> "AvqFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it was open before."""
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
    def wcs(self) -> Any:  # noqa: ANN401 - astropy has no types
        """See `AvqHDU.wcs`."""
        return self.image.wcs

    def section_wcs(self, key: Any) -> Any:  # noqa: ANN401 - whatever stands in square brackets
        """See `AvqHDU.section_wcs`."""
        return self.image.section_wcs(key)

    def to_dask(self, *, chunks: Any = None) -> Any:  # noqa: ANN401 - dask is an extra
        """See `AvqHDU.to_dask`."""
        return self.image.to_dask(chunks=chunks)

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

    def read_preview(self, shrink: int = 1) -> NDArray[np.float32]:
        """See `AvqHDU.read_preview`."""
        return self.image.read_preview(shrink)

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
    storage_options: Mapping[str, Any] | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> AvqFile:
    """Open an `.avq` file, reading its headers and nothing else.

    Parameters
    ----------
    source : path, URL or binary file object
        URLs (``https://``, ``s3://``) need the extra ``astro-vq[remote]``, and what fsspec needs
        for their kind.
    model : str or path, optional
        Model to decode tokens with, instead of the one that the file names; same hash.
    device : str
        Where the model runs.
    storage_options : mapping, optional
        What fsspec's file system needs to know for a URL, such as ``{"anon": True}``.
    max_pixels : int or None
        Refuse images with more pixels together, when they are looked at; None takes any.

    Returns
    -------
    AvqFile
        Use it in a ``with`` block, or close it.

    Raises
    ------
    FormatError
        The file is no `.avq` file, or damaged.
    DataError
        A package that the URL needs is not installed.
    OSError
        It cannot be opened.
    """
    opened = open_bytes(source, storage_options=storage_options)
    try:
        return AvqFile(opened, model=model, device=device, max_pixels=max_pixels)
    except BaseException:
        opened.close()
        raise
