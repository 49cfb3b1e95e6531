"""Images to `.avq` files: `compress`."""

import contextlib
import os
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from astro_vq.codec.compression import Compression
from astro_vq.codec.deletion import Deletion
from astro_vq.codec.encode_image import fits_model
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.inputs import make_input
from astro_vq.codec.paths import File, check_apart, compressed_name, label_of, open_output
from astro_vq.codec.planning import Request, TokenChoice, is_hdu
from astro_vq.codec.results import CompressionResult
from astro_vq.codec.verify import check_written
from astro_vq.errors import DataError, ModelMismatchError
from astro_vq.io.fits import FitsFile, open_fits

if TYPE_CHECKING:
    from astro_vq.codec.windows import WindowedModel

__all__ = ["CompressionResult", "compress"]

_LONGEST_AXIS = 2**31 - 1


def compress(
    source: object,
    output: File | None = None,
    *,
    model: str | os.PathLike[str] = "default",
    fidelity: str | None = None,
    max_error: str | float | None = None,
    tokens: bool = True,
    effort: int = 5,
    tile_size: int | None = None,
    embed_model: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    verify: bool | str = False,
    delete_input: bool = False,
    quality: float | None = None,
    bits_per_pixel: float | None = None,
    non_negative: bool | Collection[int | str] = False,
    dither: int | None = None,
) -> CompressionResult:
    """Compress every image of a FITS file into an `.avq` file, which is itself FITS.

    Headers, tables and other extensions come back byte for byte. NaN, infinities and BLANK stay
    where they are at every fidelity. Nothing of the output is there before all of it is.

    Parameters
    ----------
    source : path, binary file object, ndarray, or astropy HDU or HDUList
        What to compress; a file may be packed (.gz, .bz2) or tile-compressed (.fz).
    output : path or binary file object, optional
        Where to write; beside the input when left out (``image.fits.avq``).
    model : str or path
        Name of a shipped model or folder of a run, for the tokens.
    fidelity : {'tokens', 'max-error', 'lossless'}, optional
        What to promise. By default integers are kept lossless and floats within
        ``max_error='0.03125sigma'``.
    max_error : float or str, optional
        Largest error of a finite pixel: in the unit of the image (``0.5``), or of its noise
        (``'0.125sigma'``).
    tokens : bool
        Store the model's tokens beside the pixels.
    effort : int
        1 (fast) to 9 (small).
    tile_size : int, optional
        Side of a tile in pixels: a multiple of 8. By default 256, or 512 where the bound is so
        wide (three times the noise) that tiles would hold next to nothing.
    embed_model : bool
        Put the model into the file.
    device : str
        Where the model runs: 'auto', 'cpu', 'cuda', 'mps'.
    overwrite : bool
        Replace an output that exists.
    verify : bool or 'lossless'
        Decode what was written and compare it with the source before it is there; 'lossless' does
        so for files of which every bit is to come back.
    delete_input : bool
        Delete the source, a file, once the output is on disk and was verified (which it then
        always is).
    quality : float, optional
        Significance, in sigma, at which a source becomes tokens (models of sparse tokens): by
        default 5 where only tokens are stored; beside pixels 10, and more where tokens would take
        more than a hundredth of what pixels take. Smaller is better and larger.
    bits_per_pixel : float, optional
        Instead: the best quality whose tokens take at most so much.
    non_negative : bool or collection of int and str
        Of images within a bound (all, or HDUs of these numbers and names): none has a negative
        pixel (else they are refused), none gets one, and pixels are 0 exactly where they were
        0. For inverse variances and other weights.
    dither : int, optional
        Quantise floats with a subtractive dither, so that errors do not add up where many pixels
        or exposures are averaged. The seed of each image is made from this one and its pixels.

    Returns
    -------
    CompressionResult
        Sizes, the promised bound, details of each HDU, and notes.

    Raises
    ------
    ValueError
        An option is impossible.
    TypeError
        The source is of no kind that can be compressed.
    FormatError
        The source is no FITS file, or damaged.
    DataError
        It holds no image, or a negative pixel where that was excluded.
    ModelMismatchError
        The model is missing or takes other images.
    FileExistsError
        The output is there and `overwrite` is false.
    VerificationError
        The output does not give back what it promises; it is not kept.

    Examples
    --------
    >>> import io, numpy as np
    >>> from astro_vq import compress, open
    >>> image = np.random.default_rng(0).normal(100, 5, (64, 64)).astype("float32")
    >>> packed = io.BytesIO()
    >>> result = compress(image, packed, max_error=0.5, tokens=False)
    >>> result.fidelity, result.max_error
    ('max-error', 0.5)
    >>> _ = packed.seek(0)
    >>> bool(abs(open(packed).data - image).max() <= 0.5)
    True
    """
    started = time.perf_counter()
    choice = TokenChoice.make(quality, bits_per_pixel)
    request = Request.make(fidelity, max_error)._replace(tokens=choice)
    request = request.quantized(non_negative=non_negative, dither=dither)
    if verify not in (True, False, "lossless"):
        raise ValueError(f"verify must be True, False or 'lossless', got {verify!r}")
    _check_options(request, tokens=tokens, embed_model=embed_model, effort=effort, size=tile_size)
    given = make_input(source)
    if output is None:
        if given.path is None:
            raise ValueError("name the output: there is no file beside which it could lie")
        output = compressed_name(given.path)
    check_apart(source, output)
    deletion = Deletion(request, given, output) if delete_input else None
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_output(output, overwrite=overwrite))
        fits_file = stack.enter_context(open_fits(given.source))
        headers = _image_headers(fits_file, given.label)
        _check_named(request, headers, given.label)
        windowed = None
        if tokens:
            windowed = _load(model, device)
            _check_bands(windowed, headers, given.label)
        work = Compression(file, fits_file, given, request, windowed)
        work.run(headers, effort=effort, tile_size=tile_size, embed_model=embed_model)
        written, checked = time.perf_counter(), None
        if delete_input or verify is True or (verify == "lossless" and work.is_lossless):
            check_written(file, label_of(output), fits_file, model=windowed)
            checked = time.perf_counter() - written
    if deletion is not None:
        deletion.run()
    return work.result(label_of(output), written - started, checked)


