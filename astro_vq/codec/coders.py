"""The registry of pixel coders: what the first byte of a pixel stream means.

An id never changes its meaning, so that old files decode for ever. To add a coder, write a class
with `id`, `encode` and `decode`, and enter it in `CODERS`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pcodec import ChunkConfig, standalone

from astro_vq.codec.bytestream import ByteReader, little_endian
from astro_vq.errors import FormatError

Tile = npt.NDArray[Any]
Shape = tuple[int, int]


class Spec(Protocol):
    """What coders ask of `astro_vq.codec.pixels.PixelSpec`."""

    @property
    def dtype(self) -> str:
        """Name of the stored dtype."""
        ...

    @property
    def bound(self) -> float:
        """Largest error in stored units."""
        ...

    @property
    def blank(self) -> int | None:
        """Stored integer of missing pixels."""
        ...


class PixelCoder(Protocol):
    """A way from tiles to streams and back, batched over tiles."""

    id: int

    def encode(
        self, tiles: Sequence[Tile], spec: Spec, shared: bytes, effort: int
    ) -> list[bytes | None]:
        """Return a stream per tile without the id; None where the coder does not apply."""
        ...

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: bytes
    ) -> list[Tile]:
        """Return the tiles of streams without the id."""
        ...


class RawCoder:
    """Id 0: the stored values as they are, least significant byte first."""

    id = 0

    def encode(
        self, tiles: Sequence[Tile], spec: Spec, shared: bytes, effort: int
    ) -> list[bytes | None]:
        """Return the bytes of each tile."""
        return [little_endian(tile) for tile in tiles]

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: bytes
    ) -> list[Tile]:
        """Return the tiles."""
        dtype = np.dtype(spec.dtype)
        tiles: list[Tile] = []
        for stream, (ny, nx) in zip(streams, shapes, strict=True):
            reader = ByteReader(stream)
            tiles.append(reader.array(dtype, ny * nx).reshape(ny, nx))
            reader.finish()
        return tiles


class ConstantCoder:
    """Id 1: one value (bit pattern) for the whole tile."""

    id = 1

    def encode(
        self, tiles: Sequence[Tile], spec: Spec, shared: bytes, effort: int
    ) -> list[bytes | None]:
        """Return the bytes of the one value, or None where values differ."""
        streams: list[bytes | None] = []
        for tile in tiles:
            bits = np.ascontiguousarray(tile).view(f"u{tile.dtype.itemsize}").ravel()
            same = bits.size > 0 and bool((bits == bits[0]).all())
            streams.append(little_endian(tile.ravel()[:1]) if same else None)
        return streams

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: bytes
    ) -> list[Tile]:
        """Return the tiles."""
        tiles: list[Tile] = []
        for stream, shape in zip(streams, shapes, strict=True):
            reader = ByteReader(stream)
            value = reader.array(np.dtype(spec.dtype), 1)
            reader.finish()
            tiles.append(np.repeat(value, shape[0] * shape[1]).reshape(shape))
        return tiles


class PcodecCoder:
    """Id 3: the stored values through pcodec."""

    id = 3

    def encode(
        self, tiles: Sequence[Tile], spec: Spec, shared: bytes, effort: int
    ) -> list[bytes | None]:
        """Return the pcodec stream of each tile."""
        return [pack_numbers(tile, effort) if tile.size else None for tile in tiles]

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: bytes
    ) -> list[Tile]:
        """Return the tiles."""
        dtype = np.dtype(spec.dtype)
        pairs = zip(streams, shapes, strict=True)
        return [unpack_numbers(s, dtype, ny * nx).reshape(ny, nx) for s, (ny, nx) in pairs]


def pack_numbers(values: npt.NDArray[Any], effort: int = 5) -> bytes:
    """Return numbers of any dtype of ours as a standalone pcodec stream."""
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.itemsize == 1:
        flat = flat.astype(f"{flat.dtype.kind}2")
    level = 4 if effort <= 2 else 8
    return bytes(standalone.simple_compress(flat, ChunkConfig(compression_level=level)))


def unpack_numbers(stream: bytes, dtype: npt.DTypeLike, n: int) -> npt.NDArray[Any]:
    """Undo `pack_numbers` for `n` numbers.

    Raises
    ------
    FormatError
        If the stream is damaged or holds another count.
    """
    dtype = np.dtype(dtype)
    wide = np.dtype(f"{dtype.kind}2") if dtype.itemsize == 1 else dtype
    out = np.zeros(n, wide)
    try:
        progress = standalone.simple_decompress_into(stream, out)
    except (RuntimeError, TypeError) as err:
        raise FormatError(f"damaged pixel stream: {err}") from err
    if progress.n_processed != n or not progress.finished:
        raise FormatError(f"damaged pixel stream: {n} numbers wanted, got {progress.n_processed}")
    if wide != dtype:
        info = np.iinfo(dtype)
        if n and (out.min() < info.min or out.max() > info.max):
            raise FormatError(f"damaged pixel stream: numbers outside {dtype}")
    return out.astype(dtype, copy=False)


CODERS: dict[int, PixelCoder] = {c.id: c for c in (RawCoder(), ConstantCoder(), PcodecCoder())}


def decoder_for(coder_id: int) -> PixelCoder:
    """Return the coder of an id.

    Raises
    ------
    FormatError
        If this version knows no such coder.
    """
    try:
        return CODERS[coder_id]
    except KeyError:
        known = ", ".join(map(str, CODERS))
        raise FormatError(
            f"pixel stream of unknown coder {coder_id} (known: {known}); the file is damaged "
            "or was written by a newer version"
        ) from None
