"""The pixel layer as a codec of Zarr version 3 (zarr-python 3), from arrays to bytes.

zarr finds it by its entry point; in the metadata of an array its name is ``astro_vq``.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from zarr.abc.codec import ArrayBytesCodec

from astro_vq.codec.array_bytes import check_dtype, check_options, decode_array, encode_array

NAME = "astro_vq"


@dataclass(frozen=True)
class AstroVQ(ArrayBytesCodec):  # type: ignore[misc]  # zarr is an extra
    """Compress chunks of images, lossless or within a bound.

    Give it as ``serializer`` to `zarr.create_array`, with ``compressors=None``.

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
    >>> AstroVQ(max_error=0.5).to_dict()["name"]
    'astro_vq'
    """

    max_error: float = 0.0
    effort: int = 5
    tile_size: int = 256

    is_fixed_size = False

    def __post_init__(self) -> None:
        check_options(self.max_error, self.effort, self.tile_size)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the codec that metadata describe.

        Raises
        ------
        ValueError
            They are those of another codec, or settings are impossible.
        """
        if data.get("name") != NAME:
            raise ValueError(f"expected the codec {NAME!r}, got {data.get('name')!r}")
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings as JSON-able values."""
        return {"name": NAME, "configuration": asdict(self)}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:  # noqa: ANN401
        """Refuse an array that the codec cannot hold.

        Raises
        ------
        TypeError
            Its pixels are neither integers nor floats of 32 or 64 bits.
        """
        check_dtype(dtype.to_native_dtype())

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:  # noqa: ANN401
        """Refuse: the size depends on the pixels."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        due = tuple(chunk_spec.shape), chunk_spec.dtype.to_native_dtype()
        array = await asyncio.to_thread(decode_array, chunk_data.to_bytes(), expected=due)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(array)

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        data = await asyncio.to_thread(encode_array, chunk_data.as_numpy_array(), **asdict(self))
        return chunk_spec.prototype.buffer.from_bytes(data)
