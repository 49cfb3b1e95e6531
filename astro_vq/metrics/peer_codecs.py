"""Other codecs of images: how each encodes and decodes, and what it can hold."""

import importlib
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[NDArray[Any]], bytes]
Decode = Callable[[bytes, tuple[int, ...], np.dtype[Any]], NDArray[Any]]


class Peer(NamedTuple):
    """A codec to compare with.

    Attributes
    ----------
    name : str
        What it is called in reports.
    library : str
        Module that it needs.
    encode : callable
        Image (H, W) to bytes; raises ValueError for what it cannot hold.
    decode : callable
        Bytes, shape and dtype to the image.
    integers : tuple of str
        Integer types that it is given, the narrowest that holds the values first.
    bits : int
        Bits that values may span.
    floats : bool
        Whether it keeps floats without loss too.
    """

    name: str
    library: str
    encode: Encode
    decode: Decode
    integers: tuple[str, ...]
    bits: int
    floats: bool = False


def load_imagecodecs() -> Any:  # noqa: ANN401 - a module without types
    """Return the module, imported when it is first needed."""
    return importlib.import_module("imagecodecs")


def _encode_jpegxl(effort: int) -> Encode:
    def encode(image: NDArray[Any]) -> bytes:
        return bytes(
            load_imagecodecs().jpegxl_encode(image, lossless=True, effort=effort, numthreads=1)
        )

    return encode


def _decode_with(name: str) -> Decode:
    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(getattr(load_imagecodecs(), name)(data))

    return decode


def _encode_jpegls(image: NDArray[Any]) -> bytes:
    return bytes(load_imagecodecs().jpegls_encode(image))


def _encode_jpeg2000(image: NDArray[Any]) -> bytes:
    return bytes(
        load_imagecodecs().jpeg2k_encode(
            image,
            level=0,
            reversible=True,
            codecformat="J2K",
            numthreads=1,
            bitspersample=max(int(image.max()).bit_length(), 8),  # beyond 16 it fails without
        )
    )


def _encode_pcodec(image: NDArray[Any]) -> bytes:
    standalone = importlib.import_module("pcodec.standalone")
    config = importlib.import_module("pcodec").ChunkConfig(compression_level=8)
    return bytes(standalone.simple_compress(np.ascontiguousarray(image).ravel(), config))


def _decode_pcodec(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    values = importlib.import_module("pcodec.standalone").simple_decompress(data)
    return np.asarray(values).reshape(shape)


def encode_fpack(kind: str, **settings: Any) -> Encode:  # noqa: ANN401
    """Return the encoder of one kind of tile compression (``RICE_1``, ...)."""

    def encode(image: NDArray[Any]) -> bytes:
        fits = importlib.import_module("fitsio").FITS("mem://", "rw")
        try:
            fits.write(image, compress=kind, **settings)
            return bytes(fits.read_raw())
        finally:
            fits.close()

    return encode


def decode_fpack(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the image of a tile-compressed file."""
    fitsio = importlib.import_module("fitsio")
    with tempfile.NamedTemporaryFile(suffix=".fits.fz") as file:
        file.write(data)
        file.flush()
        with fitsio.FITS(file.name) as fits:
            hdu = next(h for h in fits if h.has_data())
            return np.asarray(hdu.read())


_SIGNED = ("int16", "int32")
_UNSIGNED = ("uint8", "uint16", "uint32")

PEERS: tuple[Peer, ...] = (
    Peer("fpack Rice", "fitsio", encode_fpack("RICE_1", qlevel=0), decode_fpack, _SIGNED, 31),
    Peer(
        "fpack HCOMPRESS",
        "fitsio",
        encode_fpack("HCOMPRESS_1", qlevel=0),
        decode_fpack,
        _SIGNED,
        31,
    ),
    Peer("fpack GZIP", "fitsio", encode_fpack("GZIP_2", qlevel=0), decode_fpack, _SIGNED, 31, True),
    Peer("JPEG-LS", "imagecodecs", _encode_jpegls, _decode_with("jpegls_decode"), _UNSIGNED, 16),
    Peer("JPEG2000", "imagecodecs", _encode_jpeg2000, _decode_with("jpeg2k_decode"), _UNSIGNED, 24),
    Peer(
        "JPEG-XL e7", "imagecodecs", _encode_jpegxl(7), _decode_with("jpegxl_decode"), _UNSIGNED, 16
    ),
    Peer(
        "JPEG-XL e9", "imagecodecs", _encode_jpegxl(9), _decode_with("jpegxl_decode"), _UNSIGNED, 16
    ),
    Peer("pcodec", "pcodec", _encode_pcodec, _decode_pcodec, _UNSIGNED[1:], 32, True),
)
"""Codecs of integers, and of floats without loss where they say so."""
