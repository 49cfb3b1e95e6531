"""Writing the HDUs of an `.avq` file, one after the other, each with its checksums.

The size of every header and table is known before its data, so data are written as they come and
headers and tables put in front of them at the end: nothing but one strip is ever held in memory.
"""

from collections.abc import Iterable, Sequence
from typing import BinaryIO

from astro_vq import __version__
from astro_vq.codec.container import (
    CHUNK_BYTES,
    CHUNK_COLUMNS,
    CHUNK_DTYPE,
    FORMAT_VERSION,
    chunk_crc,
    pack_bytes,
)
from astro_vq.codec.keywords import long_string
from astro_vq.codec.sealing import (
    BEFORE_IS_ORIGINAL,
    announce_originals,
    sealed_header,
    sealed_size,
)
from astro_vq.codec.table_writer import TableWriter
from astro_vq.codec.tokens import TokenLayer
from astro_vq.io.cards import format_card, padded_size
from astro_vq.io.checksum import RunningSum

SUMMED_NAMES = {b"CHECKSUM": b"AVQCHECK", b"DATASUM": b"AVQDATAS"}
"""New names, in an HDU that is kept as it was, of checksum cards that are not valid."""


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
        format_card("AVQSIZE", size, "bytes of the original file; 0: not known"),
        *long_string("AVQHDUS", kinds),
        *(long_string("AVQNAME", name) if name else []),
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
    if any(card.startswith(b"CONTINUE") for card in cards):
        cards.insert(4, format_card("LONGSTRN", "OGIP 1.0", "long strings go on in CONTINUE"))
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
        self.file.write(sealed_header([*start, *cards, *announce_originals(originals)], 0))

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
