"""HDUs that are no images: kept as they are, with valid checksums wherever that is possible."""

from collections.abc import Iterator
from typing import Protocol

from astro_vq.codec.container import PLAIN, SUMMED, WRAPPED
from astro_vq.codec.keywords import Keywords
from astro_vq.codec.writer import SUMMED_NAMES, ContainerWriter
from astro_vq.errors import FormatError
from astro_vq.io.cards import build_header, keyword, padded_size, split_cards
from astro_vq.io.checksum import ALL_ONES, RunningSum, sum_bytes

_PIECE = 2**20


class RawHDU(Protocol):
    """What is read of an HDU: `astro_vq.io.fits.FitsHDU` is one."""

    @property
    def index(self) -> int:
        """Number of the HDU."""
        ...

    @property
    def raw_header(self) -> bytes:
        """Header as it is in the file, END and padding included."""
        ...

    @property
    def raw_size(self) -> int:
        """Bytes of header and data unit in the file."""
        ...

    def read_raw(self, start: int, n_bytes: int) -> bytes:
        """Return bytes of header and data unit, counted from the start of the header."""
        ...


def pass_through(writer: ContainerWriter, hdu: RawHDU) -> str:
    """Add an HDU as it is and return the letter of its kind.

    An extension with valid checksums goes in unchanged; one without gets checksum cards that
    are taken out again later. What could not stand in the middle of a FITS file (a primary HDU,
    or a header that cannot be read) is wrapped into a table of bytes.

    Parameters
    ----------
    writer : ContainerWriter
        Where to.
    hdu : RawHDU
        The HDU.
    """
    header = hdu.raw_header
    size = hdu.raw_size - len(header)
    if not _can_stand(hdu, header, size):
        writer.add_chunks("AVQ_BYTES", _iter_raw(hdu, 0), hdu.raw_size, pack=True)
        return WRAPPED
    cards = split_cards(header)
    fill = b" " if cards[0][:17] == b"XTENSION= 'TABLE " else b"\0"
    if _is_valid(hdu, header, size, fill):
        writer.add_verbatim(header, _iter_raw(hdu, len(header)), fill)
        return PLAIN
    writer.add_summed(cards, _iter_raw(hdu, len(header)), fill)
    return SUMMED


def _can_stand(hdu: RawHDU, header: bytes, size: int) -> bool:
    """Whether an HDU can be found again by its header in the middle of a FITS file."""
    cards = split_cards(header)
    if hdu.index == 0 or not cards or cards[0][:11] != b"XTENSION= '":
        return False
    if build_header(cards) != header:
        return False
    names = {keyword(card).encode("latin-1") for card in cards}
    if names & {*SUMMED_NAMES.values(), b"AVQORIG"}:
        return False
    try:
        announced = Keywords(cards, "").data_size()
    except FormatError:
        return False
    return size <= padded_size(announced) and size >= announced


def _is_valid(hdu: RawHDU, header: bytes, size: int, fill: bytes) -> bool:
    """Whether an HDU has both checksum cards and they are right."""
    keywords = Keywords(split_cards(header), "")
    try:
        text = keywords.text("DATASUM")
        keywords.text("CHECKSUM")
    except FormatError:
        return False
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return False
    running = RunningSum()
    for piece in _iter_raw(hdu, len(header)):
        running.add(piece)
    running.add(fill * (padded_size(size) - size))
    return running.value == int(text) and sum_bytes(header, running.value) == ALL_ONES


def _iter_raw(hdu: RawHDU, start: int) -> Iterator[bytes]:
    for position in range(start, hdu.raw_size, _PIECE):
        yield hdu.read_raw(position, min(_PIECE, hdu.raw_size - position))
