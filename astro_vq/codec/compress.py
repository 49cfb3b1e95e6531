"""Images to `.avq` files: `compress`."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from astro_vq.codec.container import IMAGE, MODEL, TAIL
from astro_vq.codec.encode_image import EncodedImage, ImageEncoder, fits_model
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.inputs import Input, default_output, make_input
from astro_vq.codec.passing import pass_through
from astro_vq.codec.planning import Request
from astro_vq.codec.results import CompressionResult
from astro_vq.codec.writer import ContainerWriter, primary_cards
from astro_vq.errors import DataError, ModelMismatchError
from astro_vq.io.atomic import atomic_writer
from astro_vq.io.fits import FitsFile, FitsHDU, open_fits

if TYPE_CHECKING:
    from astro_vq.codec.windows import WindowedModel

__all__ = ["CompressionResult", "compress"]

_LOOSEST_FIRST = ("tokens", "max-error", "lossless")
_LONGEST_AXIS = 2**31 - 1


def compress(
    source: object,
    output: str | os.PathLike[str] | BinaryIO | None = None,
    *,
    model: str | os.PathLike[str] = "default",
    fidelity: str | None = None,
    max_error: str | float | None = None,
    tokens: bool = True,
    effort: int = 5,
    tile_size: int = 256,
    embed_model: bool = False,
    device: str = "auto",
    overwrite: bool = False,
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
    tile_size : int
        Side of a tile in pixels; with tokens a multiple of the model's stride.
    embed_model : bool
        Put the model into the file.
    device : str
        Where the model runs: 'auto', 'cpu', 'cuda', 'mps'.
    overwrite : bool
        Replace an output that exists.

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
        It holds no image.
    ModelMismatchError
        The model is missing or takes other images.
    FileExistsError
        The output is there and `overwrite` is false.

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
    request = Request.make(fidelity, max_error)
    _check_options(request, tokens=tokens, embed_model=embed_model, effort=effort, size=tile_size)
    given = make_input(source)
    if output is None:
        if given.path is None:
            raise ValueError("name the output: there is no file beside which it could lie")
        output = default_output(given.path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_output(output, overwrite=overwrite))
        fits_file = stack.enter_context(open_fits(given.source))
        headers = _image_headers(fits_file, given.label)
        windowed = None
        if tokens:
            windowed = _load(str(model), device, tile_size)
            _check_bands(windowed, headers, given.label)
        work = _Compression(file, fits_file, given, request, windowed)
        work.run(headers, effort=effort, tile_size=tile_size, embed_model=embed_model)
    return work.result(_name(output), time.perf_counter() - started)


class _Compression:
    """One file on its way into a container."""

    def __init__(
        self,
        file: BinaryIO,
        source: FitsFile,
        given: Input,
        request: Request,
        model: "WindowedModel | None",
    ) -> None:
        self._source = source
        self._given = given
        self._request = request
        self._model = model
        self._kinds: list[str] = []
        self._exact = True
        self._extras = ""
        self._model_bytes = 0
        self._size = 0
        self._images: list[EncodedImage] = []
        self._details: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._file = file

    def run(
        self,
        headers: dict[int, ImageHeader],
        *,
        effort: int,
        tile_size: int,
        embed_model: bool,
    ) -> None:
        """Write the whole container."""
        embedded = self._embedded() if embed_model else b""
        self._extras = (TAIL if self._source.trailing else "") + (MODEL if embedded else "")
        writer = ContainerWriter(self._file, self._primary())
        encoder = ImageEncoder(
            writer, self._request, self._model, effort=effort, tile_size=tile_size
        )
        for hdu in self._source.hdus:
            if hdu.index in headers:
                self._add_image(writer, encoder, hdu, headers[hdu.index])
            else:
                self._add_other(writer, hdu)
        if self._source.trailing:
            tail = self._source.trailing
            writer.add_chunks("AVQ_TAIL", [tail], len(tail), pack=True)
        if embedded:
            before = writer.position()
            writer.add_chunks("AVQ_MODEL", [embedded], len(embedded), pack=False)
            self._model_bytes = writer.position() - before
        self._size = writer.finish(self._primary())

    def _embedded(self) -> bytes:
        from astro_vq.checkpoint import model_to_bytes  # torch only when it is needed

        return b"" if self._model is None else model_to_bytes(self._model.loaded)

    def _primary(self) -> list[bytes]:
        unknown = len(self._source.hdus) - len(self._kinds)
        missing = self._source.hdus[-1].missing_padding
        size = self._source.size - missing if self._exact else 0
        loaded = None if self._model is None else self._model.loaded
        return primary_cards(
            fidelity=self._fidelity(),
            kinds="".join(self._kinds) + "?" * unknown + self._extras,
            name=self._given.stored_name,
            size=size,
            model=None if loaded is None else (_ascii(loaded.name), loaded.hash),
            layer=None if self._model is None else self._model.layer,
        )

    def _fidelity(self) -> str:
        found = {image.plan.fidelity for image in self._images}
        return next((name for name in _LOOSEST_FIRST if name in found), "lossless")

    def _add_image(
        self, writer: ContainerWriter, encoder: ImageEncoder, hdu: FitsHDU, info: ImageHeader
    ) -> None:
        start = writer.position()
        encoded = encoder.encode(hdu, info)
        size = writer.position() - start
        details = _describe(hdu) | encoded.details
        if hdu.kind == "compressed-image":
            if size > hdu.raw_size:
                writer.discard(start)
                self._note(hdu, "kept as it was: it is compressed, and smaller so")
                self._add_other(writer, hdu)
                return
            self._exact = False
        if encoded.plan.note:
            self._note(hdu, encoded.plan.note)
        self._kinds.append(IMAGE)
        self._images.append(encoded)
        details["bytes"] = size
        if encoded.pixels:
            details["pixel_bytes"] = encoded.pixel_bytes
            details["token_bytes"] = encoded.token_bytes
            details["bits_per_pixel"] = 8 * size / encoded.pixels
        self._details.append(details)

    def _add_other(self, writer: ContainerWriter, hdu: FitsHDU) -> None:
        start = writer.position()
        self._kinds.append(pass_through(writer, hdu))
        size = writer.position() - start
        self._details.append(_describe(hdu) | {"fidelity": "lossless", "bytes": size})

    def _note(self, hdu: FitsHDU, text: str) -> None:
        name = f" ({hdu.name})" if hdu.name else ""
        self._notes.append(f"HDU {hdu.index}{name} {text}")

    def result(self, output: str, seconds: float) -> CompressionResult:
        """Return what came of it."""
        fidelity = self._fidelity()
        lossy = [image for image in self._images if image.plan.fidelity == "max-error"]
        largest = max(lossy, key=lambda image: image.pixels, default=None)
        bound = 0.0 if largest is None else largest.plan.bound
        pixels = sum(image.pixels for image in self._images)
        return CompressionResult(
            input=self._given.label,
            output=output,
            fidelity=fidelity,
            max_error=None if fidelity == "tokens" else bound,
            input_bytes=self._given.size,
            output_bytes=self._size,
            pixel_bytes=sum(image.pixel_bytes for image in self._images),
            token_bytes=sum(image.token_bytes for image in self._images),
            model_bytes=self._model_bytes,
            bits_per_pixel=8 * self._size / pixels if pixels else None,
            ratio=self._given.size / self._size,
            seconds=seconds,
            hdus=tuple(self._details),
            notes=tuple(self._notes),
        )


def _describe(hdu: FitsHDU) -> dict[str, Any]:
    details: dict[str, Any] = {"index": hdu.index, "name": hdu.name, "kind": hdu.kind}
    if hdu.kind in ("image", "compressed-image"):
        details |= {"shape": list(hdu.shape), "dtype": str(hdu.dtype), "unit": hdu.unit}
    return details


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


def _load(model: str, device: str, tile_size: int) -> "WindowedModel":
    from astro_vq.checkpoint import load_model  # torch only when it is needed
    from astro_vq.codec.windows import WindowedModel, choose_device

    windowed = WindowedModel(load_model(model, device=choose_device(device)))
    if tile_size % windowed.layer.stride:
        raise ValueError(
            f"tile_size must be a multiple of the model's stride {windowed.layer.stride}, got "
            f"{tile_size}"
        )
    return windowed


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
    request: Request, *, tokens: bool, embed_model: bool, effort: int, size: int
) -> None:
    if request.fidelity == "tokens" and not tokens:
        raise ValueError("fidelity 'tokens' without tokens would store nothing")
    if embed_model and not tokens:
        raise ValueError("without tokens there is no model to embed")
    if effort not in range(1, 10):
        raise ValueError(f"effort must be 1 to 9, got {effort}")
    if not 16 <= size <= 2048 or size % 8:
        raise ValueError(f"tile_size must be a multiple of 8 from 16 to 2048, got {size}")


@contextlib.contextmanager
def _open_output(
    output: str | os.PathLike[str] | BinaryIO, *, overwrite: bool
) -> Iterator[BinaryIO]:
    if isinstance(output, str | os.PathLike):
        with atomic_writer(output, overwrite=overwrite) as file:
            yield file
    else:
        yield output


def _name(output: str | os.PathLike[str] | BinaryIO) -> str:
    return str(Path(output)) if isinstance(output, str | os.PathLike) else "<file object>"


def _ascii(name: str) -> str:
    return quote(name, safe=" /:.,+-_()=@")
