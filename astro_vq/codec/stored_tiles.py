"""The table of tiles of one image: rows and streams, each checked before it is believed."""

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import (
    LARGEST_TILE,
    SIDE_PLANE,
    SIDE_TILE,
    Layout,
    TileGrid,
    plane_axes,
    tile_crc,
    unpack_side,
)
from astro_vq.codec.header import restore_header
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.errors import FormatError
from astro_vq.io.cards import padded_size
from astro_vq.types import TileGeometry


class TileDamage(NamedTuple):
    """A tile that could not be decoded.

    Attributes
    ----------
    hdu : int
        HDU of the original.
    name : str
        Its EXTNAME, or ''.
    number : int
        Number of the tile within the HDU.
    tile : TileGeometry
        Where it lies.
    reason : str
        What is wrong.
    """

    hdu: int
    name: str
    number: int
    tile: TileGeometry
    reason: str

    def __str__(self) -> str:
        label = f" ({self.name})" if self.name else ""
        plane, y0, x0, ny, nx = self.tile
        return (
            f"HDU {self.hdu}{label}: tile {self.number} is damaged (plane {plane}, rows "
            f"{y0}:{y0 + ny}, columns {x0}:{x0 + nx}): {self.reason}"
        )


OnDamage = Callable[[TileDamage], None]
"""Called for every tile that cannot be decoded; its pixels become NaN, BLANK or 0."""


