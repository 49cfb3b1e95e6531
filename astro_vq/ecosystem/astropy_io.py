"""``CCDData.read("m31.fits.avq")``: astropy's unified reading and writing of `.avq` files.

astropy has no way to find other packages by itself, and importing it takes longer than all of
``import astro_vq``; so `register_astropy_io` is called once, by whoever wants it.
"""

import io
import os
from typing import Any, BinaryIO

import astropy.units as u
from astropy.io import registry
from astropy.nddata import CCDData, NDData, NDDataRef

from astro_vq.codec.compress import compress
from astro_vq.codec.decompress import decompress
from astro_vq.io.cards import BLOCK_BYTES

FORMAT = "avq"
_SUFFIX = ".avq"
_OVER_FITS = 1  # an .avq file is a FITS file too

File = str | os.PathLike[str] | BinaryIO


def register_astropy_io() -> None:
    """Teach astropy to read and write `.avq` files; calling it again changes nothing.

    From then on ``CCDData.read(name)`` and ``ccd.write(name)`` work where the name ends in
    ``.avq``, and with ``format="avq"`` whatever the name; so they do for all subclasses of
    `NDData` that can read and write, such as `NDDataRef`. `read_ccddata`, `read_nddata` and
    `write_nddata` say which options they take.

    Examples
    --------
    >>> import astro_vq
    >>> astro_vq.register_astropy_io()
    """
    for kind, read in ((CCDData, read_ccddata), (NDData, read_nddata)):
        registry.register_identifier(FORMAT, kind, _is_avq, force=True)
        registry.register_reader(FORMAT, kind, read, force=True, priority=_OVER_FITS)
        registry.register_writer(FORMAT, kind, write_nddata, force=True, priority=_OVER_FITS)


def read_ccddata(source: File, **choices: Any) -> CCDData:  # noqa: ANN401
    """Return what ``CCDData.read`` gives for the FITS file that an `.avq` file was made from.

    Parameters
    ----------
    source : path, URL or binary file object
        The `.avq` file.
    **choices
        What ``CCDData.read`` takes for FITS: ``hdu``, ``unit``, ``hdu_mask``, ``hdu_uncertainty``.

    Raises
    ------
    FormatError
        The file is no `.avq` file, or damaged.
    """
    return CCDData.read(io.BytesIO(_restored(source)), format="fits", **choices)


def read_nddata(source: File, **choices: Any) -> NDDataRef:  # noqa: ANN401
    """Return the same as `read_ccddata` does, for an image that need not have a unit.

    Parameters
    ----------
    source : path, URL or binary file object
        The `.avq` file.
    **choices
        See `read_ccddata`.

    Raises
    ------
    FormatError
        The file is no `.avq` file, or damaged.
    """
    restored = _restored(source)
    try:
        ccd, unit = CCDData.read(io.BytesIO(restored), format="fits", **choices), True
    except ValueError as err:
        if "unit for CCDData must be specified" not in str(err):
            raise
        bare = choices | {"unit": u.dimensionless_unscaled}
        ccd, unit = CCDData.read(io.BytesIO(restored), format="fits", **bare), False
    return NDDataRef(
        ccd.data,
        uncertainty=ccd.uncertainty,
        mask=ccd.mask,
        wcs=ccd.wcs,
        meta=ccd.meta,
        unit=ccd.unit if unit else None,
    )


def write_nddata(
    image: NDData,
    output: File,
    *,
    overwrite: bool = False,
    fidelity: str | None = None,
    max_error: float | str | None = None,
    tokens: bool = False,
    effort: int = 5,
    **hdus: Any,  # noqa: ANN401 - what astropy takes
) -> None:
    """Write an image as `.avq`: the FITS file that ``CCDData.write`` writes, compressed.

    Unit, header, coordinates, mask and uncertainty are kept. The mask is exact; a bound holds for
    the image and for its uncertainty alike, each in its own unit or in units of its own noise.

    Parameters
    ----------
    image : NDData
        CCDData, or any NDData with what FITS can hold: a mask that is an array, uncertainties of
        astropy's kinds.
    output : path or binary file object
        Where to write.
    overwrite : bool
        Replace a file that exists.
    fidelity, max_error, tokens, effort
        See `astro_vq.compress`; tokens are left out unless asked for.
    **hdus
        What ``CCDData.to_hdu`` takes, such as ``hdu_mask`` or ``wcs_relax``.

    Raises
    ------
    ValueError
        An option is impossible, or FITS cannot hold the mask or the uncertainty.
    FileExistsError
        The output is there and `overwrite` is false.
    """
    if not isinstance(image, CCDData):
        image = CCDData(image, unit=image.unit or u.dimensionless_unscaled)
    compress(
        image.to_hdu(**hdus),
        output,
        overwrite=overwrite,
        fidelity=fidelity,
        max_error=max_error,
        tokens=tokens,
        effort=effort,
    )


def _restored(source: File) -> bytes:
    target = io.BytesIO()
    decompress(source, target)
    return target.getvalue()


def _is_avq(
    origin: str,
    path: str | os.PathLike[str] | None,
    file: BinaryIO | None,
    *_: object,
    **__: object,
) -> bool:
    """Whether astropy's reading or writing is about an `.avq` file."""
    if path is not None and os.fspath(path).lower().endswith(_SUFFIX):
        return True
    if origin == "read" and file is not None:
        position = file.tell()
        start = file.read(BLOCK_BYTES)
        file.seek(position)
        return start[:6] == b"SIMPLE" and b"AVQVERS =" in start
    return False
