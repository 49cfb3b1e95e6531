"""Changes to single cards of a header that comes back otherwise byte for byte."""

import re

from astro_vq.io.cards import (
    CARD_BYTES,
    find_end,
    float_value,
    format_card,
    integer_value,
    keyword,
    value_text,
)
from astro_vq.io.checksum import ZERO_CHECKSUM, encode_checksum, sum_bytes

_COMMENT = re.compile(rb"\s*(?:'(?:[^']|'')*'|[^/']*)(\s*/.*)?$", re.DOTALL)
_REFERENCE = re.compile(r"CRPIX(\d+)[A-Z]?|LTV(\d+)")


def has_checksum(header: bytes) -> bool:
    """Whether there is a CHECKSUM or DATASUM card."""
    return any(keyword(card) in ("CHECKSUM", "DATASUM") for card in _cards(header))


def update_checksums(header: bytes, data_sum: int) -> bytes:
    """Return a header whose CHECKSUM and DATASUM cards, where it has them, fit its data.

    Parameters
    ----------
    header : bytes
        The header; its length stays.
    data_sum : int
        Ones' complement sum of the data unit, padding included.
    """
    header = _replace(header, "DATASUM", str(data_sum))
    zeroed = _replace(header, "CHECKSUM", ZERO_CHECKSUM)
    return _replace(header, "CHECKSUM", encode_checksum(sum_bytes(zeroed, data_sum)))


def cut_header(header: bytes, ys: slice, xs: slice) -> bytes:
    """Return the header of a section: axes, reference pixels and IRAF offsets changed.

    Parameters
    ----------
    header : bytes
        Header of the whole image; all other cards stay as they are.
    ys, xs : slice
        The section, in pixels counted from 0.
    """
    starts = {1: xs.start, 2: ys.start}
    lengths = {"NAXIS1": xs.stop - xs.start, "NAXIS2": ys.stop - ys.start}
    cards = _cards(header)
    for position, card in enumerate(cards):
        name = keyword(card)
        if name in lengths:
            cards[position] = _with_value(card, lengths[name])
            continue
        match = _REFERENCE.fullmatch(name)
        start = starts.get(int(match[1] or match[2]), 0) if match else 0
        value = float_value(card) if start else None
        if value is not None:
            whole = integer_value(card) if b"." not in card[10:30] else None
            cards[position] = _with_value(card, value - start if whole is None else whole - start)
    return b"".join(cards) + header[len(cards) * CARD_BYTES :]


def _replace(header: bytes, name: str, text: str) -> bytes:
    cards = _cards(header)
    for position, card in enumerate(cards):
        if keyword(card) == name:
            cards[position] = _with_value(card, text)
            return b"".join(cards) + header[len(cards) * CARD_BYTES :]
    return header


def _with_value(card: bytes, value: float | str) -> bytes:
    """Return a card with another value and its comment, as far as that fits."""
    match = _COMMENT.match(value_text(card) or b"")
    comment = match[1] if match and match[1] else b""
    new = format_card(card[:8].decode("ascii").rstrip(), value).rstrip(b" ")
    if comment:
        new = new.ljust(30) + b" " + comment.strip()
    return new[:CARD_BYTES].ljust(CARD_BYTES)


def _cards(header: bytes) -> list[bytes]:
    end = find_end(header)
    body = header if end is None else header[:end]
    return [body[i : i + CARD_BYTES] for i in range(0, len(body) // CARD_BYTES * CARD_BYTES, 80)]
