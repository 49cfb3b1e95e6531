"""The header of a token map: the world coordinates of its image, scaled to its positions.

Cards are changed, not coordinates evaluated, so that any projection and distortion that is a
polynomial of pixels (SIP) or of the plane (TPV, TNX, the plates of the DSS) is kept as it is.
"""

import re

from astropy.io import fits

_KEPT = re.compile(
    r"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|(CD|PC)00[12]00[12]|"
    r"P[VS][12]_\d+|PROJP\d+|"
    r"WCSNAME|LONPOLE|LATPOLE|RADE(SYS|CSYS)|EQUINOX|EPOCH|MJD-OBS|DATE-OBS|"
    r"(A|B|AP|BP)_(ORDER|DMAX|\d_\d)|WAT[0-2]_\d{3}|"
    r"PLT(RA[HMS]|DECSN|DEC[DMS]|SCALE)|PPO\d|AMD[XYO][XY]?\d+|CNPIX[12]|[XY]PIXELSZ"
)
_PLATE = ("PLTRAH", "PLTDECD", "AMDX1", "AMDY1", "CNPIX1", "CNPIX2", "XPIXELSZ", "YPIXELSZ")
_SIP = re.compile(r"(A|B|AP|BP)_(\d)_(\d)")
_NEEDED = ("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")


def map_header(header: fits.Header, stride: int, shape: tuple[int, int]) -> fits.Header:
    """Return the header of a map of tokens: its axes and, if the image has any, coordinates.

    A position of the map covers `stride` by `stride` pixels; its centre is theirs. So FITS pixel
    p is map coordinate ``(p - 0.5) / stride + 0.5``, and the position with index i (from 0) has
    its centre at pixel ``stride * i + (stride - 1) / 2`` (from 0).

    Parameters
    ----------
    header : Header
        Of the image; only the coordinates along its first two axes are used.
    stride : int
        Pixels per position.
    shape : (int, int)
        Rows and columns of the map.

    Returns
    -------
    Header
        ``NAXIS``, ``NAXIS1``, ``NAXIS2``, and the cards of the coordinates; those alone for an
        image without coordinates, or with some that depend on further tables.
    """
    out = fits.Header()
    out["NAXIS"] = 2
    out["NAXIS1"], out["NAXIS2"] = shape[1], shape[0]
    if not has_coordinates(header):
        return out
    has_matrix = any(name in header for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
    for card in header.cards:
        if _KEPT.fullmatch(card.keyword) and card.keyword not in out:
            out[card.keyword] = (_scaled(card.keyword, card.value, stride), card.comment)
    if not has_matrix and "CTYPE1" in out:
        for name in ("CDELT1", "CDELT2"):
            out.setdefault(name, float(stride))
    return out


def has_coordinates(header: fits.Header) -> bool:
    """Whether the first two axes have coordinates that `map_header` can scale."""
    if any(header.get(name) in (None, "") for name in _NEEDED):
        return all(name in header for name in _PLATE)
    numbers = (header[name] for name in _NEEDED[2:])
    is_table = any("-TAB" in str(header[name]) for name in _NEEDED[:2])
    has_lookup = any(name in header for name in ("CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2"))
    return all(isinstance(n, int | float) for n in numbers) and not is_table and not has_lookup


def _scaled(name: str, value: object, stride: int) -> object:
    """Return the value of a card for pixels that are `stride` times as large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if name in ("CRPIX1", "CRPIX2"):
        return (value - 0.5) / stride + 0.5
    if name in ("CNPIX1", "CNPIX2"):  # pixels of the plate before the first
        return value / stride
    if name.startswith("CD") or name in ("XPIXELSZ", "YPIXELSZ"):
        return value * stride
    term = _SIP.fullmatch(name)
    if term:  # pixels of a polynomial of pixels, both in units of stride
        return value * stride ** (int(term[2]) + int(term[3]) - 1)
    if name.endswith("_DMAX"):
        return value / stride
    return value
