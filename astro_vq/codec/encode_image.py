"""One image HDU into its table of tiles, a strip at a time."""

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import Layout, TileGrid, pack_side
from astro_vq.codec.find_grid import find_grid
from astro_vq.codec.floors import refuse_negative
from astro_vq.codec.header import StoredHeader
from astro_vq.codec.hidden_grid import HiddenGrid, known_grid
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.pixels import PixelSpec, encode_tiles, fit_shared
from astro_vq.codec.placing import spanned
from astro_vq.codec.planning import (
    Plan,
    Request,
    is_coarse,
    plan_image,
    read_tile,
    sample_numbers,
)
from astro_vq.codec.stored_image import BATCH_PIXELS
from astro_vq.codec.table_writer import ImageWriter
from astro_vq.codec.world_axes import store_image_header
from astro_vq.codec.writer import ContainerWriter
from astro_vq.io.cards import format_card
from astro_vq.io.tile_quantization import TileQuantization

if TYPE_CHECKING:
    from astro_vq.codec.token_layer import TokenLayerMaker, TokenQuality
    from astro_vq.codec.windows import WindowedModel

_WIDE_BYTES = 2**30
_SHARED_PIXELS = 2**20
_SEEDING_PIXELS = 2**18
_SEARCHING = 3  # from this effort on encoders search for what fpack did to plain floats
_TILE = 256  # pixels on a side
_COARSE_TILES = 2  # sides of tiles of which little is left, in those of others
_TOKEN_TILES = 4  # sides of tiles of tokens alone, in those of tiles with pixels


