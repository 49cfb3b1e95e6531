"""Coordinates of an image in the header of a table, which has other axes than the image.

Without WCSAXES the axes of a header are those of its NAXIS: two for a table, none for a header
without data. WCSAXES makes them right; but it promises cards for all axes.
"""

import re

from astro_vq.codec.header import StoredHeader, store_header
from astro_vq.io.cards import format_card

_INDEX = re.compile(rb"C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA)(\d)|(?:CD|PC)(\d)_(\d)")
_DUE = (b"CTYPE", b"CRPIX", b"CRVAL")


def store_image_header(header: bytes, *, has_data: bool) -> tuple[StoredHeader, list[bytes]]:
    """Return the header to store, and WCSAXES where it needs that.

    Parameters
    ----------
    header : bytes
        The original header.
    has_data : bool
        Whether it is to stand in a table (or else alone).

    Returns
    -------
    (StoredHeader, list of bytes)
        Cards whose axis a table does not have are in the patch, unless WCSAXES can be added.
    """
    stored = store_header(header)
    names = {card[:8].rstrip() for card in stored.cards}
    present = 2 if has_data else 0
    axes = max(map(_axis_of, names), default=0)
    if axes <= present or b"WCSAXES" in names:
        return stored, []
    if {b"%s%d" % (name, i + 1) for name in _DUE for i in range(axes)} <= names:
        return stored, [format_card("WCSAXES", axes, "axes of the coordinates")]
    return store_header(header, left_out=lambda name: _axis_of(name) > present), []


def _axis_of(name: bytes) -> int:
    """Return the largest axis that a keyword of coordinates speaks of; 0 for other keywords."""
    match = _INDEX.fullmatch(name)
    return max(int(digit) for digit in match.groups() if digit) if match else 0
