"""An `.avq` file as it lies on disk: its HDUs, checked; the chunks and the model in it.

Nothing here decodes pixels. Headers are checked against their checksum when the file is opened,
so that a damaged bound or a damaged shape is never taken for a good one; data are read when asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from astro_vq.codec.container import (
    FORMAT_VERSION,
    MAX_PIXELS,
    MODEL,
    ORIGINAL_KINDS,
)
from astro_vq.codec.header import LARGEST_HEADER
from astro_vq.codec.keywords import Keywords
from astro_vq.codec.tokens import LARGEST_CODES, TokenLayer
from astro_vq.errors import FormatError
from astro_vq.io.byte_source import ByteSource
from astro_vq.io.cards import BLOCK_BYTES, find_end, padded_size, split_cards
from astro_vq.io.checksum import ALL_ONES, RunningSum, sum_bytes

_PIECE = 2**20


@dataclass(frozen=True)
class StoredHDU:
    """One HDU of an `.avq` file.

    Attributes
    ----------
    index : int
        Number within the original, or -1 for what is no HDU of it.
    kind : str
        Letter of the kind, see `astro_vq.codec.container`.
    header : bytes
        Its header, END and padding included.
    cards : list of bytes
        Cards before END.
    keywords : Keywords
        Their values.
    offset, size : int
        Where its data lie, without padding.
    """

    index: int
    kind: str
    header: bytes
    cards: list[bytes]
    keywords: Keywords
    offset: int
    size: int

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return self.keywords.where


class StoredFile:
    """Reads the HDUs of an `.avq` file.

    Parameters
    ----------
    source : ByteSource
        The bytes; stays open.
    strict : bool
        Raise on any damage; otherwise go on with what is left and list it in `problems`.
    max_pixels : int or None
        Pixels that its images may have together: a small file can claim to hold a huge image.

    Raises
    ------
    FormatError
        The file is no `.avq` file, of a newer version, or (`strict`) damaged or cut off.
    """

    def __init__(
        self, source: ByteSource, *, strict: bool = True, max_pixels: int | None = MAX_PIXELS
    ) -> None:
        self.name = name = source.name
        self.problems: list[str] = []
        self._source = source
        self._strict = strict
        self._max_pixels = max_pixels
        self._pixels: dict[int, int] = {}
        self.size = source.size
        primary = self._read_hdu(0, -1, "", f"{name}: primary header")
        self.globals = primary.keywords
        if "AVQVERS" not in self.globals:
            raise FormatError(
                f"{name}: not an .avq file (a FITS file without keyword AVQVERS); make one with "
                "astro-vq compress"
            )
        version = self.globals.integer("AVQVERS", most=10**6)
        if version > FORMAT_VERSION:
            raise FormatError(
                f"{name}: written in format version {version} by "
                f"{self.globals.text('AVQWRITE', default='a newer version')}; this version reads "
                f"up to {FORMAT_VERSION}, upgrade astro-vq"
            )
        self.kinds = self.globals.text("AVQHDUS")
        self.hdus: list[StoredHDU] = []
        self._extra: dict[str, StoredHDU] = {}
        self._walk(primary.offset)

    def token_layer(self) -> TokenLayer:
        """Return what the primary header says about tokens.

        Raises
        ------
        FormatError
            It says nothing, or nothing sensible.
        """
        keywords = self.globals
        return TokenLayer(
            stride=keywords.integer("AVQSTRID", least=1, most=2**16),
            halo=keywords.integer("AVQHALO", most=2**16),
            channels=keywords.integer("AVQCHAN", least=1, most=2**16),
            codes=keywords.integer("AVQCODES", least=1, most=LARGEST_CODES),
            depth=keywords.integer("AVQDEPTH", least=1, most=2**10),
        )

    @property
    def n_originals(self) -> int:
        """Number of HDUs of the original."""
        return sum(kind in ORIGINAL_KINDS for kind in self.kinds)

    def _walk(self, offset: int) -> None:
        index = 0
        for kind in self.kinds:
            original = kind in ORIGINAL_KINDS
            where = f"{self.name}: HDU {index}" if original else f"{self.name}: extra HDU {kind}"
            try:
                hdu = self._read_hdu(offset, index if original else -1, kind, where)
            except FormatError as err:
                if self._strict:
                    raise
                self.problems.append(f"{err}; it and what comes after it are lost")
                return
            offset = hdu.offset + padded_size(hdu.size)
            if original:
                self.hdus.append(hdu)
                index += 1
            else:
                self._extra[kind] = hdu

    def read(self, offset: int, size: int, where: str) -> bytes:
        """Return bytes of the file.

        Raises
        ------
        FormatError
            The file ends before them.
        """
        if offset < 0 or size < 0:
            raise FormatError(f"{where}: damaged: impossible place in the file")
        self.check_there(offset + size, where)
        data = self._source.read(offset, size)
        if len(data) != size:
            raise FormatError(f"{where}: the file is cut off")
        return data

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Say which bytes (first, number) will be read next; impossible ones are left out."""
        self._source.prefetch(
            [(first, n) for first, n in ranges if first >= 0 < n and first + n <= self.size]
        )

    def check_there(self, end: int, where: str) -> None:
        """Check that the file is at least this long.

        Raises
        ------
        FormatError
            It is not.
        """
        if end > self.size:
            missing = end - self.size
            raise FormatError(f"{where}: the file is cut off ({missing} bytes are missing)")

    def admit(self, index: int, pixels: int, where: str) -> None:
        """Count the pixels of an image before memory is asked for on its word.

        Raises
        ------
        FormatError
            They are more than the file may have, together with those of other images.
        """
        self._pixels[index] = pixels
        total = sum(self._pixels.values())
        if self._max_pixels is not None and total > self._max_pixels:
            raise FormatError(
                f"{where}: an image of {pixels} pixels, which makes {total} in this file; the "
                f"limit is {self._max_pixels}: if you trust the file, raise it by --max-pixels "
                "(max_pixels in Python)"
            )

    def _read_hdu(self, offset: int, index: int, kind: str, where: str) -> StoredHDU:
        header = self._read_header(offset, where)
        cards = split_cards(header)
        keywords = Keywords(cards, where)
        start = cards[0][:10] if cards else b""
        if start not in (b"SIMPLE  = ", b"XTENSION= "):
            what = "damaged: no header where one should be" if offset else "not a FITS file"
            raise FormatError(f"{where}: {what}")
        if offset or "AVQVERS" in keywords:
            self._check_header(header, keywords)
        size = keywords.data_size()
        data = offset + len(header)
        if data + size > self.size:
            self.complain(
                f"{where}: the file is cut off ({data + size - self.size} bytes are missing)"
            )
        return StoredHDU(index, kind, header, cards, keywords, data, size)

    def _read_header(self, offset: int, where: str) -> bytes:
        parts: list[bytes] = []
        while True:
            position = offset + len(parts) * BLOCK_BYTES
            if position == 0 and self.size < BLOCK_BYTES:
                raise FormatError(f"{where}: not a FITS file ({self.size} bytes)")
            block = self.read(position, BLOCK_BYTES, where)
            parts.append(block)
            if find_end(block) is not None:
                return b"".join(parts)
            if len(parts) == 1 and block[:6] not in (b"SIMPLE", b"XTENSI"):
                what = "damaged: no header where one should be" if offset else "not a FITS file"
                raise FormatError(f"{where}: {what}")
            if len(parts) * BLOCK_BYTES > LARGEST_HEADER:
                raise FormatError(f"{where}: damaged: a header without end")

    def _check_header(self, header: bytes, keywords: Keywords) -> None:
        """Check a header without its data: all sums of an HDU add up to 32 ones."""
        text = keywords.text("DATASUM", default="")
        valid = "CHECKSUM" in keywords and text.isascii() and text.isdigit() and len(text) <= 10
        if not valid or sum_bytes(header, int(text)) != ALL_ONES:
            self.complain(f"{keywords.where}: the header is damaged (its checksum is wrong)")

    def complain(self, message: str) -> None:
        """Raise a `FormatError`, or add to `problems` when the file is not read strictly."""
        if self._strict:
            raise FormatError(message)
        self.problems.append(message)

    def iter_data(self, hdu: StoredHDU) -> Iterator[bytes]:
        """Yield the data of an HDU with its padding, piece by piece."""
        end = hdu.offset + padded_size(hdu.size)
        for position in range(hdu.offset, end, _PIECE):
            yield self.read(position, min(_PIECE, end - position), hdu.where)

    def check_data(self, hdu: StoredHDU) -> None:
        """Compare the data of an HDU with its DATASUM.

        Raises
        ------
        FormatError
            They differ, or the file is cut off.
        """
        running = RunningSum()
        for piece in self.iter_data(hdu):
            running.add(piece)
        if running.value != int(hdu.keywords.text("DATASUM")):
            raise FormatError(f"{hdu.where}: its data are damaged (DATASUM is wrong)")

    @property
    def model_bytes(self) -> int:
        """Bytes that the embedded model takes in the file."""
        hdu = self._extra.get(MODEL)
        return 0 if hdu is None else len(hdu.header) + padded_size(hdu.size)

    @property
    def extras(self) -> Mapping[str, StoredHDU]:
        """The HDUs that are no HDUs of the original, by kind."""
        return self._extra

    def need_extra(self, kind: str) -> StoredHDU:
        """Return an HDU that is none of the original.

        Raises
        ------
        FormatError
            It is lost.
        """
        if kind not in self._extra:
            raise FormatError(f"{self.name}: the file is cut off: extra HDU {kind} is missing")
        return self._extra[kind]

    def close(self) -> None:
        """Close the file."""
        self._source.close()
