"""What is promised for each image: its fidelity and its bound, asked for or by default."""

import re
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import TileGrid
from astro_vq.codec.floors import stored_floor
from astro_vq.codec.image_header import ImageHeader
from astro_vq.data.sky_level import pixel_noise
from astro_vq.types import FIDELITIES, Fidelity, TileGeometry

DEFAULT_SIGMAS = 0.03125
"""Default bound of floating point images, in units of their noise: 1/32 (q = 16)."""

LARGEST_DITHER = 2**32 - 1
"""Largest seed of a dither that can be asked for."""

_SAMPLED_PIXELS = 2**22
_SCALING_PIXELS = 2**20
_TOKEN_PIXELS = 2**18  # enough where nothing is promised in sigma
_GLANCE_PIXELS = 2**18
_COARSE_SIGMAS = 3.0
_ROUNDING = 1 - 2.0**-40
"""Taken off a bound that is converted by BSCALE, so that rounding cannot exceed it."""

_FLAGS = re.compile(r"DQ|MASK|MSK|BPM|BADPIX|FLAGS?|DATAQUAL\w*|QUALITY|BITMASK|DQ_?\w*|MASK_?\w*")
"""Names of images whose integers are flags, not brightness."""


class MaxError(NamedTuple):
    """A bound as asked for.

    Attributes
    ----------
    value : float
        Above 0 and finite.
    in_sigma : bool
        Whether it is in units of the noise rather than of the image.
    """

    value: float
    in_sigma: bool

    @classmethod
    def parse(cls, asked: str | float) -> "MaxError":
        """Read ``0.1``, ``'0.1'`` or ``'0.125sigma'``.

        Raises
        ------
        ValueError
            It is no number, not above 0, or not finite.
        """
        text = str(asked).strip().lower()
        try:
            value = float(text.removesuffix("sigma"))
        except ValueError:
            raise ValueError(
                f"max_error must be a number such as 0.5 or '0.125sigma', got {asked!r}"
            ) from None
        if not 0 < value < float("inf"):
            raise ValueError(
                f"max_error must be above 0 and finite, got {asked!r}; without any error: "
                "fidelity='lossless'"
            )
        return cls(value, text.endswith("sigma"))


class TokenChoice(NamedTuple):
    """How many sparse tokens are stored.

    Attributes
    ----------
    quality : float or None
        Significance, in sigma, of a source that is coded; None for the usual one.
    bits_per_pixel : float or None
        What the tokens may take at most; None for no limit.
    """

    quality: float | None = None
    bits_per_pixel: float | None = None

    @classmethod
    def make(cls, quality: float | None, bits_per_pixel: float | None) -> "TokenChoice":
        """Check what was asked for.

        Raises
        ------
        ValueError
            Both are given, or one is impossible.
        """
        if quality is not None and bits_per_pixel is not None:
            raise ValueError("quality and bits_per_pixel exclude each other: give one of them")
        if quality is not None and not 1 <= quality < float("inf"):
            raise ValueError(f"quality must be at least 1 (sigma) and finite, got {quality}")
        if bits_per_pixel is not None and not 0 < bits_per_pixel < float("inf"):
            raise ValueError(f"bits_per_pixel must be above 0 and finite, got {bits_per_pixel}")
        # as a float: compiled code would be made anew for a whole number
        return cls(None if quality is None else float(quality), bits_per_pixel)


