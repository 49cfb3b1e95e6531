"""The grid that the floats of an image lie on when they were quantised before they came here.

Programs that quantise floats (fpack above all) take an image tile by tile, each with its own step
and zero, and mostly with a dither. Where all this is known a float is an integer again. A value is
``((index - random) + 0.5) * scale + zero`` with dither, and ``index * scale + zero`` without,
in float64 and rounded to the dtype.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astro_vq.codec.bytestream import ByteReader, encode_varint, little_endian, sized
from astro_vq.codec.dither import COUNT, dither_at, tile_starts
from astro_vq.codec.numbers import pack_integers, pack_numbers, unpack_integers, unpack_numbers
from astro_vq.entropy.plain_bits import FieldReader, pack_fields
from astro_vq.errors import FormatError
from astro_vq.io.tile_quantization import TileQuantization

NO_DITHER, DITHER_1, DITHER_2 = range(3)
_NOISE_FACTORS = (0.6052697, 1.0483579, 0.1772048)
"""fpack takes the step to be a float32 times one of these, over a power of two."""

_OTHER = 3  # a scale that is none of these
_MIXED = 4  # tiles of more than one class
_WHOLE, _LEAST, _PLAIN = range(3)  # zeros: multiples of the step, see `null_zero`, others
_FIRST_INDEX = -2147483637.0  # of fpack, which keeps the ten below for missing pixels and zeros
_FAR = 2.0**30
_LARGEST_SIDE = 2**31
_LARGEST_TABLE = 2**24
_LARGEST_ZERO = 2.0**52
_CENTRE_PIXELS = 2**18

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Steps(NamedTuple):
    """What turns indices of a rectangle into values; arrays that broadcast to its shape.

    Attributes
    ----------
    scale, zero : ndarray of float64
        A scale of 0 where nothing was quantised.
    shift : ndarray of float64
        Random numbers that are subtracted; none (shape (1, 1)) without dither.
    offset : ndarray of int64
        What is added to coded indices first.
    dithered : bool
        Whether there are random numbers.
    """

    scale: Floats
    zero: Floats
    shift: Floats
    offset: Integers
    dithered: bool

    def values(self, indices: Integers) -> Floats:
        """Return the values of coded indices, as float64."""
        real = (indices + self.offset).astype(np.float64)
        if self.dithered:
            real = (real - self.shift) + 0.5
        return np.asarray(real * self.scale + self.zero)

    def nearest(self, values: npt.NDArray[np.floating]) -> Floats:
        """Return real indices of finite values; infinite or NaN where nothing was quantised."""
        real = (values.astype(np.float64) - self.zero) / self.scale
        if self.dithered:
            real = real - 0.5 + self.shift
        return np.asarray(real - self.offset)


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenGrid:
    """Step, zero and dither of the tiles that an image was quantised in.

    Parameters
    ----------
    height, width : int
        Of a plane of the quantised image.
    tile : (int, int)
        Rows and columns of its tiles.
    origin : (int, int)
        Row and column of the quantised image that the first pixel here was.
    method : int
        `NO_DITHER`, `DITHER_1`, or `DITHER_2`, which leaves zeros as they are.
    seed : int
        1 to 10,000.
    scale, zero : ndarray of float64, shape (n,)
        Of each tile, row of tiles by row of tiles, plane by plane.
    centre : float or None
        Value whose index becomes 0 in every tile, so that the sky has no jumps between tiles
        of different step; None leaves indices as they are.
    """

    height: int
    width: int
    tile: tuple[int, int]
    origin: tuple[int, int]
    method: int
    seed: int
    scale: Floats
    zero: Floats
    centre: float | None = None

    @property
    def tiles_across(self) -> tuple[int, int]:
        """Rows and columns of tiles in a plane."""
        return -(-self.height // self.tile[0]), -(-self.width // self.tile[1])

    @functools.cached_property
    def offsets(self) -> Integers:
        """What is subtracted from the indices of each tile."""
        if self.centre is None:
            return np.zeros(self.scale.size, np.int64)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            real = np.rint((self.centre - self.zero) / self.scale)
        return np.where(np.abs(real) < _LARGEST_ZERO, real, 0).astype(np.int64)

    @property
    def usual_step(self) -> float:
        """Median of the steps of tiles, 0 if there are none."""
        known = self.scale[self.scale > 0]
        return float(np.median(known)) if known.size else 0.0

    def steps(self, row: int, column: int, shape: tuple[int, int]) -> Steps:
        """Return steps of a rectangle.

        Parameters
        ----------
        row, column : int
            Where it begins; rows are counted on from plane to plane.
        shape : (int, int)
            Its height and width.

        Raises
        ------
        FormatError
            It reaches past the grid.
        """
        (tall, wide), (rows, columns) = self.tile, self.tiles_across
        plane, y0 = divmod(row, max(self.height - self.origin[0], 1))
        y0, x0 = y0 + self.origin[0], column + self.origin[1]
        ys, xs = np.arange(y0, y0 + shape[0]), np.arange(x0, x0 + shape[1])
        last = ((plane + 1) * rows * columns) if rows * columns else 0
        if not shape[0] or not shape[1] or ys[-1] >= self.height or xs[-1] >= self.width:
            raise FormatError("damaged pixel stream: a tile outside the grid of its values")
        if last > self.scale.size:
            raise FormatError("damaged pixel stream: the grid of its values is cut off")
        across = xs // wide if xs[-1] // wide > x0 // wide else xs[:1] // wide
        number = (plane * rows + ys // tall)[:, None] * columns + across
        scale, zero, offset = self.scale[number], self.zero[number], self.offsets[number]
        shift = self._shift(number, ys, xs) if self.method else np.zeros((1, 1))
        return Steps(scale, zero, shift, offset, self.method != NO_DITHER)

    def _shift(self, number: Integers, ys: Integers, xs: Integers) -> Floats:
        tall, wide = self.tile
        out = np.empty((ys.size, xs.size))
        starts = tile_starts(number, self.seed)
        edges = np.flatnonzero(np.diff(xs // wide, prepend=-1))
        for first, stop in zip(edges, [*edges[1:], xs.size], strict=True):
            left = int(xs[first]) // wide * wide
            own_width = min(wide, self.width - left)
            begin = starts[:, min(first, starts.shape[1] - 1)]
            begin = begin + ys % tall * own_width + int(xs[first]) - left
            for line, place in zip(out[:, first:stop], begin.tolist(), strict=True):
                line[:] = dither_at(place, line.size)
        return out

    def to_bytes(self) -> bytes:
        """Return the grid as bytes."""
        numbers = (self.height, self.width, *self.tile, *self.origin, self.seed, self.scale.size)
        out = bytes([self.method, self.centre is not None])
        out += b"".join(encode_varint(n) for n in numbers)
        if self.centre is not None:
            out += little_endian(np.array([self.centre]))
        return out + _pack_scales(self.scale) + _pack_zeros(self.zero, self.scale, self.centre)

    @classmethod
    def read(cls, data: bytes) -> "HiddenGrid":
        """Read what `to_bytes` wrote.

        Raises
        ------
        FormatError
            If the bytes are damaged.
        """
        reader = ByteReader(data)
        method, centred = reader.byte(), reader.byte()
        height, width, tall, wide = (reader.varint(_LARGEST_SIDE) for _ in range(4))
        origin = reader.varint(_LARGEST_SIDE), reader.varint(_LARGEST_SIDE)
        seed, count = reader.varint(COUNT), reader.varint(_LARGEST_TABLE)
        if method > DITHER_2 or centred > 1 or not (height and width and tall and wide and seed):
            raise FormatError("damaged pixel stream: an impossible grid of values")
        centre = float(reader.array(np.float64, 1)[0]) if centred else None
        scale = _unpack_scales(reader, count)
        zero = _unpack_zeros(reader, scale, centre)
        reader.finish()
        numbers = np.concatenate([scale, zero, [centre or 0.0]])
        if not np.isfinite(numbers).all() or scale.min(initial=0) < 0:
            raise FormatError("damaged pixel stream: an impossible grid of values")
        return cls(height, width, (tall, wide), origin, method, seed, scale, zero, centre)


def known_grid(
    quantization: TileQuantization | None, tiles: Sequence[npt.NDArray[Any]]
) -> HiddenGrid | None:
    """Return the grid of a compressed image, from what its table says and some of its values."""
    if quantization is None or not quantization.scale.any():
        return None
    finite = [tile[np.isfinite(tile)] for tile in tiles]
    values = np.concatenate([np.zeros(0), *finite])
    values = values[:: max(1, values.size // _CENTRE_PIXELS)]
    centred = values.size > 0 and not quantization.transformed
    return HiddenGrid(
        quantization.height,
        quantization.width,
        quantization.tile,
        (0, 0),
        quantization.method,
        quantization.seed,
        quantization.scale,
        quantization.zero,
        float(np.median(values)) if centred else None,
    )


@functools.lru_cache(maxsize=4)
def read_grid(data: bytes) -> HiddenGrid:
    """Return the grid that bytes hold; the last ones are kept."""
    return HiddenGrid.read(data)


@functools.lru_cache(maxsize=16)
def steps_of(data: bytes, row: int, column: int, shape: tuple[int, int]) -> Steps:
    """Return steps of a rectangle of the grid that bytes hold; the last ones are kept."""
    return read_grid(data).steps(row, column, shape)


def _pack_scales(scale: Floats) -> bytes:
    """Return scales, those of fpack as the float32 that they were worked out from."""
    kind = np.full(scale.size, _OTHER, np.int64)
    short = np.zeros(scale.size, np.float32)
    for i, factor in enumerate(_NOISE_FACTORS):
        with np.errstate(over="ignore"):
            noise = (scale / factor).astype(np.float32)
        fits = (kind == _OTHER) & (noise.astype(np.float64) * factor == scale) & (scale > 0)
        kind[fits], short[fits] = i, noise[fits]
    rest = scale[kind == _OTHER]
    out = _pack_kinds(kind)
    for numbers in (short[kind != _OTHER], rest):
        out += sized(_pack_floats(numbers))
    return out


def _unpack_scales(reader: ByteReader, count: int) -> Floats:
    kind = _unpack_kinds(reader, count)
    known = kind != _OTHER
    short = _unpack_floats(reader.sized(), np.dtype(np.float32), int(np.count_nonzero(known)))
    scale = np.empty(count)
    factors = np.array([*_NOISE_FACTORS, 0.0])
    scale[known] = short.astype(np.float64) * factors[kind[known]]
    scale[~known] = _unpack_floats(reader.sized(), np.dtype(np.float64), count - int(known.sum()))
    return scale


def _bases(scale: Floats, centre: float | None) -> Floats:
    """Return about how many steps zeros lie from 0."""
    if centre is None:
        return np.zeros(scale.size)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        base = np.rint(centre / scale)
    return np.where(np.abs(base) < _LARGEST_ZERO, base, 0)


def null_zero(least: Floats, scale: Floats) -> Floats:
    """Return the zeros that fpack gives tiles in which some integers stand for themselves."""
    return np.asarray(least - scale * _FIRST_INDEX)


def _pack_zeros(zero: Floats, scale: Floats, centre: float | None) -> bytes:
    """Return zeros, those that follow from the step by a small number as that number."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.rint(zero / scale)
        whole = (np.abs(steps) < _LARGEST_ZERO) & (steps * scale == zero)
        least = (zero + scale * _FIRST_INDEX).astype(np.float32)
        known = null_zero(least.astype(np.float64), scale) == zero
    whole &= ~(np.signbit(zero) & (zero == 0)) & (np.abs(steps) < _FAR)
    kind = np.where(whole, _WHOLE, np.where(known, _LEAST, _PLAIN)).astype(np.int64)
    numbers = (steps[whole] - _bases(scale, centre)[whole]).astype(np.int64)
    out = _pack_kinds(kind) + sized(pack_integers(numbers, 9))
    return out + b"".join(
        sized(_pack_floats(part)) for part in (least[kind == _LEAST], zero[kind == _PLAIN])
    )


