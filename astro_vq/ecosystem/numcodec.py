"""The pixel layer as a codec of numcodecs (Zarr version 2, kerchunk, xarray).

numcodecs finds it by its entry point: ``numcodecs.get_codec({"id": "astro_vq"})``.
"""

from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

from astro_vq.codec.array_bytes import check_options, decode_array, encode_array


class AstroVQ(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Compress chunks of images, lossless or within a bound.

    Parameters
    ----------
    max_error : float
        Largest ``abs(decoded - original)`` of a finite pixel; 0 is lossless, bit by bit.
    effort : int
        1 (fast) to 9 (small).
    tile_size : int
        Side in pixels of the tiles that a chunk is cut into: a multiple of 8.

    Examples
    --------
    >>> codec = AstroVQ(max_error=0.5)
    >>> codec
    AstroVQ(max_error=0.5, effort=5, tile_size=256)
    >>> image = np.random.default_rng(0).normal(100, 5, (64, 64)).astype("float32")
    >>> bool(abs(codec.decode(codec.encode(image)) - image).max() <= 0.5)
    True
    """

    codec_id: ClassVar[str] = "astro_vq"

    def __init__(self, max_error: float = 0.0, *, effort: int = 5, tile_size: int = 256) -> None:
        check_options(max_error, effort, tile_size)
        self.max_error = float(max_error)
        self.effort = int(effort)
        self.tile_size = int(tile_size)

    def encode(self, buf: Any) -> bytes:  # noqa: ANN401 - whatever has the buffer protocol
        """Return an array as bytes.

        Raises
        ------
        TypeError
            It is neither integers nor floats of 32 or 64 bits.
        """
        return encode_array(
            np.asarray(buf),
            max_error=self.max_error,
            effort=self.effort,
            tile_size=self.tile_size,
        )

    def decode(self, buf: Any, out: Any = None) -> Any:  # noqa: ANN401 - see `encode`
        """Return the array of some bytes, with its shape; into `out` if that is given.

        Raises
        ------
        FormatError
            The bytes are damaged.
        """
        return ndarray_copy(decode_array(ensure_bytes(buf)), out)

    def get_config(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {
            "id": self.codec_id,
            "max_error": self.max_error,
            "effort": self.effort,
            "tile_size": self.tile_size,
        }

    def __repr__(self) -> str:
        return (
            f"AstroVQ(max_error={self.max_error!r}, effort={self.effort}, "
            f"tile_size={self.tile_size})"
        )
