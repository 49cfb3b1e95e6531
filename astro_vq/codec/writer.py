"""Writing the HDUs of an `.avq` file, one after the other, each with its checksums.

The size of every header and table is known before its data, so data are written as they come and
headers and tables put in front of them at the end: nothing but one strip is ever held in memory.
"""

from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

from astro_vq import __version__
from astro_vq.codec.checksum import ZERO_CHECKSUM, RunningSum, encode_checksum, sum_bytes
from astro_vq.codec.container import (
    CHUNK_BYTES,
    CHUNK_COLUMNS,
    CHUNK_DTYPE,
    FORMAT_VERSION,
    SIDE_TILE,
    Layout,
    chunk_crc,
    pack_bytes,
    tile_crc,
)
from astro_vq.codec.keywords import long_string
from astro_vq.codec.tokens import TokenLayer
from astro_vq.io.cards import build_header, format_card, padded_size
from astro_vq.types import TileGeometry

NEXT_IS_ORIGINAL = "cards of the original header follow"
BEFORE_IS_ORIGINAL = "the cards before are the original's"
SUMMED_NAMES = {b"CHECKSUM": b"AVQCHECK", b"DATASUM": b"AVQDATAS"}
"""New names, in an HDU that is kept as it was, of checksum cards that are not valid."""


def sealed_header(cards: Sequence[bytes], data_sum: int) -> bytes:
    """Return a header with valid CHECKSUM and DATASUM at its end.

    Parameters
    ----------
    cards : sequence of bytes
        The other cards.
    data_sum : int
        Ones' complement sum of the data unit.
    """
    datasum = format_card("DATASUM", str(data_sum), "checksum of the data unit")

    def seal(text: str) -> bytes:
        return build_header([*cards, format_card("CHECKSUM", text, "checksum of the HDU"), datasum])

    return seal(encode_checksum(sum_bytes(seal(ZERO_CHECKSUM), data_sum)))


def sealed_size(n_cards: int) -> int:
    """Return the bytes of `sealed_header` for a number of cards."""
    return padded_size((n_cards + 3) * 80)


def primary_cards(
    *,
    fidelity: str,
    kinds: str,
    name: str,
    size: int,
    model: tuple[str, str] | None = None,
    layer: TokenLayer | None = None,
) -> list[bytes]:
    """Return the cards of the primary HDU.

    Parameters
    ----------
    fidelity : str
        Fidelity of the file.
    kinds : str
        One letter for each HDU that follows.
    name : str
        File name of the original, printable ASCII; '' when it had none.
    size : int
        Bytes of the original (unpacked) file; 0 when it does not come back as it was.
    model : (str, str), optional
        Name and content hash of the model.
    layer : TokenLayer, optional
        What decoding tokens needs to know.
    """
    cards = [
        format_card("SIMPLE", True, "conforms to the FITS standard"),
        format_card("BITPIX", 8),
        format_card("NAXIS", 0, "the images follow"),
        format_card("EXTEND", True),
        format_card("AVQVERS", FORMAT_VERSION, "version of the astro-vq file format"),
        format_card("AVQWRITE", f"astro-vq {__version__}", "program that wrote this file"),
        format_card("AVQFID", fidelity, "fidelity"),
        *long_string("AVQHDUS", kinds),
        *(long_string("AVQNAME", name) if name else []),
        format_card("AVQSIZE", size, "bytes of the original file; 0: not known"),
    ]
    if model is not None:
        cards += [*long_string("AVQMODEL", model[0]), *long_string("AVQHASH", model[1])]
    if layer is not None:
        cards += [
            format_card("AVQSTRID", layer.stride, "pixels per token along an axis"),
            format_card("AVQHALO", layer.halo, "tokens of context for decoding"),
            format_card("AVQCHAN", layer.channels, "planes that share tokens"),
            format_card("AVQCODES", layer.codes, "number of codes"),
            format_card("AVQDEPTH", layer.depth, "tokens per position"),
        ]
    return cards


