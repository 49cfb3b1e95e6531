"""The header of an image inside a table: cards stay in place and come back byte for byte.

An image HDU becomes a table, whose header holds the original cards in their order. Cards that
would mean something else in a table are renamed in place (``BITPIX`` to ``ZBITPIX``, as the tiled
image convention does), and cards that cannot stand in a valid header are left out. Undoing the
renaming restores a plain header exactly; for all others a small *patch* says what is missing.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), sections 4 and 10.1.
"""

import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from astro_vq.errors import FormatError
from astro_vq.io.cards import CARD_BYTES, build_header, find_end

RENAMED: dict[bytes, bytes] = {
    b"SIMPLE": b"ZSIMPLE",
    b"XTENSION": b"ZTENSION",
    b"EXTEND": b"ZEXTEND",
    b"BLOCKED": b"ZBLOCKED",
    b"BITPIX": b"ZBITPIX",
    b"NAXIS": b"ZNAXIS",
    b"PCOUNT": b"ZPCOUNT",
    b"GCOUNT": b"ZGCOUNT",
    b"BSCALE": b"ZBSCALE",
    b"BZERO": b"ZBZERO",
    b"BLANK": b"ZBLANK",
    b"BUNIT": b"ZBUNIT",
    b"DATAMIN": b"ZDATAMIN",
    b"DATAMAX": b"ZDATAMAX",
    b"CHECKSUM": b"ZHECKSUM",
    b"DATASUM": b"ZDATASUM",
} | {b"NAXIS%d" % axis: b"ZNAXIS%d" % axis for axis in range(1, 100)}
"""New names of cards that mean something else in a table; commentary is never renamed."""

_ORIGINAL = {new: old for old, new in RENAMED.items()}

_FOREIGN = re.compile(
    rb"AVQ.*|ZIMAGE|ZTABLE|ZCMPTYPE|ZTILE\d*|ZNAME\d+|ZVAL\d+|ZMASKCMP|ZQUANTIZ|ZDITHER0|ZSCALE|ZZERO"
    rb"|ZTHEAP|ZFORM\d+|ZCTYP\d+|GROUPS|END|TFIELDS|THEAP"
    rb"|T(TYPE|FORM|BCOL|SCAL|ZERO|NULL|UNIT|DISP|DIM|CTYP|CUNI|CRVL|CDLT|CRPX|CROT|LMIN|LMAX|DMIN|DMAX)\d+"
)
"""Names that would be misread in a table."""

_NAME = re.compile(rb"[A-Z0-9_-]{1,8} *")
_PRINTABLE = re.compile(rb"[ -~]*")
_VALUE = re.compile(
    rb" *(?:'(?:[^']|'')*'|[TF]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?"
    rb"|\( *[+-]?[\d.]+(?:[ED][+-]?\d+)? *, *[+-]?[\d.]+(?:[ED][+-]?\d+)? *\))? *(?:/.*)?"
)
_STRING = re.compile(rb" *'(?:[^']|'')*' *(?:/.*)?")
_COMMENTARY = (b"COMMENT ", b"HISTORY ", b"        ")

_LITERAL = -1
_COUNT = struct.Struct(">I")
_SEGMENT = struct.Struct(">iI")
LARGEST_HEADER = 64 * 2**20
"""Bytes of the longest header that is taken; CFITSIO's own headers stay far below."""


class StoredHeader(NamedTuple):
    """A header as a table holds it.

    Attributes
    ----------
    cards : tuple of bytes
        Cards of 80 bytes to put into the header of the table.
    patch : bytes
        What `restore_header` needs besides; empty for most headers.
    """

    cards: tuple[bytes, ...]
    patch: bytes