class Request(NamedTuple):
    """What the caller asked for.

    Attributes
    ----------
    fidelity : Fidelity or None
        None chooses by the type of each image.
    max_error : MaxError
        Bound of lossy images.
    tokens : TokenChoice
        How many tokens.
    non_negative : bool or tuple of int and str
        Whether lossy images must not become negative: all, none, or HDUs of these numbers and
        names.
    dither : int or None
        Seed from which that of each lossy image of floats is made; None for no dither.
    """

    fidelity: Fidelity | None
    max_error: MaxError
    tokens: TokenChoice = TokenChoice()
    non_negative: bool | tuple[int | str, ...] = False
    dither: int | None = None

    @classmethod
    def make(cls, fidelity: str | None, max_error: str | float | None) -> "Request":
        """Check what was asked for.

        Raises
        ------
        ValueError
            The fidelity is unknown, or has no bound.
        """
        if fidelity is not None and fidelity not in FIDELITIES:
            raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, got {fidelity!r}")
        if max_error is None:
            return cls(fidelity, MaxError(DEFAULT_SIGMAS, in_sigma=True))
        if fidelity not in (None, "max-error"):
            raise ValueError(f"max_error goes with fidelity 'max-error', not with {fidelity!r}")
        return cls("max-error", MaxError.parse(max_error))

    def quantized(
        self, *, non_negative: bool | Collection[int | str], dither: int | None
    ) -> "Request":
        """Return the request with what is asked of quantised pixels.

        Raises
        ------
        ValueError
            It contradicts itself.
        """
        if self.fidelity == "tokens" and (non_negative or dither is not None):
            raise ValueError("tokens promise nothing: non_negative and dither go with a max_error")
        if self.fidelity == "lossless" and dither is not None:
            raise ValueError("lossless pixels are not quantised, so there is nothing to dither")
        if non_negative and dither is not None:
            raise ValueError(
                "non_negative and dither exclude each other: cutting values off at 0 brings back "
                "the bias that a dither takes away"
            )
        if dither is not None and not 0 <= dither <= LARGEST_DITHER:
            raise ValueError(f"dither is a seed from 0 to {LARGEST_DITHER}, got {dither}")
        named = non_negative if isinstance(non_negative, bool) else tuple(non_negative)
        return self._replace(non_negative=named, dither=dither)

    def of_hdu(self, index: int, name: str) -> "Request":
        """Return what is asked of one HDU."""
        if isinstance(self.non_negative, bool):
            return self
        return self._replace(non_negative=any(is_hdu(h, index, name) for h in self.non_negative))


def is_hdu(asked: int | str, index: int, name: str) -> bool:
    """Whether an HDU is the one of a number or name (in upper or lower case)."""
    return asked == index if isinstance(asked, int) else asked.strip().upper() == name.upper()


class Plan(NamedTuple):
    """What is promised for one image.

    Attributes
    ----------
    fidelity : Fidelity
        Of this image.
    bound : float
        Largest error in the unit of the image; 0 when lossless (and for tokens).
    stored_bound : float
        The same in stored units.
    sigma : float or None
        Noise that the bound was derived from, in the unit of the image.
    note : str
        Why this is not what was asked for; '' when it is.
    tokens : bool
        Whether tokens of it make sense.
    floor : int or None
        Stored value that no pixel may fall below, where that was asked for.
    """

    fidelity: Fidelity
    bound: float = 0.0
    stored_bound: float = 0.0
    sigma: float | None = None
    note: str = ""
    tokens: bool = True
    floor: int | None = None