class TileTable:
    """Rows and streams of an image's table.

    Parameters
    ----------
    file : StoredFile
        The file.
    hdu : StoredHDU
        An HDU of kind `IMAGE`.

    Attributes
    ----------
    side : dict of str to bytes
        Records of side information.
    header : bytes
        The original header.
    info : ImageHeader
        What it says.
    grid : TileGrid
        The tiles.

    Raises
    ------
    FormatError
        The table is none of ours, or its side information is damaged.
    """

    def __init__(self, file: StoredFile, hdu: StoredHDU) -> None:
        self._file = file
        self.hdu = hdu
        self.side: dict[str, bytes] = {}
        self.layout = Layout(tokens=False, wide=False)
        self._rows = 0
        self._has_side = False
        self._side_lost = ""
        if hdu.cards[0][:18] == b"XTENSION= 'BINTABL":
            self._open_table()
        self.header = restore_header(self._originals(), self.side.get("HEAD", b""))
        self.info = ImageHeader.from_header(self.header, hdu.where)
        self.grid = self._grid(self.info.shape)

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return self.hdu.where

    def _open_table(self) -> None:
        keywords = self.hdu.keywords
        names = [
            (keywords.text(f"TTYPE{i + 1}"), keywords.text(f"TFORM{i + 1}").partition("(")[0])
            for i in range(keywords.integer("TFIELDS", most=999))
        ]
        layouts = [Layout(tokens, wide) for tokens in (False, True) for wide in (False, True)]
        found = [layout for layout in layouts if list(layout.columns) == names]
        if not found:
            raise FormatError(f"{self.where}: damaged: not a table of tiles")
        self.layout = found[0]
        self._rows = keywords.integer("NAXIS2", most=2**31)
        width = self.layout.dtype.itemsize
        if keywords.integer("NAXIS1") != width or self._rows * width > self.hdu.size:
            raise FormatError(f"{self.where}: damaged: rows of the table have the wrong size")
        self._file.check_there(self.hdu.offset + self._rows * width, self.where)
        if self._rows:
            last = self.rows(range(self._rows - 1, self._rows))[0]
            if int(last["TILE"][0]) == SIDE_PLANE:
                self._rows -= 1
                self._has_side = True
                self._open_side(last)

    def _open_side(self, row: np.void) -> None:
        try:
            self.side = unpack_side(self._checked(row, SIDE_TILE, "PIXELS"))
        except FormatError as err:
            self._side_lost = "the side information of its HDU is damaged"
            self._file.complain(f"{self.where}: the side information is damaged: {err}")

    def _originals(self) -> list[bytes]:
        keywords, cards = self.hdu.keywords, self.hdu.cards
        count = keywords.integer("AVQORIG", most=len(cards))
        first = (keywords.position("AVQORIG") or 0) + 1
        if first + count > len(cards):
            raise FormatError(f"{self.where}: damaged header: AVQORIG is {count}")
        return cards[first : first + count]

    def _grid(self, shape: tuple[int, ...]) -> TileGrid:
        """Return the grid of tiles of an image of this shape; refuse what cannot be."""
        planes, height, width = plane_axes(shape)
        if planes * height * width == 0:
            grid = TileGrid(planes, height, width, 1, 1)
        else:
            tall, wide = self._tile_size()
            grid = TileGrid(planes, height, width, tall, wide)
            if min(tall, height) * min(wide, width) > LARGEST_TILE:
                raise FormatError(f"{self.where}: tiles of {tall} x {wide} are too large")
        if grid.count != self._rows:
            raise FormatError(
                f"{self.where}: damaged: {self._rows} tiles, but an image of shape {shape} has "
                f"{grid.count}"
            )
        self._file.admit(self.hdu.index, grid.pixels, self.where)
        return grid

    def _tile_size(self) -> tuple[int, int]:
        """Return rows and columns of a tile, at least one of each."""
        text = self.hdu.keywords.text("AVQTILE")
        match = re.fullmatch(r"([1-9]\d{0,9}) ([1-9]\d{0,9})", text)
        if match is None:
            raise FormatError(f"{self.where}: damaged header: AVQTILE is {text!r}")
        return int(match[1]), int(match[2])

    def rows(self, numbers: range) -> NDArray[np.void]:
        """Return some consecutive rows.

        Raises
        ------
        FormatError
            The file ends before them.
        """
        width = self.layout.dtype.itemsize
        data = self._file.read(
            self.hdu.offset + numbers.start * width, len(numbers) * width, self.where
        )
        return np.frombuffer(data, self.layout.dtype)

    def announce(self, numbers: Sequence[int], column: str) -> None:
        """Have rows and streams of some tiles fetched together, where asking one by one is slow.

        Parameters
        ----------
        numbers : sequence of int
            Numbers of tiles, ascending.
        column : {'TOKENS', 'PIXELS'}
            Which streams.
        """
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = [
            range(run[0], run[-1] + 1) for run in np.split(np.array(numbers), breaks) if run.size
        ]
        width = self.layout.dtype.itemsize
        first = self.hdu.offset
        self._file.prefetch([(first + run.start * width, len(run) * width) for run in runs])
        places: list[tuple[int, int]] = []
        with contextlib.suppress(FormatError):  # whoever reads the tiles reports it
            for run in runs:
                places += [
                    (self._heap + int(offset), int(length))
                    for length, offset in self.rows(run)[column]
                ]
        self._file.prefetch(places)

    def stream(self, number: int, column: str) -> bytes:
        """Return a stream of a tile.

        Parameters
        ----------
        number : int
            Number of the tile.
        column : {'TOKENS', 'PIXELS'}
            Which stream.

        Raises
        ------
        FormatError
            The row is of another tile, or the stream is cut off or damaged.
        """
        if self._side_lost:
            raise FormatError(self._side_lost)
        row = self.rows(range(number, number + 1))[0]
        return self._checked(row, self.grid.tile(number), column)

    def _checked(self, row: np.void, tile: TileGeometry, column: str) -> bytes:
        if tuple(map(int, row["TILE"])) != tuple(tile):
            raise FormatError("its row of the table is damaged")
        length, offset = (int(value) for value in row[column])
        place = self._heap + offset
        if length < 0 or offset < 0 or place + length > self.hdu.offset + self.hdu.size:
            raise FormatError("its row of the table is damaged")
        stream = self._file.read(place, length, "its stream")
        if tile_crc(tile, stream) != int(row["CRC"][self.layout.streams.index(column)]):
            raise FormatError(f"the CRC of its {column.lower()} is wrong")
        return stream

    @property
    def _heap(self) -> int:
        """Where in the file the streams begin."""
        return self.hdu.offset + self.layout.dtype.itemsize * (self._rows + self._has_side)

    def report(self, number: int, err: FormatError, on_damage: OnDamage | None) -> None:
        """Tell of a damaged tile, or raise when nobody wants to be told.

        Raises
        ------
        FormatError
            `on_damage` is None.
        """
        damage = TileDamage(
            self.hdu.index, self.info.name, number, self.grid.tile(number), str(err)
        )
        if on_damage is None:
            raise FormatError(f"{self._file.name}: {damage}") from err
        on_damage(damage)

    def stream_bytes(self) -> tuple[int, int]:
        """Return how many bytes token streams and pixel streams have, from the table alone."""
        tokens = pixels = 0
        step = 2**16
        for first in range(0, self._rows, step):
            rows = self.rows(range(first, min(first + step, self._rows)))
            pixels += int(rows["PIXELS"][:, 0].sum(dtype=np.int64))
            if self.layout.tokens:
                tokens += int(rows["TOKENS"][:, 0].sum(dtype=np.int64))
        return tokens, pixels

    @property
    def stored_size(self) -> int:
        """Bytes of the whole HDU in the file."""
        return len(self.hdu.header) + padded_size(self.hdu.size)