def store_header(header: bytes, *, left_out: Callable[[bytes], bool] | None = None) -> StoredHeader:
    """Return the cards of an image header as they may stand in a table, and the patch.

    Parameters
    ----------
    header : bytes
        The header as it is in the file, END and padding included.
    left_out : callable, optional
        Says of the name of a card whether to leave it out too; the patch brings it back.

    Raises
    ------
    FormatError
        The header is unreasonably long.
    """
    if len(header) > LARGEST_HEADER:
        raise FormatError(
            f"a header of {len(header)} bytes is not supported (up to {LARGEST_HEADER})"
        )
    end = find_end(header)
    body = header if end is None else header[:end]
    originals = [body[i : i + CARD_BYTES] for i in range(0, len(body), CARD_BYTES)]
    stored: list[bytes | None] = []
    for card in originals:
        follows = card[:8] == b"CONTINUE"
        lost = follows and (not stored or stored[-1] is None or not _goes_on(stored[-1]))
        lost = lost or (left_out is not None and left_out(card[:8].rstrip()))
        stored.append(None if lost else _stored_form(card))
    cards = tuple(card for card in stored if card is not None)
    if restore_header(cards, b"") == header:
        return StoredHeader(cards, b"")
    return StoredHeader(cards, _make_patch(header, originals, stored))


def restore_header(cards: Sequence[bytes], patch: bytes) -> bytes:
    """Return the original header, END and padding included.

    Parameters
    ----------
    cards : sequence of bytes
        Cards of `StoredHeader.cards`.
    patch : bytes
        `StoredHeader.patch`.

    Raises
    ------
    FormatError
        The patch is damaged.
    """
    originals = [_original_form(card) for card in cards]
    if not patch:
        return build_header(originals)
    try:
        (count,) = _COUNT.unpack_from(patch)
        if count > len(patch) // _SEGMENT.size:
            raise FormatError("damaged header patch: more segments than it has room for")
        position = _COUNT.size + count * _SEGMENT.size
        segments = _SEGMENT.iter_unpack(patch[_COUNT.size : position])
        parts = []
        size = 0
        for start, length in segments:
            if start == _LITERAL:
                parts.append(patch[position : position + length])
                position += length
                size += length
            elif start >= 0 and start + length <= len(originals):
                parts.extend(originals[start : start + length])
                size += length * CARD_BYTES
            else:
                raise FormatError("damaged header patch: it refers to cards that are not there")
            if size > LARGEST_HEADER:
                raise FormatError("damaged header patch: it makes an endless header")
    except struct.error as err:
        raise FormatError("damaged header patch: it is cut off") from err
    if position != len(patch):
        raise FormatError("damaged header patch: its length is wrong")
    return b"".join(parts)


def _make_patch(header: bytes, originals: list[bytes], stored: list[bytes | None]) -> bytes:
    segments: list[tuple[int, int]] = []
    literals = []
    kept = 0

    def add_literal(piece: bytes) -> None:
        literals.append(piece)
        if segments and segments[-1][0] == _LITERAL:
            segments[-1] = (_LITERAL, segments[-1][1] + len(piece))
        else:
            segments.append((_LITERAL, len(piece)))

    for card, form in zip(originals, stored, strict=True):
        if form is None:
            add_literal(card)
            continue
        if segments and segments[-1][0] != _LITERAL:
            segments[-1] = (segments[-1][0], segments[-1][1] + 1)
        else:
            segments.append((kept, 1))
        kept += 1
    tail = header[sum(map(len, originals)) :]
    if tail:
        add_literal(tail)
    table = b"".join(_SEGMENT.pack(*segment) for segment in segments)
    return _COUNT.pack(len(segments)) + table + b"".join(literals)


def _stored_form(card: bytes) -> bytes | None:
    """Return a card as a table may hold it, or None when it cannot stand there."""
    if len(card) != CARD_BYTES or not _PRINTABLE.fullmatch(card):
        return None
    name = card[:8]
    if name in _COMMENTARY:
        return card
    if name == b"CONTINUE":
        return card if card[8:10] == b"  " and _STRING.fullmatch(card, 10) else None
    if name == b"HIERARCH":
        return card if card[8:9] == b" " and b"=" in card else None
    key = name.rstrip(b" ")
    if not _NAME.fullmatch(name) or _FOREIGN.fullmatch(key) or key in _ORIGINAL:
        return None
    if card[8:10] != b"= ":  # nothing that astropy would take without a warning
        return None
    if not _VALUE.fullmatch(card, 10):
        return None
    return RENAMED.get(key, key).ljust(8) + card[8:]


def _original_form(card: bytes) -> bytes:
    name = card[:8].rstrip(b" ")
    return _ORIGINAL.get(name, name).ljust(8) + card[8:]


def _goes_on(card: bytes | None) -> bool:
    """Whether a card holds a string that the next card may continue."""
    return card is not None and b"&'" in card