class StoredPixels(Protocol):
    """What is read of an image: `astro_vq.io.fits.FitsHDU` is one."""

    def read_stored(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        """Return stored values of a rectangle of a plane."""
        ...


def plan_image(image: StoredPixels, info: ImageHeader, grid: TileGrid, request: Request) -> Plan:
    """Decide what to promise for an image.

    Integers are kept lossless by default, floating point images to 1/32 of their noise. Whatever
    is asked for, images that are flags by their name, and such whose noise cannot be measured
    where it is needed, are kept lossless, which is a better promise than any bound.

    Parameters
    ----------
    image : StoredPixels
        The image.
    info : ImageHeader
        What its header says.
    grid : TileGrid
        Its tiles, of which some are looked at.
    request : Request
        What was asked for.
    """
    fidelity = request.fidelity or ("max-error" if info.is_float else "lossless")
    if not info.is_float and _FLAGS.fullmatch(info.name.strip().upper()):
        note = f"kept lossless: the name {info.name!r} says that it is flags"
        return Plan("lossless", note="" if fidelity == "lossless" else note, tokens=False)
    if fidelity == "lossless" or grid.count == 0:
        return Plan("lossless", tokens=grid.count > 0)
    if fidelity == "max-error" and not request.max_error.in_sigma:
        return _bounded(info, request.max_error.value, None, request)
    if fidelity == "tokens":
        sigma = measure_noise(image, info, grid, _TOKEN_PIXELS, most=_TOKEN_PIXELS)
    else:
        sigma = measure_noise(image, info, grid)
    if sigma == 0:
        note = "kept lossless: its noise cannot be measured (constant?)"
        return Plan("lossless", note=note, tokens=False)
    if fidelity == "tokens":
        return Plan("tokens", sigma=sigma)
    return _bounded(info, request.max_error.value * sigma, sigma, request)


def _bounded(info: ImageHeader, bound: float, sigma: float | None, request: Request) -> Plan:
    stored = bound
    if info.is_scaled and abs(info.bscale) != 1.0:
        stored = bound / abs(info.bscale) * _ROUNDING
    if not info.is_float and stored < 1:
        return Plan(
            "lossless", sigma=sigma, note=f"kept lossless: {bound:.4g} is below one integer step"
        )
    if not (np.isfinite(stored) and np.isfinite(bound) and stored > 0):
        return Plan(
            "lossless", sigma=sigma, note=f"kept lossless: a bound of {bound:.4g} is no use"
        )
    floor = stored_floor(info) if request.non_negative else None
    if request.non_negative and floor is None:
        note = "kept lossless: its stored values are not scaled so that 0 is the least"
        return Plan("lossless", sigma=sigma, note=note)
    note = (
        "not dithered: its pixels are integers"
        if request.dither is not None and not info.is_float
        else ""
    )
    return Plan("max-error", bound, stored, sigma, note, floor=floor)


def measure_noise(
    image: StoredPixels,
    info: ImageHeader,
    grid: TileGrid,
    pixels: int = _SAMPLED_PIXELS,
    *,
    most: int = 1_000_000,
) -> float:
    """Return the noise of an image by `pixel_noise` of tiles spread over it; 0 if there is none.

    About `pixels` of them are read, in whole tiles, and `most` of those are looked at.
    """
    tiles = [info.to_physical(tile) for tile in sample_tiles(image, grid, pixels)]
    return float(pixel_noise([tile for tile in tiles if tile.size], max_samples=most))


def is_coarse(image: StoredPixels, info: ImageHeader, grid: TileGrid, plan: Plan) -> bool:
    """Whether a bound is so wide that little is left to store."""
    if plan.fidelity != "max-error":
        return False
    sigma = plan.sigma
    if sigma is None:
        sigma = measure_noise(image, info, grid, _GLANCE_PIXELS)
    return plan.bound >= _COARSE_SIGMAS * sigma > 0


def sample_tiles(image: StoredPixels, grid: TileGrid, pixels: int) -> list[NDArray[Any]]:
    """Return about this many pixels as stored tiles, spread evenly over the image."""
    return [read_tile(image, grid.tile(number)) for number in sample_numbers(grid, pixels)]


def sample_numbers(grid: TileGrid, pixels: int) -> list[int]:
    """Return the numbers of tiles that together have about this many pixels, evenly spread."""
    wanted = max(pixels // (grid.tile_height * grid.tile_width), 1)
    return _spread(grid.count, wanted)


def sample_plane(
    image: StoredPixels, info: ImageHeader, grid: TileGrid, plane: int
) -> NDArray[np.float64]:
    """Return a plane, or tiles of it one below the other, as physical values."""
    if grid.height * grid.width <= _SCALING_PIXELS:
        whole = slice(0, grid.height), slice(0, grid.width)
        return info.to_physical(image.read_stored(plane, *whole))
    columns = grid.width // grid.tile_width
    wanted = max(_SCALING_PIXELS // (grid.tile_height * grid.tile_width), 1)
    tiles = []
    for number in _spread(grid.height // grid.tile_height * columns, wanted):
        row, column = divmod(number, columns)
        tile = grid.tile(plane * grid.per_plane + row * grid.columns + column)
        tiles.append(info.to_physical(read_tile(image, tile)))
    return np.concatenate(tiles)


def read_tile(image: StoredPixels, tile: TileGeometry) -> NDArray[Any]:
    """Return the stored values of a tile."""
    return np.ascontiguousarray(image.read_stored(tile.plane, *tile.slices))


def _spread(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` of `count` numbers, evenly spread."""
    if count <= wanted:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
