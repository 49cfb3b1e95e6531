"""One HDU of an `.avq` file, as `astro_vq.open` gives it."""

import warnings
from functools import cached_property
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq.codec.container import IMAGE
from astro_vq.codec.coordinates import section_wcs, whole_wcs
from astro_vq.codec.kept import read_original_header
from astro_vq.codec.lazy import dask_array
from astro_vq.codec.models import ModelSource
from astro_vq.codec.preview import decode_preview
from astro_vq.codec.section import Section
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.codec.stored_image import StoredImage
from astro_vq.codec.token_bits import measure_bits
from astro_vq.errors import DataError
from astro_vq.io.cards import split_cards
from astro_vq.io.fits_structure import first_cards, text_of


class AvqHDU:
    """One HDU of the original, as it is in an `.avq` file.

    Parameters
    ----------
    file : StoredFile
        The file.
    hdu : StoredHDU
        The HDU.
    models : ModelSource
        Gives the model when tokens are decoded.

    Attributes
    ----------
    index : int
        Number of the HDU.
    """

    def __init__(self, file: StoredFile, hdu: StoredHDU, models: ModelSource) -> None:
        self.index = hdu.index
        self._file = file
        self._hdu = hdu
        self._models = models

    @cached_property
    def _image(self) -> StoredImage | None:
        return StoredImage(self._file, self._hdu) if self._hdu.kind == IMAGE else None

    @property
    def is_image(self) -> bool:
        """Whether it is an image with axes (they may be empty)."""
        return self._image is not None and bool(self._image.info.shape)

    @property
    def header_bytes(self) -> bytes:
        """The original header, byte for byte, END and padding included."""
        if self._image is not None:
            return self._image.header
        return read_original_header(self._file, self._hdu)

    @property
    def header(self) -> fits.Header:
        """The original header as astropy reads it; `header_bytes` has what it cannot read."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fits.Header.fromstring(self.header_bytes)

    @property
    def name(self) -> str:
        """EXTNAME, or ''."""
        return text_of(first_cards(split_cards(self.header_bytes)), "EXTNAME")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, slowest axis first; () without an image."""
        return self._image.info.shape if self._image else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of `data`, that which astropy gives."""
        return np.dtype(self._need_image().info.image_dtype)

    @property
    def fidelity(self) -> str:
        """What was promised: 'tokens', 'max-error' or 'lossless'."""
        return self._image.fidelity if self._image else "lossless"

    @property
    def max_error(self) -> float | None:
        """Largest error of a pixel in the unit of the image; None for tokens."""
        return self._image.bound if self._image else 0.0

    @property
    def section(self) -> Section:
        """The image, to be indexed: reads and decodes only the tiles that are needed."""
        return Section(self.shape, self._read_plane, self.dtype, self._whole_wcs)

    @property
    def wcs(self) -> Any:  # noqa: ANN401 - astropy has no types
        """World coordinates (astropy.wcs.WCS) of the image, those of its header."""
        return self._whole_wcs()

    def section_wcs(self, key: Any) -> Any:  # noqa: ANN401 - whatever stands in square brackets
        """Return the world coordinates of ``section[key]``.

        Parameters
        ----------
        key : int, slice, Ellipsis, or tuple of them
            As given to `section`.

        Returns
        -------
        astropy.wcs.WCS
            Pixel k of the section lies where its pixel lies in the image. An axis that `key` drops
            is fixed; what comes back is then one of astropy's sliced WCS.

        Raises
        ------
        ValueError
            A step is negative, or is not 1 where the coordinates have distortions.
        """
        return section_wcs(self.wcs, self.shape, key)

    def to_dask(self, *, chunks: Any = None) -> Any:  # noqa: ANN401 - dask is an extra
        """Return the image as a `dask.array` that decodes chunk by chunk.

        Parameters
        ----------
        chunks : int, tuple or str, optional
            As dask takes them; one tile by default. Multiples of the tiles are decoded faster.

        Returns
        -------
        dask.array.Array
            It goes to other processes and machines when the file was opened by name or URL.

        Raises
        ------
        DataError
            dask is not installed.
        """
        image = self._need_image()
        if chunks is None:
            grid = image.table.grid
            tile = grid.tile_height, grid.tile_width
            chunks = (*(1 for _ in self.shape[:-2]), *tile[2 - len(self.shape[-2:]) :])
        checksum = self._hdu.keywords.text("CHECKSUM", default="")
        label = (self._file.name, self.index, self._file.size, checksum)
        return dask_array(self.section, chunks, label, self._hdu.where)

    def _whole_wcs(self) -> Any:  # noqa: ANN401 - astropy has no types
        self._need_image()
        return whole_wcs(self.header)

    @property
    def data(self) -> NDArray[Any]:
        """The whole image: physical values, NaN where missing (integers stay integers)."""
        return self.section[...]

    @property
    def tokens(self) -> NDArray[np.int32]:
        """Code indices (K, h, w); (N, K, h, w) for a cube of N planes (or stacks of bands)."""
        layer = self._need_image().tokens
        stacks, _, height, width = layer.shape
        maps = [
            layer.read(stack, slice(0, height), slice(0, width)).astype(np.int32)
            for stack in range(stacks)
        ]
        if len(self.shape) <= 2:
            return maps[0] if maps else np.zeros(layer.shape[1:], np.int32)
        return np.stack(maps) if maps else np.zeros(layer.shape, np.int32)

    def measure_tokens(self) -> dict[str, Any]:
        """Return how many tokens there are and what one takes (decodes them all, no pixels).

        Returns
        -------
        dict
            ``count`` and, where there are any, bits per token: ``fixed_width``, ``order_0`` (their
            entropy) and ``coded``; see `astro_vq.codec.token_bits.measure_bits`. Of sparse tokens
            also ``detail_bytes``, of the detail beside them.
        """
        image = self._need_image()
        layer = image.tokens
        maps = self.tokens.reshape(-1, *layer.shape[1:])
        coded, detail = layer.stream_bytes()
        sparse = layer.sparse is not None
        bits = measure_bits(maps, codes=layer.layer.codes, sparse=sparse, coded_bytes=coded)
        return {**bits, "detail_bytes": detail} if sparse else bits

    @property
    def token_scalings(self) -> NDArray[np.float64]:
        """Sky level and noise (planes, 2), unit of the image, that tokens take for 0 and 1."""
        scalings = self._need_image().tokens.scalings
        return np.array([(scaling.sky, scaling.sigma) for scaling in scalings]).reshape(-1, 2)

    @property
    def preview(self) -> NDArray[np.float32]:
        """The image as its tokens alone give it (needs the model): denoised, shape as `shape`."""
        return self.read_preview().reshape(self.shape)

    def read_preview(self, shrink: int = 1) -> NDArray[np.float32]:
        """Return the image as its tokens alone give it (needs the model), scaled down.

        Works at every fidelity; no pixel stream is read.

        Parameters
        ----------
        shrink : int
            Side of the blocks of pixels that are averaged; those at the right and bottom edges
            may be smaller.

        Returns
        -------
        ndarray of float32
            In the unit of the image; shape as `shape`, the last two axes divided by `shrink` and
            rounded up.
        """
        image = self._need_image()
        tokens = image.tokens  # says so where there are none, before a model is looked for
        out = decode_preview(tokens, image.plane_axes, self._models.load(), shrink)
        return out.reshape(*self.shape[:-2], *out.shape[3 - len(self.shape[-2:]) :])

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens."""
        return self._image is not None and self._image.has_tokens

    def info(self) -> dict[str, Any]:
        """Return what is in it as JSON-able values, without decoding."""
        image = self._image
        about: dict[str, Any] = {"index": self.index, "kind": self._kind, "name": self.name}
        about["fidelity"] = self.fidelity
        about["max_error"] = self.max_error
        about["bytes"] = len(self._hdu.header) + self._hdu.size
        if image is None or not self.is_image:
            return about
        keywords = self._hdu.keywords
        tokens, pixels = image.table.stream_bytes()
        about |= {
            "shape": list(image.info.shape),
            "dtype": image.info.image_dtype,
            "unit": image.info.unit,
            "tiles": image.table.grid.count,
            "tile": [image.table.grid.tile_height, image.table.grid.tile_width],
            "pixel_bytes": pixels,
            "token_bytes": tokens,
        }
        if image.table.grid.pixels:
            about["bits_per_pixel"] = 8 * about["bytes"] / image.table.grid.pixels
        if image.non_negative:
            about["non_negative"] = True
        if "AVQSEED" in keywords:
            about["dither_seed"] = keywords.integer("AVQSEED")
        if self.has_tokens:
            layer = image.tokens.layer
            about["tokens"] = {"shape": list(image.tokens.shape)} | layer._asdict()
        if self.fidelity == "tokens":
            about["sigma"] = keywords.number("AVQSIGMA")
            about["rms_error_sigma"] = keywords.number("AVQRMS")
            about["largest_error"] = keywords.number("AVQWORST")
        return about

    @property
    def _kind(self) -> str:
        if self._image is None:
            return "other"
        return "image" if self.is_image else "header"

    def _need_image(self) -> StoredImage:
        if self._image is None or not self.is_image:
            raise DataError(
                f"{self._hdu.where} is no image; decompress the file, or read it with astropy"
            )
        return self._image

    def _read_plane(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        image = self._need_image()
        model = self._models.load() if image.fidelity == "tokens" else None
        return image.info.to_image(image.read(plane, ys, xs, model=model))
