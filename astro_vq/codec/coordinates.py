"""World coordinates of an image and of its sections, by astropy."""

import warnings
from typing import Any

from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from astro_vq.codec.section import AxisRange, parse_key


def whole_wcs(header: fits.Header) -> WCS:
    """Return the coordinates of an image from its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # old dates, which change nothing
        return WCS(header)


def section_wcs(wcs: WCS, shape: tuple[int, ...], key: object) -> Any:  # noqa: ANN401
    """Return the coordinates of a section of an image.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of the whole image; leading axes that the image has not got are kept as they are.
    shape : tuple of int
        Shape of the image.
    key : int, slice, Ellipsis, or tuple of them
        As between square brackets.

    Raises
    ------
    ValueError
        A step is negative, or is not 1 where the coordinates have distortions.
    """
    axes = parse_key(key, shape)
    extra = wcs.naxis - len(axes)
    axes = [AxisRange(0, 1, -1)] * extra + axes[max(-extra, 0) :]
    view = [slice(None) if axis.length < 0 or not axis.step else _forward(axis) for axis in axes]
    out = wcs.slice(view, numpy_order=True)
    for number, axis in enumerate(reversed(axes)):
        if axis.step > 1:
            _thin_out(out, number, axis.step)
    if extra <= 0:
        lengths = [
            axis.length if axis.step else whole
            for axis, whole in zip(axes, shape[-extra:], strict=True)
        ]
        out.array_shape = lengths
    if all(axis.step for axis in axes):
        return out
    return out[tuple(slice(None) if axis.step else axis.start for axis in axes)]


def _forward(axis: AxisRange) -> slice:
    if axis.step < 0:
        raise ValueError("coordinates cannot run backwards: take a positive step, and flip later")
    return axis.bounds


def _thin_out(wcs: WCS, axis: int, step: int) -> None:
    """Keep every `step`-th pixel of an axis (FITS order), the first included.

    `WCS.slice` takes steps too, but for pixels that are averaged: it puts a pixel of the result
    in the middle of those that it stands for.
    """
    if wcs.has_distortion:
        raise ValueError("coordinates with distortions cannot be thinned out: take step 1")
    wcs.wcs.crpix[axis] = (wcs.wcs.crpix[axis] - 1) / step + 1
    if wcs.wcs.has_cd():
        wcs.wcs.cd[:, axis] *= step
    elif wcs.wcs.has_crota():
        raise ValueError("coordinates by CROTA cannot be thinned out: take step 1")
    else:
        matrix = wcs.wcs.get_pc().copy()
        matrix[:, axis] *= step
        wcs.wcs.pc = matrix
    wcs.wcs.set()
