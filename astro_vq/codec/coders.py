"""The registry of pixel coders: what the first byte of a pixel stream means.

An id never changes its meaning, so that old files decode for ever. To add a coder, write a class
of planes (`astro_vq.codec.planes`) and enter a `MappedCoder` with a new id in `MAPPED_CODERS`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, little_endian, sized
from astro_vq.codec.differences import DifferencedPlanes
from astro_vq.codec.exceptions import decode_exceptions, encode_exceptions
from astro_vq.codec.fitted import FittedPlanes
from astro_vq.codec.linear import LinearPlanes
from astro_vq.codec.mappings.mapping import IN_TWO_PARTS, Mapping
from astro_vq.codec.mixed import FirstMixedPlanes, MixedPlanes
from astro_vq.codec.numbers import pack_numbers, unpack_numbers
from astro_vq.codec.planes import (
    SLOWEST_FAST,
    PackedPlanes,
    Plane,
    PlaneCoder,
    PlaneDecoder,
    PredictedPlanes,
)
from astro_vq.codec.quantize import QuantizedTile, restore_tile
from astro_vq.codec.shared import Shared
from astro_vq.codec.transformed import TransformedPlanes
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

    @property
    def floor(self) -> int | None:
        """Stored value that only pixels at it decode to, and nothing to less."""
        ...

    @property
    def dither(self) -> int | None:
        """Seed of a dither."""
        ...


class PixelDecoder(Protocol):
    """A way from streams to tiles, batched over tiles."""

    id: int

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: Shared
    ) -> list[Tile]:
        """Return the tiles of streams without the id."""
        ...


class RawCoder:
    """Id 0: the stored values as they are, least significant byte first."""

    id = 0
    is_costly = False

    def estimate(self, tile: Tile) -> float:
        """Return the size of a tile's stream."""
        return tile.nbytes

    def encode(self, tiles: Sequence[Tile], effort: int) -> list[bytes | None]:
        """Return the bytes of each tile."""
        return [little_endian(tile) for tile in tiles]

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: Shared
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
    is_costly = False

    def estimate(self, tile: Tile) -> float:
        """Return the least size that a tile's stream may have."""
        return tile.itemsize

    def encode(self, tiles: Sequence[Tile], effort: int) -> list[bytes | None]:
        """Return the bytes of the one value, or None where values differ."""
        streams: list[bytes | None] = []
        for tile in tiles:
            bits = np.ascontiguousarray(tile).view(f"u{tile.dtype.itemsize}").ravel()
            same = bits.size > 0 and bool((bits == bits[0]).all())
            streams.append(little_endian(tile.ravel()[:1]) if same else None)
        return streams

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: Shared
    ) -> list[Tile]:
        """Return the tiles."""
        tiles: list[Tile] = []
        for stream, shape in zip(streams, shapes, strict=True):
            reader = ByteReader(stream)
            value = reader.array(np.dtype(spec.dtype), 1)
            reader.finish()
            tiles.append(np.repeat(value, shape[0] * shape[1]).reshape(shape))
        return tiles


class MappedDecoder:
    """Reads tiles that were stored as integers under a mapping, with exceptions.

    The stream holds the mapping (0: that of the HDU; otherwise 1 and the mapping itself), the
    exceptions, and the payload of the plane coder.

    Parameters
    ----------
    coder_id : int
        First byte of the streams.
    planes : PlaneDecoder
        Decodes the integers.
    """

    def __init__(self, coder_id: int, planes: PlaneDecoder) -> None:
        self.id = coder_id
        self._decoder = planes

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: Shared
    ) -> list[Tile]:
        """Return the tiles."""
        dtype = np.dtype(spec.dtype)
        mappings, exceptions, payloads, remainders = [], [], [], []
        for stream, shape in zip(streams, shapes, strict=True):
            reader = ByteReader(stream)
            own = reader.byte()
            mapping = Mapping.read(reader).resolved(shared.mapping) if own == 1 else shared.mapping
            if own > 1 or mapping is None:
                raise FormatError("damaged pixel stream: the mapping of its integers is missing")
            mappings.append(mapping)
            exceptions.append(decode_exceptions(reader, shape, dtype.itemsize))
            split = mapping.kind in IN_TWO_PARTS
            payloads.append(reader.sized() if split else reader.rest())
            remainders.append(reader.rest())
        planes = self._decoder.decode(payloads, [e.mask for e in exceptions], shared)
        return [
            restore_tile(QuantizedTile(plane, exception, rest), mapping, dtype)
            for mapping, plane, exception, rest in zip(
                mappings, planes, exceptions, remainders, strict=True
            )
        ]


