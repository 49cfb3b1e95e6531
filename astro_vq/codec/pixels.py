"""The pixel layer of one HDU: tiles of stored values to byte streams, and back.

`encode_tiles` tries the coders of `astro_vq.codec.coders` and keeps the smallest stream of each
tile; every stream begins with the id of its coder, so that each tile decodes on its own. Values
are *stored* ones (native-endian, before BSCALE and BZERO), and so is the bound.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.codec.adapt import fit_side_information
from astro_vq.codec.brief import lengthen, shorten
from astro_vq.codec.coders import MAPPED_CODERS, THOROUGH, WHOLE_TILE_CODERS, decoder_for
from astro_vq.codec.hidden_grid import HiddenGrid
from astro_vq.codec.mappings.default import default_mapping
from astro_vq.codec.mappings.mapping import IN_TWO_PARTS
from astro_vq.codec.planes import SLOWEST_FAST
from astro_vq.codec.position_dither import LARGEST_SEED
from astro_vq.codec.quantize import quantize_tile
from astro_vq.codec.shared import Shared
from astro_vq.errors import FormatError

_HOPE, _FAST_HOPE = (
    1.2,
    1.0,
)  # coders whose estimate is larger than this times the best so far are left out
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
DTYPES = (*_INTEGERS, "float32", "float64")

Place = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PixelSpec:
    """What the pixel streams of one HDU hold.

    Parameters
    ----------
    dtype : str
        Name of the stored dtype: an integer of 8 to 64 bits, `float32` or `float64`.
    bound : float
        Largest allowed ``abs(decoded - original)`` in stored units; 0 is lossless, bit by bit.
        For integers only its integer part counts.
    blank : int or None
        Stored integer that marks missing pixels; it comes back exactly where it was and
        nowhere else.
    floor : int or None
        Stored value of an image without any below it, 0 for floats: pixels decode to it where
        they are at it and nowhere else, and none to less. Only encoders need to know.
    dither : int or None
        Seed of a subtractive dither for floats with a bound; exact zeros stay zeros. Only
        encoders need to know.

    Raises
    ------
    ValueError
        If the dtype is unknown, the bound is negative or not finite, `blank` comes with
        floats, or floor or dither are impossible.
    """

    dtype: str
    bound: float = 0.0
    blank: int | None = None
    floor: int | None = None
    dither: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"pixels are one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not (np.isfinite(self.bound) and self.bound >= 0):
            raise ValueError(f"the bound must be finite and not negative, got {self.bound}")
        if self.blank is not None and self.is_float:
            raise ValueError("BLANK is for integers: floats mark missing pixels by NaN")
        if self.floor is not None and self.dither is not None:
            raise ValueError("floor and dither exclude each other: cutting off biases the mean")
        if self.floor is not None and not self._takes_floor(self.floor):
            raise ValueError(f"{self.dtype} pixels cannot have a floor of {self.floor}")
        if self.dither is not None and not (self.is_float and 0 <= self.dither <= LARGEST_SEED):
            raise ValueError(
                f"a dither is for floats, and its seed 0 to {LARGEST_SEED}; got {self.dither} "
                f"for {self.dtype}"
            )

    def _takes_floor(self, floor: int) -> bool:
        if self.is_float:
            return floor == 0
        info = np.iinfo(self.dtype)
        return int(info.min) <= floor <= int(info.max)

    @property
    def is_float(self) -> bool:
        """Whether pixels are floating point."""
        return self.dtype.startswith("float")

    @property
    def is_lossless(self) -> bool:
        """Whether every bit comes back."""
        return self.bound == 0 or (not self.is_float and self.bound < 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON-able values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PixelSpec":
        """Return the spec that `to_dict` described."""
        return cls(**values)


def fit_shared(
    tiles: Sequence[npt.NDArray[Any]],
    spec: PixelSpec,
    *,
    effort: int = 5,
    grid: HiddenGrid | None = None,
    places: Sequence[Place] = (),
) -> bytes:
    """Return side information that all tiles of an HDU share, from a sample of them.

    Parameters
    ----------
    tiles : sequence of ndarray, shape (H, W) each
        Stored values; a dozen tiles spread over the image are enough.
    spec : PixelSpec
        What the streams will hold.
    effort : int
        1 (fast) to 9 (small).
    grid : HiddenGrid or None
        The grid that the values lie on, if they were quantised before.
    places : sequence of (int, int)
        Where tiles begin on the grid, or for the dither: row (counted on from plane to plane)
        and column.

    Returns
    -------
    bytes
        Give it to `encode_tiles` and `decode_tiles`; may be empty.
    """
    _check_tiles(tiles, spec, effort)
    return fit_side_information(tiles, spec, effort, grid, places).to_bytes()


def encode_tiles(
    tiles: Sequence[npt.NDArray[Any]],
    spec: PixelSpec,
    *,
    shared: bytes = b"",
    effort: int = 5,
    places: Sequence[Place] = (),
) -> list[bytes]:
    """Return one stream per tile, the smallest that the coders found.

    NaN (with payload), infinities and BLANK come back exactly in place at any bound.

    Parameters
    ----------
    tiles : sequence of ndarray, shape (H, W) each, dtype `spec.dtype`
        Stored values. Give many at once: they are coded together.
    spec : PixelSpec
        What the streams hold.
    shared : bytes
        What `fit_shared` gave for this HDU.
    effort : int
        1 (fast) to 9 (small).
    places : sequence of (int, int)
        Where tiles begin, as for `fit_shared`, if that was given a grid, or with dither.

    Returns
    -------
    list of bytes
        Streams; the first byte is the coder's id.

    Raises
    ------
    TypeError
        If a tile has another dtype than `spec` says.
    ValueError
        If a tile is not two-dimensional or the effort is out of range.
    """
    _check_tiles(tiles, spec, effort)
    side = Shared.from_bytes(shared)
    best: list[bytes] = [b""] * len(tiles)

    def offer(coder_id: int, streams: Sequence[bytes | None]) -> None:
        for i, stream in enumerate(streams):
            if stream is not None and (not best[i] or len(stream) + 1 < len(best[i])):
                best[i] = bytes([coder_id]) + stream

    for whole in WHOLE_TILE_CODERS:
        if not whole.is_costly:
            offer(whole.id, whole.encode(tiles, effort))
    where: Sequence[Place | None] = places or [None] * len(tiles)
    choices = {"floor": spec.floor, "dither": spec.dither}
    mappings = [
        (side.mapping or default_mapping(tile, spec.bound, **choices)).at(place)
        for tile, place in zip(tiles, where, strict=True)
    ]
    quantized = [
        quantize_tile(tile, spec.bound, mapping, blank=spec.blank)
        for tile, mapping in zip(tiles, mappings, strict=True)
    ]
    settled: set[int] = set()
    hope = _HOPE if effort > SLOWEST_FAST else _FAST_HOPE
    for mapped in MAPPED_CODERS:
        if effort >= mapped.effort:
            chosen = [
                i
                for i, tile in enumerate(quantized)
                if i not in settled
                and (
                    mapped.leads
                    or effort >= THOROUGH
                    or mapped.estimate(tile, side) < hope * len(best[i])
                )
            ]
            streams = mapped.encode_quantized(
                [quantized[i] for i in chosen], [mappings[i] for i in chosen], side, effort
            )
            offer(mapped.id, _spread(streams, chosen, len(tiles)))
            if mapped.settles and effort < THOROUGH:
                pairs = zip(chosen, streams, strict=True)
                settled |= {i for i, stream in pairs if stream is not None}
    always = effort >= THOROUGH or (spec.is_float and spec.is_lossless)
    for whole in WHOLE_TILE_CODERS:
        if whole.is_costly:
            chosen = [
                i
                for i, tile in enumerate(tiles)
                if i not in settled
                if always or whole.estimate(tile) < hope * len(best[i])
            ]
            streams = whole.encode([tiles[i] for i in chosen], effort)
            offer(whole.id, _spread(streams, chosen, len(tiles)))
    if side.mapping is not None and side.mapping.kind in IN_TWO_PARTS:
        return best
    return [shorten(stream) for stream in best]


def _spread(streams: Sequence[bytes | None], places: Sequence[int], n: int) -> list[bytes | None]:
    """Return a list of `n` with the streams in their places."""
    out: list[bytes | None] = [None] * n
    for i, stream in zip(places, streams, strict=True):
        out[i] = stream
    return out


def decode_tiles(
    streams: Sequence[bytes],
    shapes: Sequence[tuple[int, int]],
    spec: PixelSpec,
    *,
    shared: bytes = b"",
) -> list[npt.NDArray[Any]]:
    """Return the tiles that `encode_tiles` coded.

    Parameters
    ----------
    streams : sequence of bytes
        One stream per tile.
    shapes : sequence of (int, int)
        Height and width of each tile.
    spec : PixelSpec
        What the streams hold.
    shared : bytes
        What `fit_shared` gave for this HDU.

    Returns
    -------
    list of ndarray, shape (H, W) each, dtype `spec.dtype`

    Raises
    ------
    FormatError
        If a stream or `shared` is damaged, or of an unknown coder or version.
    ValueError
        If `streams` and `shapes` differ in length.
    """
    if len(streams) != len(shapes):
        raise ValueError(f"{len(streams)} streams but {len(shapes)} shapes")
    side = Shared.from_bytes(shared)
    groups: dict[int, list[int]] = {}
    for stream in streams:
        if not stream:
            raise FormatError("damaged pixel stream: it is empty")
    streams = [lengthen(bytes(stream)) for stream in streams]
    for i, stream in enumerate(streams):
        groups.setdefault(stream[0], []).append(i)
    tiles: list[npt.NDArray[Any] | None] = [None] * len(streams)
    for coder_id, members in groups.items():
        coder = decoder_for(coder_id)
        bodies = [streams[i][1:] for i in members]
        sizes = [(int(shapes[i][0]), int(shapes[i][1])) for i in members]
        for i, tile in zip(members, coder.decode(bodies, sizes, spec, side), strict=True):
            tiles[i] = tile
    return [tile for tile in tiles if tile is not None]


def _check_tiles(tiles: Sequence[npt.NDArray[Any]], spec: PixelSpec, effort: int) -> None:
    if effort not in range(1, 10):
        raise ValueError(f"effort must be 1 to 9, got {effort}")
    for tile in tiles:
        if tile.ndim != 2:
            raise ValueError(f"a tile has two axes, got shape {tile.shape}")
        if tile.dtype != np.dtype(spec.dtype):
            raise TypeError(f"tiles must be {spec.dtype}, got {tile.dtype}")
