"""The tokens of one image of an `.avq` file, and the model's mean of them."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import unpack_scalings
from astro_vq.codec.placing import paste, shifted
from astro_vq.codec.sparse_side import SparseSide, unpack_steps
from astro_vq.codec.stored_tiles import OnDamage, TileDamage, TileTable
from astro_vq.codec.tokens import SparseStream, TokenLayer, TokenTable, decode_tokens
from astro_vq.data.scaling import Scaling
from astro_vq.errors import FormatError
from astro_vq.types import TileGeometry

if TYPE_CHECKING:
    from astro_vq.codec.detail import DetailDrawer


class TokenDecoder(Protocol):
    """What decoding tokens asks of `astro_vq.codec.windows.WindowedModel`."""

    def decode(
        self,
        read: Callable[[slice, slice], NDArray[np.int64]],
        size: tuple[int, int],
        scalings: list[Scaling],
        ys: slice,
        xs: slice,
        *,
        condition: bytes = b"",
    ) -> NDArray[np.float64]:
        """Return the mean (C, ny, nx) of a rectangle."""
        ...


class StoredTokens:
    """The token layer of one image.

    Parameters
    ----------
    table : TileTable
        Of an image with tokens.
    layer : TokenLayer
        Stride, bands and codes.

    Attributes
    ----------
    scalings : list of Scaling
        One for each plane.

    Raises
    ------
    FormatError
        Header or side information are damaged.
    """

    def __init__(self, table: TileTable, layer: TokenLayer) -> None:
        self._tiles = table
        self._grid = table.grid
        self.layer = layer
        values = unpack_scalings(table.side.get("SCAL", b""))
        if len(values) != self._grid.planes:
            raise FormatError(
                f"{table.where}: {len(values)} scalings for {self._grid.planes} planes"
            )
        self.scalings = [Scaling(float(sky), float(sigma)) for sky, sigma in values]
        self.sparse: SparseSide | None = None
        self._steps: tuple[float, ...] = ()
        self._drawers: dict[int, DetailDrawer] = {}
        self._codes: TokenTable | None = None
        if "SPRS" in table.side:
            stacks = self._grid.planes // layer.channels
            self.sparse = SparseSide.from_bytes(table.side["SPRS"], layer.depth, stacks)
            if "DETL" in table.side:
                self._steps = unpack_steps(table.side["DETL"], stacks)
        else:
            self._codes = TokenTable.from_bytes(
                table.side.get("TOKT", b""), self.layer.depth, self.layer.codes
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (N, K, h, w) of all tokens: N stacks of as many planes as the model has bands."""
        stride = self.layer.stride
        height, width = -(-self._grid.height // stride), -(-self._grid.width // stride)
        return self._grid.planes // self.layer.channels, self.layer.depth, height, width

    def read(
        self, stack: int, ys: slice, xs: slice, *, on_damage: OnDamage | None = None
    ) -> NDArray[np.int64]:
        """Return the indices (K, h, w) of a rectangle of tokens.

        Parameters
        ----------
        stack : int
            Number of the token map: of planes ``stack * channels`` and following.
        ys, xs : slice
            Rows and columns, in tokens.
        on_damage : callable, optional
            Told of damaged tiles, whose indices become 0; without it they are an error.

        Raises
        ------
        FormatError
            A tile is damaged.
        """
        stride = self.layer.stride
        out = np.zeros((self.layer.depth, ys.stop - ys.start, xs.stop - xs.start), np.int64)
        y_pixels = slice(ys.start * stride, min(ys.stop * stride, self._grid.height))
        x_pixels = slice(xs.start * stride, min(xs.stop * stride, self._grid.width))
        plane = stack * self.layer.channels
        parts = self._grid.overlapping(plane, y_pixels, x_pixels)
        numbers = [number for part in parts for number in part]
        self._tiles.announce(numbers, "TOKENS")
        for number in numbers:
            place = in_tokens(self._grid.tile(number), stride)
            try:
                stream = self._tiles.stream(number, "TOKENS")
                shape = (self.layer.depth, place.ny, place.nx)
                values = self._decode_stream(stream, shape, place)
            except FormatError as err:
                self._tiles.report(number, err, on_damage)
                continue
            paste(out, values, place, ys, xs)
        return out

    def stream_bytes(self) -> tuple[int, int]:
        """Return how many bytes tokens take, and the detail beside sparse ones (reads all)."""
        tokens = detail = 0
        for number in range(self._grid.count):
            stream = self._tiles.stream(number, "TOKENS")
            if self.sparse is not None:
                detail += len(SparseStream.from_bytes(stream).detail)
            tokens += len(stream)
        return tokens - detail, detail

    def _decode_stream(
        self, stream: bytes, shape: tuple[int, int, int], place: TileGeometry
    ) -> NDArray[np.integer]:
        if self._codes is not None:
            return decode_tokens(stream, shape, self._codes)
        if self.sparse is None:
            raise FormatError("there are neither a table of tokens nor a record of sparse ones")
        from astro_vq.entropy.sparse_maps import (  # numba is slow to load
            decode_maps,
            first_contexts,
        )

        parts = SparseStream.from_bytes(stream)
        tables = first_contexts(self.sparse.shape, parts.version)
        origin = place.y0, place.x0
        return decode_maps(parts.maps, shape, self.sparse.shape, origin, tables)

    def _drawer(self, plane: int) -> "DetailDrawer":
        """Return what draws the detail of a plane of sparse tokens; damaged tiles have none."""
        drawer = self._drawers.get(plane)
        if drawer is None:
            from astro_vq.codec.detail import DetailDrawer  # numba is slow to load

            first = plane * self._grid.per_plane

            def stream(number: int) -> bytes:
                with contextlib.suppress(FormatError):  # the reader of tokens reports it
                    return SparseStream.from_bytes(
                        self._tiles.stream(first + number, "TOKENS")
                    ).detail
                return b""

            tiles = [self._grid.tile(first + n) for n in range(self._grid.per_plane)]
            drawer = DetailDrawer(tiles, stream, self._steps[plane])
            self._drawers = {plane: drawer}  # other threads may want another one
        return drawer

    def decode(
        self,
        plane: int,
        ys: slice,
        xs: slice,
        *,
        model: TokenDecoder,
        on_damage: OnDamage | None = None,
    ) -> NDArray[np.float64]:
        """Return the model's mean of a rectangle of a plane, in the unit of the image.

        Parameters
        ----------
        plane : int
            Number of the plane.
        ys, xs : slice
            Rows and columns, within the plane.
        model : TokenDecoder
            The model that made the tokens.
        on_damage : callable, optional
            Told of damaged tiles; every pixel that one had a part in becomes NaN. Without it
            they are an error.

        Returns
        -------
        ndarray of float64, shape (ny, nx)
        """
        stack, channel = divmod(plane, self.layer.channels)
        lost: list[TileDamage] = []

        def note(damage: TileDamage) -> None:
            lost.append(damage)
            if on_damage is not None:
                on_damage(damage)

        def read(tys: slice, txs: slice) -> NDArray[np.int64]:
            return self.read(stack, tys, txs, on_damage=note if on_damage else None)

        bands = self.scalings[stack * self.layer.channels : (stack + 1) * self.layer.channels]
        size = self._grid.height, self._grid.width
        condition = self.sparse.stars[stack] if self.sparse is not None else b""
        decoded = model.decode(read, size, bands, ys, xs, condition=condition)
        mean: NDArray[np.float64] = decoded[channel]
        if self._steps and self._steps[stack]:
            self._drawer(plane).add(mean, ys, xs, bands[channel].sigma)
        reach = self.layer.halo * self.layer.stride
        for damage in lost:
            rows, columns = damage.tile.slices
            mean[shifted(rows, reach, ys), shifted(columns, reach, xs)] = np.nan
        return mean


def in_tokens(tile: TileGeometry, stride: int) -> TileGeometry:
    """Return the place of a tile's tokens, counted in tokens."""
    y0, x0 = tile.y0 // stride, tile.x0 // stride
    y1, x1 = -(-(tile.y0 + tile.ny) // stride), -(-(tile.x0 + tile.nx) // stride)
    return TileGeometry(tile.plane, y0, x0, y1 - y0, x1 - x0)
