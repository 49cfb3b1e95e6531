"""One file on its way into a container, HDU by HDU."""

import math
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from astro_vq.codec.container import IMAGE, MODEL, TAIL
from astro_vq.codec.encode_image import EncodedImage, ImageEncoder
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.inputs import Input
from astro_vq.codec.passing import pass_through
from astro_vq.codec.planning import Request
from astro_vq.codec.results import CompressionResult
from astro_vq.codec.writer import ContainerWriter, primary_cards
from astro_vq.io.fits import FitsFile, FitsHDU

if TYPE_CHECKING:
    from astro_vq.codec.windows import WindowedModel

_LOOSEST_FIRST = ("tokens", "max-error", "lossless")


class Compression:
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
        self._pixels = 0
        self._details: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._file = file

    def run(
        self,
        headers: dict[int, ImageHeader],
        *,
        effort: int,
        tile_size: int | None,
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
        name = f" ({hdu.name})" if hdu.name else ""
        where = f"{self._given.label}: HDU {hdu.index}{name}"
        encoded = encoder.encode(hdu, info, hdu.index, where)
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
        self._pixels += encoded.pixels
        details["bytes"] = size
        if encoded.pixels:
            details["pixel_bytes"] = encoded.pixel_bytes
            details["token_bytes"] = encoded.token_bytes
            details["bits_per_pixel"] = 8 * size / encoded.pixels
        self._details.append(details)

    def _add_other(self, writer: ContainerWriter, hdu: FitsHDU) -> None:
        start = writer.position()
        self._kinds.append(pass_through(writer, hdu))
        self._pixels += math.prod(hdu.shape) if hdu.kind == "compressed-image" else 0
        size = writer.position() - start
        promise = {"fidelity": "lossless", "max_error": 0.0}
        self._details.append(_describe(hdu) | promise | {"bytes": size})

    def _note(self, hdu: FitsHDU, text: str) -> None:
        name = f" ({hdu.name})" if hdu.name else ""
        self._notes.append(f"HDU {hdu.index}{name} {text}")

    @property
    def is_lossless(self) -> bool:
        """Whether every bit of every image comes back."""
        return self._fidelity() == "lossless"

    def result(
        self, output: str, seconds: float, verify_seconds: float | None = None
    ) -> CompressionResult:
        """Return what came of it."""
        model = None if self._model is None else self._model.loaded
        fidelity = self._fidelity()
        lossy = [image for image in self._images if image.plan.fidelity == "max-error"]
        largest = max(lossy, key=lambda image: image.pixels, default=None)
        bound = 0.0 if largest is None else largest.plan.bound
        pixels = self._pixels
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
            model=None if model is None else model.name,
            model_hash=None if model is None else model.hash,
            verify_seconds=verify_seconds,
            hdus=tuple(self._details),
            notes=tuple(self._notes),
        )


def _describe(hdu: FitsHDU) -> dict[str, Any]:
    details: dict[str, Any] = {"index": hdu.index, "name": hdu.name, "kind": hdu.kind}
    if hdu.kind in ("image", "compressed-image"):
        details |= {"shape": list(hdu.shape), "dtype": str(hdu.dtype), "unit": hdu.unit}
    return details


def _ascii(name: str) -> str:
    return quote(name, safe=" /:.,+-_()=@")
