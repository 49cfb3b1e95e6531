"""What the header of a FITS HDU says about its data unit: kind, shape, type and size.

Read from the raw cards and leniently: a duplicate counts once (the first), a value may stand in
the wrong column. What cannot be understood is an error that names the keyword; what is understood
but no plain image (random groups, groups of images, foreign extensions) is a 'table' to pass on.

References
----------
FITS Standard 4.0 (IAU FITS Working Group 2018), sections 4.4, 6, 7 and 10.1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from astro_vq.errors import FormatError
from astro_vq.io import cards as card_io

Kind = Literal["image", "compressed-image", "table", "empty"]
"""What an HDU is: see `Structure.kind`."""

DTYPES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
"""Stored dtype of each BITPIX."""

COMPRESSIONS = (
    "RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS",
)  # fmt: skip
"""Values of ZCMPTYPE that can be read."""

_IMAGES = ("IMAGE", "IUEIMAGE")
_BINARY_TABLES = ("BINTABLE", "A3DTABLE")
_LONGEST_AXIS = 2**62


class Structure(NamedTuple):
    """What the header says about the data unit.

    Attributes
    ----------
    kind : {'image', 'compressed-image', 'table', 'empty'}
        'empty' is an image HDU without pixels; 'table' is all that is no image.
    bitpix : int
        Of the image; of a compressed image, that of its pixels.
    shape : tuple of int
        Numpy order, slowest axis first; () when there is none.
    data_bytes : int
        Size of the data unit in the file, without padding.
    """

    kind: Kind
    bitpix: int
    shape: tuple[int, ...]
    data_bytes: int


def first_cards(cards: Sequence[bytes]) -> dict[str, bytes]:
    """Return the first card of each keyword."""
    found: dict[str, bytes] = {}
    for card in cards:
        found.setdefault(card_io.keyword(card), card)
    return found


def read_structure(cards: Mapping[str, bytes], *, primary: bool, where: str) -> Structure:
    """Return what a header says about its data unit.

    Parameters
    ----------
    cards : mapping of str to bytes
        First card of each keyword.
    primary : bool
        It is the first HDU of the file.
    where : str
        File and HDU, for messages.

    Raises
    ------
    FormatError
        A structural keyword is missing or impossible.
    """
    bitpix = _bitpix(cards, "BITPIX", where)
    axes = _axes(cards, "NAXIS", where)
    parameters = _integer(cards, "PCOUNT", where, default=0)
    groups = _integer(cards, "GCOUNT", where, default=1)
    is_groups = is_true(cards, "GROUPS") and bool(axes) and axes[0] == 0
    pixels = math.prod(axes[1:] if is_groups else axes)
    size = abs(bitpix) // 8 * groups * (parameters + pixels) if axes else 0
    extension = "" if primary else extension_name(cards)
    if primary or extension in _IMAGES:
        if size == 0 and not is_groups:
            return Structure("empty", bitpix, axes[::-1], 0)
        if is_groups or parameters != 0 or groups != 1:
            return Structure("table", bitpix, (), size)
        return Structure("image", bitpix, axes[::-1], size)
    if extension in _BINARY_TABLES and is_true(cards, "ZIMAGE") and _is_readable(cards):
        shape = _axes(cards, "ZNAXIS", where)[::-1]
        if math.prod(shape) and shape:
            return Structure("compressed-image", _bitpix(cards, "ZBITPIX", where), shape, size)
    return Structure("table", bitpix, (), size)


def is_true(cards: Mapping[str, bytes], name: str) -> bool:
    """Whether a logical keyword is there and true."""
    return name in cards and bool(card_io.logical_value(cards[name]))


def text_of(cards: Mapping[str, bytes], name: str) -> str:
    """Return the string of a keyword without blanks around it; '' when there is none."""
    return ((card_io.string_value(cards[name]) if name in cards else None) or "").strip()


def extension_name(cards: Mapping[str, bytes]) -> str:
    """Return the value of XTENSION; '' when there is none."""
    return text_of(cards, "XTENSION").upper()


def _is_readable(cards: Mapping[str, bytes]) -> bool:
    """Whether the compression is one that can be undone."""
    columns = {text_of(cards, name).upper() for name in cards if name.startswith("TTYPE")}
    if text_of(cards, "ZCMPTYPE").upper() not in COMPRESSIONS:
        return False
    if "COMPRESSED_DATA" not in columns or "NULL_PIXEL_MASK" in columns:
        return False
    # scale and zero may also be keywords, which no reader at hand understands
    return not any(name in cards and name not in columns for name in ("ZSCALE", "ZZERO"))


def _bitpix(cards: Mapping[str, bytes], name: str, where: str) -> int:
    value = _integer(cards, name, where, least=-64)
    if value not in DTYPES:
        raise FormatError(
            f"{where}: {name} is {value}, not one of {', '.join(map(str, DTYPES))}; "
            "the header is damaged, fetch the file again"
        )
    return value


def _axes(cards: Mapping[str, bytes], name: str, where: str) -> tuple[int, ...]:
    """Return the lengths of the axes, fastest first."""
    count = _integer(cards, name, where, most=999)
    return tuple(_integer(cards, f"{name}{axis + 1}", where) for axis in range(count))


def _integer(
    cards: Mapping[str, bytes],
    name: str,
    where: str,
    *,
    least: int = 0,
    most: int = _LONGEST_AXIS,
    default: int | None = None,
) -> int:
    if name not in cards:
        if default is not None:
            return default
        raise FormatError(f"{where}: the header has no {name}; it is damaged, fetch the file again")
    value = card_io.integer_value(cards[name])
    if value is None or not least <= value <= most:
        shown = cards[name].decode("latin-1").strip()
        raise FormatError(
            f"{where}: {name} must be an integer from {least} to {most}, but its card is "
            f"{shown!r}; the header is damaged, fetch the file again"
        )
    return value