class MappedCoder(MappedDecoder):
    """Writes such tiles too.

    Parameters
    ----------
    coder_id : int
        First byte of the streams.
    planes : PlaneCoder
        Codes the integers.
    effort : int
        Encoders try it from this effort on.
    leads : bool
        Encoders try it on every tile and before others.
    settles : bool
        Where it applies, the others need not be tried.
    """

    def __init__(
        self,
        coder_id: int,
        planes: PlaneCoder,
        *,
        effort: int = 1,
        leads: bool = False,
        settles: bool = False,
    ) -> None:
        super().__init__(coder_id, planes)
        self.effort = effort
        self.leads = leads
        self.settles = settles
        self._planes = planes

    def estimate(self, tile: QuantizedTile, shared: Shared) -> float:
        """Return about how large a tile's stream will be, from some rows of it."""
        n = tile.indices.shape[0]
        rows = _some_rows(n)
        plane = Plane(tile.indices[rows], tile.exceptions.mask[rows])
        payload = self._planes.encode([plane], shared, 4)[0]
        if payload is None:
            return 0.0
        return float(len(payload) * n / max(len(plane.indices), 1) + len(tile.remainders))

    def encode_quantized(
        self,
        tiles: Sequence[QuantizedTile],
        mappings: Sequence[Mapping],
        shared: Shared,
        effort: int,
    ) -> list[bytes | None]:
        """Return a stream per tile without the id; None where the plane coder does not apply."""
        planes = [Plane(t.indices, t.exceptions.mask) for t in tiles]
        payloads = self._planes.encode(planes, shared, effort)
        streams: list[bytes | None] = []
        for tile, mapping, payload in zip(tiles, mappings, payloads, strict=True):
            if payload is None:
                streams.append(None)
                continue
            own = mapping.in_stream(shared.mapping)
            tail = sized(payload) + tile.remainders if mapping.kind in IN_TWO_PARTS else payload
            streams.append(own + encode_exceptions(tile.exceptions) + tail)
        return streams


class PcodecCoder:
    """Id 3: the stored values through pcodec."""

    id = 3
    is_costly = True

    def estimate(self, tile: Tile) -> float:
        """Return about how large a tile's stream will be, from some rows of it."""
        rows = _some_rows(tile.shape[0])
        return float(len(pack_numbers(tile[rows])) * tile.shape[0] / max(len(tile[rows]), 1))

    def encode(self, tiles: Sequence[Tile], effort: int) -> list[bytes | None]:
        """Return the pcodec stream of each tile."""
        return [pack_numbers(tile, effort) if tile.size else None for tile in tiles]

    def decode(
        self, streams: Sequence[bytes], shapes: Sequence[Shape], spec: Spec, shared: Shared
    ) -> list[Tile]:
        """Return the tiles."""
        dtype = np.dtype(spec.dtype)
        pairs = zip(streams, shapes, strict=True)
        return [unpack_numbers(s, dtype, ny * nx).reshape(ny, nx) for s, (ny, nx) in pairs]


def _some_rows(n: int) -> npt.NDArray[np.intp]:
    """Return about an eighth of `n` rows in blocks of eight, from all over a tile."""
    rows = np.arange(n)
    return rows[rows // 8 % 8 == 3] if n >= 64 else rows


WHOLE_TILE_CODERS = (RawCoder(), ConstantCoder(), PcodecCoder())
"""Coders that take stored values as they are."""

THOROUGH = 7
"""From this effort on every coder is tried on every tile, whatever its estimate."""

MAPPED_CODERS = (
    MappedCoder(8, TransformedPlanes(), leads=True, settles=True),
    MappedCoder(10, MixedPlanes(), effort=SLOWEST_FAST + 1, leads=True),
    MappedCoder(11, LinearPlanes(), leads=True),
    MappedCoder(4, PackedPlanes()),
    MappedCoder(7, DifferencedPlanes(), effort=3),
)
"""Coders that take quantised tiles; id 5 was never in a release and stays free."""

RETIRED_CODERS = (
    MappedDecoder(9, FirstMixedPlanes()),
    MappedDecoder(6, FittedPlanes()),
    MappedDecoder(2, PredictedPlanes()),
)
"""Coders that are read but no longer written."""

CODERS: dict[int, PixelDecoder] = {
    c.id: c for c in (*WHOLE_TILE_CODERS, *MAPPED_CODERS, *RETIRED_CODERS)
}


def decoder_for(coder_id: int) -> PixelDecoder:
    """Return the coder of an id.

    Raises
    ------
    FormatError
        If this version knows no such coder.
    """
    try:
        return CODERS[coder_id]
    except KeyError:
        known = ", ".join(map(str, sorted(CODERS)))
        raise FormatError(
            f"pixel stream of unknown coder {coder_id} (known: {known}); the file is damaged "
            "or was written by a newer version"
        ) from None
