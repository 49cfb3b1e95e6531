"""One image of an `.avq` file, decoded where it is asked for: pixels without any model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.pixels import PixelSpec, decode_tiles
from astro_vq.codec.placing import paste, spanned
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.codec.stored_tiles import OnDamage, TileTable
from astro_vq.codec.stored_tokens import StoredTokens, TokenDecoder
from astro_vq.errors import DataError, FormatError
from astro_vq.types import FIDELITIES, TileGeometry

BATCH_PIXELS = 2**22
"""Pixels of tiles that are coded together."""

Numbered = tuple[int, TileGeometry]


class StoredImage:
    """An image HDU of an `.avq` file.

    Parameters
    ----------
    file : StoredFile
        The file.
    hdu : StoredHDU
        An HDU of kind `IMAGE`.

    Attributes
    ----------
    hdu : StoredHDU
        The table that holds it.
    index : int
        Number of the HDU in the original.
    header : bytes
        The original header, byte for byte.
    padding : bytes
        What filled the last block of the original data, where that was not zeros.
    info : ImageHeader
        Shape, type and scaling.
    fidelity : str
        Fidelity of this HDU.
    bound : float or None
        Largest error in the unit of the image; None for tokens.
    non_negative : bool
        Whether it is promised that no pixel is negative, and that zeros are exact.
    table : TileTable
        Tiles and their streams.

    Raises
    ------
    FormatError
        The HDU is damaged.
    """

    def __init__(self, file: StoredFile, hdu: StoredHDU) -> None:
        self._file = file
        self.hdu = hdu
        self.index = hdu.index
        self.table = TileTable(file, hdu)
        self.header = self.table.header
        self.info: ImageHeader = self.table.info
        self.fidelity = hdu.keywords.text("AVQFID", default="lossless")
        if self.fidelity not in FIDELITIES:
            raise FormatError(f"{hdu.where}: unknown fidelity {self.fidelity!r}")
        error = hdu.keywords.number("AVQERR", default=0.0)
        self.bound = None if self.fidelity == "tokens" else error
        self.non_negative = hdu.keywords.flag("AVQNONNG")
        self.padding = self.table.side.get("PADD", b"")
        self._grid = self.table.grid
        self._shared = self.table.side.get("PIXS", b"")
        self._spec = self._make_spec()
        self._tokens: StoredTokens | None = None

    def _make_spec(self) -> PixelSpec:
        bound = self.hdu.keywords.number("AVQBOUND", default=self.bound or 0.0)
        try:
            return PixelSpec(dtype=self.info.dtype, bound=bound, blank=self.info.stored_blank)
        except ValueError as err:
            raise FormatError(f"{self.hdu.where}: damaged header: {err}") from err

    @property
    def plane_axes(self) -> tuple[int, int, int]:
        """Number of planes, height and width."""
        return self._grid.planes, self._grid.height, self._grid.width

    @property
    def has_tokens(self) -> bool:
        """Whether there is a token layer."""
        return self.table.layout.tokens

    @property
    def tokens(self) -> StoredTokens:
        """The token layer.

        Raises
        ------
        DataError
            There is none.
        FormatError
            It is damaged.
        """
        if not self.has_tokens:
            raise DataError(
                f"{self.hdu.where}: the file holds no tokens of this image; compress it again "
                "without --no-tokens"
            )
        if self._tokens is None:
            self._tokens = StoredTokens(self.table, self._file.token_layer())
        return self._tokens

    def read(
        self,
        plane: int,
        ys: slice,
        xs: slice,
        *,
        model: TokenDecoder | None = None,
        on_damage: OnDamage | None = None,
    ) -> NDArray[Any]:
        """Return stored values of a rectangle of a plane, reading only the tiles it touches.

        Parameters
        ----------
        plane : int
            Number of the plane.
        ys, xs : slice
            Rows and columns, within the plane.
        model : TokenDecoder, optional
            Needed, and used, for fidelity 'tokens' alone.
        on_damage : callable, optional
            Told of damaged tiles; without it the first one is an error.

        Returns
        -------
        ndarray (ny, nx)
            Of the stored dtype: scale with `ImageHeader.to_physical` or `ImageHeader.to_image`.

        Raises
        ------
        FormatError
            A tile is damaged.
        """
        out = np.empty((ys.stop - ys.start, xs.stop - xs.start), self.info.dtype)
        numbers = [n for part in self._grid.overlapping(plane, ys, xs) for n in part]
        for first in range(0, len(numbers), self._batch):
            for tile, values in self._decode(numbers[first : first + self._batch], on_damage):
                paste(out, values, tile, ys, xs)
        if self.fidelity == "tokens" and out.size:
            if model is None:
                raise ValueError("an image of tokens needs a model to be decoded")
            there = ~self.info.missing(out)
            mean = self.tokens.decode(plane, ys, xs, model=model, on_damage=on_damage)
            lost = np.isnan(mean)
            values = self.info.to_stored(np.where(lost, 0, mean))
            out[there] = values[there]
            out[there & lost] = self.info.fill
        return out

    def iter_blocks(
        self, *, model: TokenDecoder | None = None, on_damage: OnDamage | None = None
    ) -> Iterator[tuple[TileGeometry, NDArray[Any]]]:
        """Yield the whole image in blocks of stored values, in order, each with its place.

        Blocks are as wide as the image unless that is too much to hold.
        """
        step = self._batch
        columns = self._grid.columns
        if self.fidelity == "tokens" or step < columns:
            for strip in self._grid.strips():
                for first in range(strip.start, strip.stop, step):
                    last = min(first + step, strip.stop) - 1
                    place = spanned(self._grid.tile(first), self._grid.tile(last))
                    values = self.read(place.plane, *place.slices, model=model, on_damage=on_damage)
                    yield place, values
            return
        per_batch = step // max(columns, 1) * columns
        for first in range(0, self._grid.count, max(per_batch, 1)):
            numbers = range(first, min(first + per_batch, self._grid.count))
            decoded = self._decode(list(numbers), on_damage)
            for start in range(0, len(decoded), columns):
                row = decoded[start : start + columns]
                yield spanned(row[0][0], row[-1][0]), np.concatenate([v for _, v in row], axis=1)

    def check_pixels(self, on_damage: OnDamage) -> None:
        """Decode every pixel stream, which needs no model, and tell of the damaged ones."""
        for first in range(0, self._grid.count, self._batch):
            self._decode(list(range(first, min(first + self._batch, self._grid.count))), on_damage)

    @property
    def _batch(self) -> int:
        """Tiles that are decoded together."""
        return max(BATCH_PIXELS // (self._grid.tile_height * self._grid.tile_width), 1)

    def _decode(
        self, numbers: list[int], on_damage: OnDamage | None
    ) -> list[tuple[TileGeometry, NDArray[Any]]]:
        """Decode the pixel streams of some tiles; damaged ones are filled."""
        out: dict[int, NDArray[Any]] = {}
        streams: dict[int, bytes] = {}
        self.table.announce(numbers, "PIXELS")
        for number in numbers:
            try:
                stream = self.table.stream(number, "PIXELS")
            except FormatError as err:
                self.table.report(number, err, on_damage)
                out[number] = self._filled(number, self.info.fill)
                continue
            if not stream and self.fidelity == "tokens":
                out[number] = self._filled(number, self.info.present)
            else:
                streams[number] = stream
        try:
            out |= self._decode_streams(streams)
        except FormatError:  # find out which ones
            for number, stream in streams.items():
                try:
                    out |= self._decode_streams({number: stream})
                except FormatError as err:
                    self.table.report(number, err, on_damage)
                    out[number] = self._filled(number, self.info.fill)
        return [(self._grid.tile(number), out[number]) for number in numbers]

    def _decode_streams(self, streams: dict[int, bytes]) -> dict[int, NDArray[Any]]:
        tiles = [self._grid.tile(number) for number in streams]
        shapes = [(tile.ny, tile.nx) for tile in tiles]
        decoded = decode_tiles(list(streams.values()), shapes, self._spec, shared=self._shared)
        return dict(zip(streams, decoded, strict=True))

    def _filled(self, number: int, value: float) -> NDArray[Any]:
        tile = self._grid.tile(number)
        return np.full((tile.ny, tile.nx), value, self.info.dtype)
