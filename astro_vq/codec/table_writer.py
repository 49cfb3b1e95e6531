"""Tables that are written as their data come: heap first, rows and header at the end.

Their size is known before their data, so that nothing but one strip is ever held in memory.
"""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from astro_vq.codec.container import SIDE_TILE, Layout, tile_crc
from astro_vq.codec.sealing import announce_originals, sealed_header, sealed_size
from astro_vq.io.cards import format_card, padded_size
from astro_vq.io.checksum import RunningSum, sum_bytes
from astro_vq.types import TileGeometry


class TableWriter:
    """A binary table whose heap is written as it comes, header and rows at the end.

    Parameters
    ----------
    file : binary file object
        At the position of the new HDU.
    columns : sequence of (str, str)
        Names and TFORM.
    dtype : numpy dtype
        Big-endian record of a row, a multiple of four bytes.
    count : int
        Number of rows.
    n_cards : int
        Number of cards that `finish` will be given.

    Attributes
    ----------
    rows : ndarray of `dtype`, shape (count,)
        To be filled before `finish`.
    """

    def __init__(
        self,
        file: BinaryIO,
        columns: Sequence[tuple[str, str]],
        dtype: np.dtype[np.void],
        count: int,
        n_cards: int,
    ) -> None:
        self.file = file
        self.rows = np.zeros(count, dtype)
        self._columns = columns
        self._n_cards = n_cards
        self._start = file.tell()
        self._heap = 0
        self._sum = RunningSum()
        file.write(b" " * sealed_size(len(self._structure()) + n_cards))
        file.write(b"\0" * self.rows.nbytes)

    @property
    def heap_size(self) -> int:
        """Bytes of the heap so far."""
        return self._heap

    def append(self, stream: bytes) -> tuple[int, int]:
        """Write a stream to the heap and return its length and offset."""
        if not stream:
            return 0, 0
        place = len(stream), self._heap
        self.file.write(stream)
        self._sum.add(stream)
        self._heap += len(stream)
        return place

    def finish(self, cards: Sequence[bytes]) -> None:
        """Fill up the last block and write rows and header."""
        if len(cards) != self._n_cards:
            raise ValueError(f"{len(cards)} cards where room is for {self._n_cards}")
        size = self.rows.nbytes + self._heap
        self.file.write(b"\0" * (padded_size(size) - size))
        end = self.file.tell()
        table = self.rows.tobytes()
        header = sealed_header([*self._structure(), *cards], sum_bytes(table, self._sum.value))
        self.file.seek(self._start)
        self.file.write(header)
        self.file.write(table)
        self.file.seek(end)

    def _structure(self) -> list[bytes]:
        cards = [
            format_card("XTENSION", "BINTABLE", "binary table"),
            format_card("BITPIX", 8),
            format_card("NAXIS", 2),
            format_card("NAXIS1", self.rows.dtype.itemsize, "bytes of a row"),
            format_card("NAXIS2", len(self.rows), "rows"),
            format_card("PCOUNT", self._heap, "bytes of the heap"),
            format_card("GCOUNT", 1),
            format_card("TFIELDS", len(self._columns), "columns"),
        ]
        for number, (name, form) in enumerate(self._columns, start=1):
            if form[1] in "PQ":  # the longest array, which some readers want to know
                lengths = self.rows[name][:, 0]
                form += f"({int(lengths.max()) if lengths.size else 0})"
            cards.append(format_card(f"TTYPE{number}", name))
            cards.append(format_card(f"TFORM{number}", form))
        return cards


class ImageWriter:
    """The table of tiles of one image.

    Parameters
    ----------
    file : binary file object
        At the position of the new HDU.
    layout : Layout
        Columns.
    count : int
        Number of tiles.
    has_side : bool
        Whether a row of side information follows the tiles.
    originals : sequence of bytes
        Cards of the original header, as `astro_vq.codec.header.store_header` gives them.
    n_cards : int
        Number of our own cards that `finish` will be given.
    """

    def __init__(
        self,
        file: BinaryIO,
        layout: Layout,
        *,
        count: int,
        has_side: bool,
        originals: Sequence[bytes],
        n_cards: int,
    ) -> None:
        self._layout = layout
        self._announced = announce_originals(originals)
        self._has_side = has_side
        self._next = 0
        self._table = TableWriter(
            file, layout.columns, layout.dtype, count + has_side, n_cards + len(self._announced)
        )
        self.token_bytes = 0
        self.pixel_bytes = 0

    def add(self, tile: TileGeometry, tokens: bytes, pixels: bytes) -> None:
        """Add the next tile; either stream may be empty."""
        row = self._table.rows[self._next]
        self._next += 1
        row["TILE"] = tile
        for number, name in enumerate(self._layout.streams):
            stream = tokens if name == "TOKENS" else pixels
            row[name] = self._table.append(stream)
            row["CRC"][number] = tile_crc(tile, stream)
        self.token_bytes += len(tokens)
        self.pixel_bytes += len(pixels)

    def finish(self, cards: Sequence[bytes], side: bytes) -> None:
        """Add the row of side information, if there is one, and complete the HDU."""
        if bool(side) != self._has_side:
            raise ValueError("side information was announced otherwise")
        if side:
            self.add(SIDE_TILE, b"", side)
            self.pixel_bytes -= len(side)
        if self._next != len(self._table.rows):
            raise ValueError(f"{self._next} rows where {len(self._table.rows)} were announced")
        self._table.finish([*cards, *self._announced])