def _unpack_zeros(reader: ByteReader, scale: Floats, centre: float | None) -> Floats:
    kind = _unpack_kinds(reader, scale.size)
    whole, least, plain = (kind == k for k in (_WHOLE, _LEAST, _PLAIN))
    if kind.size and kind.max() > _PLAIN:
        raise FormatError("damaged pixel stream: an impossible grid of values")
    numbers = unpack_integers(reader.sized(), int(np.count_nonzero(whole)))
    short = _unpack_floats(reader.sized(), np.dtype(np.float32), int(np.count_nonzero(least)))
    zero = np.empty(scale.size)
    with np.errstate(over="ignore", invalid="ignore"):
        zero[whole] = (numbers + _bases(scale, centre)[whole]) * scale[whole]
        zero[least] = null_zero(short.astype(np.float64), scale[least])
    zero[plain] = _unpack_floats(reader.sized(), np.dtype(np.float64), int(np.sum(plain)))
    return zero


def _pack_kinds(kind: Integers) -> bytes:
    """Return classes from 0 to 3: one byte if they are all the same, else two bits each."""
    single = bool(kind.size) and bool((kind == kind[0]).all())
    kinds = b"" if single else pack_fields(kind, np.full(kind.size, 2))
    return bytes([int(kind[0]) if single else _MIXED]) + sized(kinds)


def _unpack_kinds(reader: ByteReader, count: int) -> Integers:
    single = reader.byte()
    kinds = reader.sized()
    if single > _MIXED or (single == _MIXED and 8 * len(kinds) < 2 * count):
        raise FormatError("damaged pixel stream: an impossible grid of values")
    if single < _MIXED:
        return np.full(count, single, np.int64)
    return FieldReader(kinds).read(np.full(count, 2))


def _pack_floats(numbers: npt.NDArray[np.floating]) -> bytes:
    """Return the smaller of plain bytes and pcodec."""
    plain = little_endian(numbers)
    packed = pack_numbers(numbers, 9) if numbers.size else plain
    return b"\1" + packed if len(packed) < len(plain) else b"\0" + plain


def _unpack_floats(data: bytes, dtype: np.dtype[np.floating], n: int) -> npt.NDArray[np.floating]:
    reader = ByteReader(data)
    if reader.byte():
        return unpack_numbers(reader.rest(), dtype, n)
    out = reader.array(dtype, n)
    reader.finish()
    return np.asarray(out, dtype)