class SourceImage(Protocol):
    """An image HDU of the input: `astro_vq.io.fits.FitsHDU` is one."""

    @property
    def header_bytes(self) -> bytes:
        """Header, END and padding included."""
        ...

    @property
    def padding(self) -> bytes:
        """What fills the last block of the data; b'' when it is zeros."""
        ...

    @property
    def quantization(self) -> TileQuantization | None:
        """How floats were quantised, if they were."""
        ...

    def read_stored(self, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
        """Return stored values of a rectangle of a plane."""
        ...


class EncodedImage(NamedTuple):
    """What became of an image.

    Attributes
    ----------
    plan : Plan
        What was promised.
    pixels : int
        Number of pixels.
    pixel_bytes, token_bytes, tiles : int
        Streams and their number.
    details : dict
        JSON-able; for the result.
    """

    plan: Plan
    pixels: int
    pixel_bytes: int
    token_bytes: int
    tiles: int
    details: dict[str, Any]


class ImageEncoder:
    """Writes images into a container.

    Parameters
    ----------
    writer : ContainerWriter
        Where to.
    request : Request
        Fidelity and bound asked for.
    model : WindowedModel or None
        For tokens; None leaves them out.
    effort : int
        1 (fast) to 9 (small).
    tile_size : int or None
        Side of a tile in pixels; None chooses it.
    """

    def __init__(
        self,
        writer: ContainerWriter,
        request: Request,
        model: "WindowedModel | None",
        *,
        effort: int,
        tile_size: int | None,
    ) -> None:
        self._writer = writer
        self._request = request
        self._model = model
        self._effort = effort
        self._tile_size = tile_size

    def encode(self, image: SourceImage, info: ImageHeader, index: int, where: str) -> EncodedImage:
        """Add one image.

        Parameters
        ----------
        image : SourceImage
            The image; also one without any pixel.
        info : ImageHeader
            What its header says.
        index : int
            Number of the HDU.
        where : str
            File and HDU, for messages.

        Raises
        ------
        DataError
            A pixel is negative where none may become so.
        """
        grid = TileGrid.for_shape(info.shape, self._side_of_tiles(info))
        header, axes = store_image_header(image.header_bytes, has_data=grid.count > 0)
        if grid.count == 0 and not header.patch and not image.padding:
            own = [*axes, format_card("AVQFID", "lossless")]
            self._writer.add_header(own, header.cards)
            plan = Plan("lossless")
            return EncodedImage(plan, 0, 0, 0, 0, _details(plan, grid, None))
        plan = plan_image(image, info, grid, self._request.of_hdu(index, info.name))
        sampled = grid
        if self._tile_size is None and is_coarse(image, info, grid, plan):
            grid = TileGrid.for_shape(info.shape, _COARSE_TILES * _TILE)
        tokens = self._make_tokens(image, info, grid, plan) if plan.tokens else None
        if plan.fidelity == "tokens" and tokens is None:
            plan = Plan("lossless", note="kept lossless: the model does not take its bands")
        spec = PixelSpec(
            dtype=info.dtype,
            bound=plan.stored_bound,
            blank=info.stored_blank,
            floor=plan.floor,
            dither=self._seed(image, info, sampled, plan),
        )
        shared = self._fit(image, sampled, plan, spec)
        side = _side(header, image.padding, shared, tokens)
        cards = [*axes, *_cards(grid, plan, spec, None)]
        table = ImageWriter(
            self._writer.file,
            Layout(
                tokens is not None, wide=grid.pixels * np.dtype(info.dtype).itemsize > _WIDE_BYTES
            ),
            count=grid.count,
            has_side=bool(side),
            originals=header.cards,
            n_cards=len(cards),
        )
        for numbers, tiles in _batches(image, grid):
            if plan.fidelity == "tokens":
                streams = self._encode_masks(tiles, info, spec)
            else:
                if plan.floor is not None:
                    refuse_negative(tiles, info, where)
                places = [_place(grid, number) for number in numbers]
                streams = encode_tiles(
                    tiles, spec, shared=shared, effort=self._effort, places=places
                )
            for number, stream in zip(numbers, streams, strict=True):
                table.add(grid.tile(number), tokens.stream(number) if tokens else b"", stream)
        quality = tokens.measure() if tokens is not None and plan.fidelity == "tokens" else None
        table.finish([*axes, *_cards(grid, plan, spec, quality)], side)
        details = _details(plan, grid, quality) | _promises(spec)
        return EncodedImage(
            plan, grid.pixels, table.pixel_bytes, table.token_bytes, grid.count, details
        )

    def _fit(self, image: SourceImage, grid: TileGrid, plan: Plan, spec: PixelSpec) -> bytes:
        """Return what pixel streams share; masks, which are mostly constant, need nothing."""
        if grid.count == 0 or plan.fidelity == "tokens":
            return b""
        numbers = sample_numbers(grid, _SHARED_PIXELS)
        tiles = [read_tile(image, grid.tile(number)) for number in numbers]
        hidden = known_grid(image.quantization, tiles)
        if hidden is None and spec.is_float:
            hidden = self._find_grid(image, grid)
        return fit_shared(
            tiles,
            spec,
            effort=self._effort,
            grid=hidden,
            places=[_place(grid, number) for number in numbers],
        )

    def _seed(
        self, image: SourceImage, info: ImageHeader, grid: TileGrid, plan: Plan
    ) -> int | None:
        """Return the seed of the dither: by the pixels too, so that no two exposures share it."""
        seed = self._request.dither
        if seed is None or plan.fidelity != "max-error" or not info.is_float:
            return None
        for number in sample_numbers(grid, _SEEDING_PIXELS):
            seed = zlib.crc32(read_tile(image, grid.tile(number)).tobytes(), seed)
        return seed

    def _find_grid(self, image: SourceImage, grid: TileGrid) -> HiddenGrid | None:
        """Return the grid that floats lie on because they were fpacked once, if they were."""
        if grid.planes != 1 or self._effort < _SEARCHING or image.quantization is not None:
            return None

        def read(first: int, stop: int) -> NDArray[Any]:
            return image.read_stored(0, slice(first, stop), slice(0, grid.width))

        return find_grid(read, grid.height, grid.width)

    def _make_tokens(
        self, image: SourceImage, info: ImageHeader, grid: TileGrid, plan: Plan
    ) -> "TokenLayerMaker | None":
        if self._model is None or not fits_model(info, self._model.layer.channels):
            return None
        from astro_vq.codec.sparse_layer import SparseLayerMaker  # torch only when it is needed
        from astro_vq.codec.sparse_windows import SparseWindowedModel
        from astro_vq.codec.token_layer import TokenLayerMaker

        if isinstance(self._model, SparseWindowedModel):
            step = None if plan.fidelity == "tokens" else _step(plan, info)
            choice = self._request.tokens
            return SparseLayerMaker(image, info, grid, self._model, choice, step=step)
        return TokenLayerMaker(image, info, grid, self._model)

    def _side_of_tiles(self, info: ImageHeader) -> int:
        """Return the side of a tile: larger where there are only tokens, which are few."""
        side = self._tile_size or _TILE
        if self._request.fidelity != "tokens" or self._model is None:
            return side
        return min(_TOKEN_TILES * side, 2048) if self._model.is_sparse else side

    def _encode_masks(
        self, tiles: list[NDArray[Any]], info: ImageHeader, spec: PixelSpec
    ) -> list[bytes]:
        """Return a stream for each tile with missing pixels, and nothing for the others."""
        streams = [b""] * len(tiles)
        holed = [i for i, tile in enumerate(tiles) if info.missing(tile).any()]
        masks = [_mask_of(tiles[i], info) for i in holed]
        encoded = encode_tiles(masks, spec, effort=self._effort)
        for i, stream in zip(holed, encoded, strict=True):
            streams[i] = stream
        return streams


def _step(plan: Plan, info: ImageHeader) -> float:
    """Return the step between values that are stored, image unit; 0 for floats without loss."""
    if plan.fidelity == "max-error":
        return 2 * plan.bound
    return 0.0 if info.is_float else abs(info.bscale)


def fits_model(info: ImageHeader, channels: int) -> bool:
    """Whether a model of so many bands can take an image: single planes, or a stack of bands."""
    if channels == 1:
        return bool(info.shape)
    return len(info.shape) >= 3 and info.shape[-3] == channels


def _place(grid: TileGrid, number: int) -> tuple[int, int]:
    """Return row, counted on from plane to plane, and column where a tile begins."""
    tile = grid.tile(number)
    return tile.plane * grid.height + tile.y0, tile.x0


def _mask_of(tile: NDArray[Any], info: ImageHeader) -> NDArray[Any]:
    """Return the stored values of missing pixels, and one value for all others."""
    return np.where(info.missing(tile), tile, np.array(info.present, tile.dtype))


def _batches(image: SourceImage, grid: TileGrid) -> Iterator[tuple[list[int], list[NDArray[Any]]]]:
    """Yield numbers and stored values of tiles, in order, as many as are coded together."""
    per_tile = grid.tile_height * grid.tile_width
    numbers: list[int] = []
    tiles: list[NDArray[Any]] = []
    step = max(BATCH_PIXELS // per_tile, 1)
    for strip in grid.strips():
        for first in range(strip.start, strip.stop, step):
            part = range(first, min(first + step, strip.stop))
            place = spanned(grid.tile(part.start), grid.tile(part.stop - 1))
            values = read_tile(image, place)
            for number in part:
                tile = grid.tile(number)
                left = tile.x0 - place.x0
                tiles.append(np.ascontiguousarray(values[:, left : left + tile.nx]))
                numbers.append(number)
            if len(numbers) + len(part) > step:
                yield numbers, tiles
                numbers, tiles = [], []
    if numbers:
        yield numbers, tiles


def _side(
    header: StoredHeader, padding: bytes, shared: bytes, tokens: "TokenLayerMaker | None"
) -> bytes:
    records = {"HEAD": header.patch, "PADD": padding, "PIXS": shared}
    return pack_side(records | (tokens.records() if tokens else {}))


def _cards(
    grid: TileGrid, plan: Plan, spec: PixelSpec, quality: "TokenQuality | None"
) -> list[bytes]:
    """Return our own cards; their number does not depend on the measured quality."""
    cards = [
        format_card("AVQFID", plan.fidelity, "fidelity of this image"),
        format_card("AVQTILE", f"{grid.tile_height} {grid.tile_width}", "rows, columns of a tile"),
    ]
    if plan.fidelity == "max-error":
        cards.append(format_card("AVQERR", plan.bound, "largest error of a pixel, image unit"))
        if plan.stored_bound != plan.bound:
            cards.append(format_card("AVQBOUND", plan.stored_bound, "the same in stored units"))
        if spec.floor is not None:
            cards.append(format_card("AVQNONNG", True, "no pixel is negative, zeros are exact"))
        if spec.dither is not None:
            cards.append(format_card("AVQSEED", spec.dither, "seed of the subtractive dither"))
    if plan.fidelity == "tokens":
        rms = quality.rms / plan.sigma if quality and plan.sigma else 0.0
        largest = quality.largest if quality else 0.0
        cards += [
            format_card("AVQSIGMA", plan.sigma or 0.0, "noise of a pixel, image unit"),
            format_card("AVQRMS", _finite(rms), "rms error of the tokens, in sigma"),
            format_card("AVQWORST", _finite(largest), "largest error of the tokens, image unit"),
        ]
    return cards


def _promises(spec: PixelSpec) -> dict[str, Any]:
    """Return what is special about quantised pixels."""
    found: dict[str, Any] = {"non_negative": True} if spec.floor is not None else {}
    return found | ({} if spec.dither is None else {"dither_seed": spec.dither})


def _details(plan: Plan, grid: TileGrid, quality: "TokenQuality | None") -> dict[str, Any]:
    details: dict[str, Any] = {
        "fidelity": plan.fidelity,
        "max_error": None if plan.fidelity == "tokens" else plan.bound,
        "sigma": plan.sigma,
        "tiles": grid.count,
        "tile": [grid.tile_height, grid.tile_width],
    }
    if quality is not None and plan.sigma:
        details["rms_error_sigma"] = _finite(quality.rms / plan.sigma)
        details["largest_error"] = _finite(quality.largest)
    return details


def _finite(value: float) -> float:
    return value if np.isfinite(value) else float(np.finfo(np.float64).max)
