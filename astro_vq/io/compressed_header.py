"""Headers of tile-compressed images: that of the image, and what decompression needs to know.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), section 10.1.
"""

import math
import re
from collections.abc import Sequence

from astro_vq.errors import FormatError
from astro_vq.io import cards as card_io
from astro_vq.io.fits_structure import Structure, first_cards, text_of

DEFAULT_NAME = "COMPRESSED_IMAGE"
"""EXTNAME that compression gives to an image without one."""

_TABLE = re.compile(
    r"T(FIELDS|HEAP)|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|BCOL|DIM)\d+|XTENSION|BITPIX"
    r"|NAXIS\d*|PCOUNT|GCOUNT"
)
_COMPRESSION = re.compile(
    r"ZIMAGE|ZCMPTYPE|ZMASKCMP|ZQUANTIZ|ZDITHER0|ZBLANK|ZSCALE|ZZERO|ZTILE\d+|ZNAME\d+|ZVAL\d+"
)
_ORIGINAL = re.compile(r"Z(SIMPLE|TENSION|BITPIX|NAXIS\d*|EXTEND|BLOCKED|PCOUNT|GCOUNT)")
_CHECKSUMS = {"ZHECKSUM": b"CHECKSUM", "ZDATASUM": b"DATASUM"}


def image_header(cards: Sequence[bytes], structure: Structure) -> bytes:
    """Return the header of the image extension that decompression gives.

    Structural cards come first, with their comments; the cards of table and compression are
    left out; all others follow unchanged and in order.  A compressed primary image becomes an
    extension too, since it stands behind the primary HDU of its file.

    Parameters
    ----------
    cards : sequence of bytes
        Of the table.
    structure : Structure
        Of the table.

    Returns
    -------
    bytes
        With END and padding.
    """
    first = first_cards(cards)
    image = [card_io.format_card("XTENSION", "IMAGE", "Image extension")]
    names = ["BITPIX", "NAXIS", *(f"NAXIS{i + 1}" for i in range(len(structure.shape)))]
    image += [name.encode().ljust(8) + first["Z" + name][8:] for name in names]
    image.append(card_io.format_card("PCOUNT", 0, "No extra parameters"))
    image.append(card_io.format_card("GCOUNT", 1, "One data group"))
    for card in cards:
        name = card_io.keyword(card)
        if name in _CHECKSUMS:
            image.append(_CHECKSUMS[name].ljust(8) + card[8:])
        elif not _is_dropped(name, card):
            image.append(card)
    blank = card_io.integer_value(first["ZBLANK"]) if "ZBLANK" in first else None
    if structure.bitpix > 0 and blank is not None and "BLANK" not in first:
        image.append(card_io.format_card("BLANK", blank, "stored value of missing pixels"))
    return card_io.build_header(image)


def _is_dropped(name: str, card: bytes) -> bool:
    if name == "EXTNAME":
        return (card_io.string_value(card) or "").strip() == DEFAULT_NAME
    if name in ("CHECKSUM", "DATASUM"):  # of the table
        return True
    return any(pattern.fullmatch(name) for pattern in (_TABLE, _COMPRESSION, _ORIGINAL))


def decompression_header(cards: Sequence[bytes]) -> bytes:
    """Return the cards that decompression needs, each once, as a header."""
    kept = []
    for name, card in first_cards(cards).items():
        wanted = (_TABLE, _COMPRESSION, _ORIGINAL)
        if name == "BLANK" or any(pattern.fullmatch(name) for pattern in wanted):
            kept.append(card)
    return card_io.build_header(kept)


def is_offset_plio(first: dict[str, bytes], structure: Structure) -> bool:
    """Whether stored values lie 2**15 below the coded ones.

    PLIO has no negative numbers, so CFITSIO codes unsigned integers of 16 bits as they are, not
    as the signed numbers that BZERO makes of them; astropy does not undo this.
    """
    if structure.bitpix != 16 or text_of(first, "ZCMPTYPE").upper() != "PLIO_1":
        return False
    return "BZERO" in first and card_io.float_value(first["BZERO"]) == 2**15


def tile_height(cards: Sequence[bytes], shape: tuple[int, ...], where: str) -> int:
    """Return the rows of a tile, once the tiles are known to be those of the table.

    Parameters
    ----------
    cards : sequence of bytes
        Of the table.
    shape : tuple of int
        Of the image, slowest axis first.
    where : str
        File and HDU, for messages.

    Raises
    ------
    FormatError
        Tiles of no size, or not as many as the table has rows.
    """
    tiles = tile_shape(cards, shape, where)
    count = math.prod(
        -(-length // tile) for length, tile in zip(reversed(shape), tiles, strict=True)
    )
    rows = card_io.integer_value(first_cards(cards).get("NAXIS2", b""))
    if rows != count:
        raise FormatError(
            f"{where}: the image has {count} tiles, but its table has {rows} rows; "
            "the header is damaged, fetch the file again"
        )
    return tiles[1] if len(tiles) > 1 else 1


def tile_shape(cards: Sequence[bytes], shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """Return the sides of a tile, *fastest* axis first.

    Raises
    ------
    FormatError
        Tiles of no size.
    """
    first = first_cards(cards)
    tiles = []
    for axis, length in enumerate(reversed(shape), start=1):
        card = first.get(f"ZTILE{axis}")
        value = (length if axis == 1 else 1) if card is None else card_io.integer_value(card)
        if value is None or value < 1:
            raise FormatError(f"{where}: ZTILE{axis} must be 1 or more; the header is damaged")
        tiles.append(min(value, length))
    return tuple(tiles)