class ContainerWriter:
    """Writes HDUs one after the other.

    Parameters
    ----------
    file : binary file object
        Seekable and empty.
    primary : sequence of bytes
        Cards of the primary HDU, which may still change as long as their number stays.
    """

    def __init__(self, file: BinaryIO, primary: Sequence[bytes]) -> None:
        self.file = file
        self._start = file.tell()
        self._n_primary = len(primary)
        file.write(sealed_header(primary, 0))

    def position(self) -> int:
        """Return where the next HDU begins."""
        return self.file.tell()

    def discard(self, position: int) -> None:
        """Take back everything from a position on."""
        self.file.seek(position)
        self.file.truncate()

    def finish(self, primary: Sequence[bytes]) -> int:
        """Write the primary header again and return the size of the whole file."""
        if len(primary) != self._n_primary:
            raise ValueError(f"{len(primary)} cards where room is for {self._n_primary}")
        size = self.file.tell() - self._start
        self.file.seek(self._start)
        self.file.write(sealed_header(primary, 0))
        self.file.seek(self._start + size)
        return size

    def add_header(self, cards: Sequence[bytes], originals: Sequence[bytes]) -> None:
        """Add an HDU without data: an image extension that holds the cards of a header."""
        start = [
            format_card("XTENSION", "IMAGE", "header alone"),
            format_card("BITPIX", 8),
            format_card("NAXIS", 0),
            format_card("PCOUNT", 0),
            format_card("GCOUNT", 1),
        ]
        self.file.write(sealed_header([*start, *cards, *_announced(originals)], 0))

    def add_verbatim(self, header: bytes, data: Iterable[bytes], fill: bytes = b"\0") -> None:
        """Add an HDU whose header is ready; its data are filled up to whole blocks."""
        self.file.write(header)
        size = 0
        for piece in data:
            self.file.write(piece)
            size += len(piece)
        self.file.write(fill * (padded_size(size) - size))

    def add_summed(
        self, cards: Sequence[bytes], data: Iterable[bytes], fill: bytes = b"\0"
    ) -> None:
        """Add an HDU as it was, but with valid checksum cards at the end of its header."""
        start = self.file.tell()
        names = [_renamed(card) for card in cards]
        names.append(format_card("AVQORIG", len(cards), BEFORE_IS_ORIGINAL))
        self.file.write(b" " * sealed_size(len(names)))
        running, size = RunningSum(), 0
        for piece in data:
            running.add(piece)
            self.file.write(piece)
            size += len(piece)
        filling = fill * (padded_size(size) - size)
        running.add(filling)
        self.file.write(filling)
        end = self.file.tell()
        self.file.seek(start)
        self.file.write(sealed_header(names, running.value))
        self.file.seek(end)

    def add_chunks(self, name: str, data: Iterable[bytes], size: int, *, pack: bool) -> None:
        """Add bytes as a table of chunks.

        Parameters
        ----------
        name : str
            EXTNAME of the table.
        data : iterable of bytes
            The bytes, in pieces of any size.
        size : int
            Number of bytes, known beforehand.
        pack : bool
            Deflate each chunk where that makes it shorter.
        """
        count = -(-size // CHUNK_BYTES)
        cards = [format_card("EXTNAME", name), format_card("AVQBYTES", size, "bytes in all chunks")]
        table = TableWriter(self.file, CHUNK_COLUMNS, CHUNK_DTYPE, count, len(cards))
        number = 0
        for number, chunk in enumerate(_rechunk(data), start=1):
            stored = pack_bytes(chunk) if pack else b"\0" + chunk
            table.rows[number - 1]["CRC"] = chunk_crc(number - 1, stored)
            table.rows[number - 1]["BYTES"] = table.append(stored)
        if number != count:
            raise ValueError(f"{number} chunks where {count} were announced")
        table.finish(cards)


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
        self._announced = _announced(originals)
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
        for name, value in zip(("PLANE", "Y0", "X0", "NY", "NX"), tile, strict=True):
            row[name] = value
        if self._layout.tokens:
            row["TOKENS"] = self._table.append(tokens)
            row["TOKCRC"] = tile_crc(tile, tokens)
        row["PIXELS"] = self._table.append(pixels)
        row["PIXCRC"] = tile_crc(tile, pixels)
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


def _announced(originals: Sequence[bytes]) -> list[bytes]:
    return [format_card("AVQORIG", len(originals), NEXT_IS_ORIGINAL), *originals]


def _renamed(card: bytes) -> bytes:
    name = card[:8].rstrip(b" ")
    return SUMMED_NAMES.get(name, name).ljust(8) + card[8:]


def _rechunk(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Yield bytes in chunks of `CHUNK_BYTES`, the last one shorter."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)
