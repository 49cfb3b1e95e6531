"""FITS header cards as bytes: split, name, read leniently, build; nothing is ever repaired here.

A header must come back byte for byte, so the package never rewrites one from parsed values: it
works on the 80-byte cards themselves. These functions read what a reader needs from cards that
may be damaged, and build new cards where a writer needs some.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 4.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

CARD_BYTES = 80
BLOCK_BYTES = 2880

_BLANKS = b" \0\t"
_VALUE = re.compile(rb"\s*(?:'((?:[^']|'')*)'?|([^/]*))")
_INTEGER = re.compile(rb"[+-]?\d+$")
_SAFE_STRING_BYTES = 68


def padded_size(n_bytes: int) -> int:
    """Return `n_bytes` rounded up to whole FITS blocks of 2880 bytes."""
    return -(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES


def iter_cards(header: bytes) -> Iterator[bytes]:
    """Yield the 80-byte cards of a header (the last may be shorter), END and padding included."""
    for start in range(0, len(header), CARD_BYTES):
        yield header[start : start + CARD_BYTES]


def is_end(card: bytes) -> bool:
    """Whether this is the END card: END and then nothing but blanks (or NULs)."""
    return card[:3] == b"END" and not card[3:].strip(_BLANKS)


def find_end(header: bytes) -> int | None:
    """Return the byte offset of the END card, or None when there is none."""
    start = header.find(b"END")
    while start >= 0:
        if start % CARD_BYTES == 0 and is_end(header[start : start + CARD_BYTES]):
            return start
        start = header.find(b"END", start + 1)
    return None


def split_cards(header: bytes) -> list[bytes]:
    """Return the cards before END, in order; padding after END is left out.

    Parameters
    ----------
    header : bytes
        A header; END may be missing.

    Returns
    -------
    list of bytes
        Cards of 80 bytes each (a short last one is filled with blanks).
    """
    end = find_end(header)
    body = header if end is None else header[:end]
    return [card.ljust(CARD_BYTES) for card in iter_cards(body)]


def keyword(card: bytes) -> str:
    """Return the keyword of a card, upper case and without blanks; '' for a blank card.

    HIERARCH cards give the whole name (``'HIERARCH ESO DET ID'``); bytes that are no ASCII come
    out as Latin-1 characters.
    """
    if card[:9] == b"HIERARCH " and b"=" in card:
        return " ".join(card[: card.index(b"=")].decode("latin-1").upper().split())
    name = card[:8]
    if b"=" in name:  # a keyword without its column rule, like b"NAXIS=2"
        name = name[: name.index(b"=")]
    return name.strip(_BLANKS).decode("latin-1").upper()


def value_text(card: bytes) -> bytes | None:
    """Return the bytes of a card after its value indicator, or None when it has none.

    ``=`` in column 9 is enough; a keyword that is followed by ``=`` earlier is read as well.
    """
    if card[:9] == b"HIERARCH " and b"=" in card:
        return card[card.index(b"=") + 1 :]
    if keyword(card) in ("", "COMMENT", "HISTORY", "CONTINUE", "END"):
        return None
    position = card.find(b"=", 0, 10)
    return None if position < 1 else card[position + 1 :]


def _token(card: bytes) -> bytes | None:
    """Return an unquoted value without comment, or the inside of a quoted one."""
    text = value_text(card)
    if text is None:
        return None
    match = _VALUE.match(text)
    if match is None:  # pragma: no cover - the pattern matches any bytes
        return None
    quoted, plain = match.groups()
    if quoted is not None:
        return bytes(quoted).replace(b"''", b"'").rstrip(_BLANKS)
    return bytes(plain).strip(_BLANKS)


def string_value(card: bytes) -> str | None:
    """Return the string of a card without trailing blanks, or None when it holds no string."""
    text = value_text(card)
    if text is None or not text.lstrip(_BLANKS).startswith(b"'"):
        return None
    token = _token(card)
    return None if token is None else token.decode("latin-1")


def integer_value(card: bytes) -> int | None:
    """Return an integer value, or None; ``2.0``, ``2.`` and ``'2'`` count as 2."""
    token = _token(card)
    if token is None:
        return None
    if _INTEGER.match(token):
        return int(token)
    number = float_value(card)
    if number is None or number != number or abs(number) > 2**53 or number != int(number):
        return None
    return int(number)


def float_value(card: bytes) -> float | None:
    """Return a number, or None; Fortran's ``1.0D+03`` is read too."""
    token = _token(card)
    if token is None:
        return None
    try:
        return float(token.replace(b"D", b"E").replace(b"d", b"e").replace(b" ", b""))
    except ValueError:
        return None


def logical_value(card: bytes) -> bool | None:
    """Return the truth value of a card (T or F, wherever it stands), or None."""
    token = _token(card)
    if not token or token[:1] not in (b"T", b"F", b"t", b"f"):
        return None
    return token[:1] in (b"T", b"t")


def find_card(cards: Iterable[bytes], name: str) -> bytes | None:
    """Return the first card with this keyword, or None."""
    return next((card for card in cards if keyword(card) == name), None)


def format_card(name: str, value: bool | int | float | str, comment: str = "") -> bytes:
    """Build a card in fixed format.

    Parameters
    ----------
    name : str
        Keyword of at most 8 characters.
    value : bool, int, float or str
        Finite number, truth value or short ASCII string (with its quotes at most 70 bytes).
    comment : str
        Cut where the card ends.

    Raises
    ------
    ValueError
        Value or keyword do not fit.
    """
    if len(name) > 8:
        raise ValueError(f"a FITS keyword has at most 8 characters, got {name!r}")
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        if len(quoted) > _SAFE_STRING_BYTES or not quoted.isascii():
            raise ValueError(f"{name}: the string does not fit into one FITS card: {value!r}")
        text = f"'{quoted:<8}'".ljust(20)
    elif isinstance(value, bool):
        text = ("T" if value else "F").rjust(20)
    elif isinstance(value, float):
        text = repr(value).upper().rjust(20)
        if not any(c in text for c in ".E"):
            raise ValueError(f"{name}: FITS headers hold finite numbers only, got {value}")
    else:
        text = str(value).rjust(20)
    card = f"{name:<8}= {text}"
    if comment:
        card += f" / {comment}"
    return card.encode("ascii")[:CARD_BYTES].ljust(CARD_BYTES)


def build_header(cards: Sequence[bytes]) -> bytes:
    """Join cards, add END and fill the last block of 2880 bytes with blanks.

    Raises
    ------
    ValueError
        A card is not 80 bytes long.
    """
    for card in cards:
        if len(card) != CARD_BYTES:
            raise ValueError(f"a FITS card has {CARD_BYTES} bytes, got {len(card)}: {card!r}")
    header = b"".join(cards) + b"END".ljust(CARD_BYTES)
    return header.ljust(padded_size(len(header)))