def _image_headers(source: FitsFile, label: str) -> dict[int, ImageHeader]:
    """Return what the headers of images (also empty ones) say, by HDU."""
    headers = {}
    for hdu in source.hdus:
        if hdu.kind == "table":
            continue
        info = ImageHeader.from_header(hdu.header_bytes, f"{label}: HDU {hdu.index}")
        odd = hdu.kind == "empty" and bool(info.shape) and 0 not in info.shape
        if not odd and max(info.shape, default=0) <= _LONGEST_AXIS:
            headers[hdu.index] = info
    if not any(info.shape for info in headers.values()):
        kinds = ", ".join(hdu.kind for hdu in source.hdus)
        raise DataError(f"{label}: no image to compress; its HDUs are: {kinds}")
    return headers


def _check_named(request: Request, headers: dict[int, ImageHeader], label: str) -> None:
    """Refuse names of HDUs that are no images of the file."""
    named = () if isinstance(request.non_negative, bool) else request.non_negative
    for asked in named:
        if not any(is_hdu(asked, index, info.name) for index, info in headers.items()):
            there = ", ".join(f"{i} ({h.name})" if h.name else str(i) for i, h in headers.items())
            raise DataError(f"{label}: no image HDU {asked!r} (non_negative); there are: {there}")


def _load(model: str | os.PathLike[str], device: str) -> "WindowedModel":
    from astro_vq.codec.loaded_models import load_once  # torch only when it is needed

    return load_once(model, device=device)


def _check_bands(model: "WindowedModel", headers: dict[int, ImageHeader], label: str) -> None:
    if any(fits_model(info, model.layer.channels) for info in headers.values()):
        return
    loaded = model.loaded
    shapes = ", ".join(str(info.shape) for info in headers.values() if info.shape)
    raise ModelMismatchError(
        f"{label}: model {loaded.name!r} (hash {loaded.hash}) takes {model.layer.channels} bands "
        f"as the third axis from the end, but the images have shape {shapes}; give a model of one "
        "band, stack the bands into one cube, or leave out the tokens (--no-tokens)"
    )


def _check_options(
    request: Request, *, tokens: bool, embed_model: bool, effort: int, size: int | None
) -> None:
    if request.fidelity == "tokens" and not tokens:
        raise ValueError("fidelity 'tokens' without tokens would store nothing")
    if embed_model and not tokens:
        raise ValueError("without tokens there is no model to embed")
    if effort not in range(1, 10):
        raise ValueError(f"effort must be 1 to 9, got {effort}")
    if size is not None and (not 16 <= size <= 2048 or size % 8):
        raise ValueError(f"tile_size must be a multiple of 8 from 16 to 2048, got {size}")
