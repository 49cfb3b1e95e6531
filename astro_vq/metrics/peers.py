"""Other codecs on the same pixels at the same bound, each stream decoded and checked.

Floats with a bound are rounded to multiples of twice the bound and the integers given to each
codec (what an astronomer who wants that bound can do today); SZ3 and fpack's own quantiser take
the floats themselves.  Pixels that are missing become a stored mask, which is counted.  A codec
whose library is not installed, or that cannot hold the values, is listed with the reason.
"""

import importlib
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
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


class PeerResult(NamedTuple):
    """What a codec reached on one image.

    Attributes
    ----------
    name : str
        Codec.
    bytes : int or None
        Size of the stream with what else is needed to decode; None when it did not run.
    bits_per_pixel : float or None
        Of those bytes.
    max_error : float or None
        Largest error seen after decoding, image's unit.
    keeps_bound : bool
        Whether that is within the bound (to the rounding of the image's own number type), with
        missing pixels in their places.
    encode_seconds, decode_seconds : float or None
        Wall time on one thread.
    note : str
        Why it did not run, or what is special.
    """

    name: str
    bytes: int | None
    bits_per_pixel: float | None
    max_error: float | None
    keeps_bound: bool
    encode_seconds: float | None
    decode_seconds: float | None
    note: str = ""


def _imagecodecs() -> Any:  # noqa: ANN401 - a module without types
    return importlib.import_module("imagecodecs")


def _encode_jpegxl(effort: int) -> Encode:
    def encode(image: NDArray[Any]) -> bytes:
        return bytes(
            _imagecodecs().jpegxl_encode(image, lossless=True, effort=effort, numthreads=1)
        )

    return encode


def _decode_with(name: str) -> Decode:
    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(getattr(_imagecodecs(), name)(data))

    return decode


def _encode_jpegls(image: NDArray[Any]) -> bytes:
    return bytes(_imagecodecs().jpegls_encode(image))


def _encode_jpeg2000(image: NDArray[Any]) -> bytes:
    return bytes(
        _imagecodecs().jpeg2k_encode(
            image, level=0, reversible=True, codecformat="J2K", numthreads=1
        )
    )


def _encode_pcodec(image: NDArray[Any]) -> bytes:
    standalone = importlib.import_module("pcodec.standalone")
    config = importlib.import_module("pcodec").ChunkConfig(compression_level=8)
    return bytes(standalone.simple_compress(np.ascontiguousarray(image).ravel(), config))


def _decode_pcodec(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    values = importlib.import_module("pcodec.standalone").simple_decompress(data)
    return np.asarray(values).reshape(shape)


def _encode_fpack(kind: str, **settings: Any) -> Encode:  # noqa: ANN401
    def encode(image: NDArray[Any]) -> bytes:
        fits = importlib.import_module("fitsio").FITS("mem://", "rw")
        try:
            fits.write(image, compress=kind, **settings)
            return bytes(fits.read_raw())
        finally:
            fits.close()

    return encode


def _decode_fpack(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
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
    Peer("fpack Rice", "fitsio", _encode_fpack("RICE_1", qlevel=0), _decode_fpack, _SIGNED, 31),
    Peer(
        "fpack HCOMPRESS",
        "fitsio",
        _encode_fpack("HCOMPRESS_1", qlevel=0),
        _decode_fpack,
        _SIGNED,
        31,
    ),
    Peer(
        "fpack GZIP", "fitsio", _encode_fpack("GZIP_2", qlevel=0), _decode_fpack, _SIGNED, 31, True
    ),
    Peer("JPEG-LS", "imagecodecs", _encode_jpegls, _decode_with("jpegls_decode"), _UNSIGNED, 16),
    Peer("JPEG2000", "imagecodecs", _encode_jpeg2000, _decode_with("jpeg2k_decode"), _UNSIGNED, 26),
    Peer(
        "JPEG-XL e7", "imagecodecs", _encode_jpegxl(7), _decode_with("jpegxl_decode"), _UNSIGNED, 16
    ),
    Peer(
        "JPEG-XL e9", "imagecodecs", _encode_jpegxl(9), _decode_with("jpegxl_decode"), _UNSIGNED, 16
    ),
    Peer("pcodec", "pcodec", _encode_pcodec, _decode_pcodec, _UNSIGNED[1:], 32, True),
)
"""Codecs of integers, and of floats without loss where they say so."""


def run_peers(
    image: NDArray[Any],
    bound: float,
    *,
    missing: NDArray[np.bool_] | None = None,
    peers: Sequence[Peer] = PEERS,
) -> list[PeerResult]:
    """Run other codecs on one image plane.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Stored values: integers, or float32 or float64 (NaN and inf where missing).
    bound : float
        Largest absolute error allowed, in the unit of `image`; 0 asks for identical values.
    missing : ndarray of bool, shape (H, W), optional
        Further pixels that are missing; their values need not come back.
    peers : sequence of Peer
        Codecs of integers to run; SZ3 and fpack's quantiser join for floats with a bound.

    Returns
    -------
    list of PeerResult
        In the order of `peers`; those that could not run carry a note.

    Raises
    ------
    ValueError
        When `bound` is negative or not finite, or the image does not have two axes.
    """
    if not 0 <= bound < float("inf"):
        raise ValueError(f"bound must be finite and at least 0, got {bound}")
    if image.ndim != 2:
        raise ValueError(f"an image must have two axes, got shape {image.shape}")
    image = np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False))
    gone = np.zeros(image.shape, bool) if missing is None else missing.copy()
    if image.dtype.kind == "f":
        gone |= ~np.isfinite(image)
    if gone.all():
        return [_refused(peer.name, "no finite pixel") for peer in peers]
    if image.dtype.kind == "f" and bound > 0:
        return _run_with_bound(image, bound, gone, peers)
    results = []
    step = 1 if image.dtype.kind == "f" else int(2 * np.floor(bound) + 1)
    for peer in peers:
        if image.dtype.kind == "f":
            results.append(_run_floats(peer, image, gone))
            continue
        low = int(image.min())
        values = (image.astype(np.int64) - low + step // 2) // step
        results.append(_run_integers(peer, values, low, step, image, gone, bound))
    return results


def _run_with_bound(
    image: NDArray[Any], bound: float, gone: NDArray[np.bool_], peers: Sequence[Peer]
) -> list[PeerResult]:
    """Round to multiples of twice the bound and run all; then the codecs that take floats."""
    step = 2 * bound
    exact = image.astype(np.float64)
    fill = float(np.median(exact[~gone]))
    exact[gone] = fill
    scaled = np.rint((exact - fill) / step)
    if np.abs(scaled).max() >= 2**53:
        return [_refused(p.name, "the bound is too small for integers of 53 bits") for p in peers]
    values = scaled.astype(np.int64)
    low = int(values.min())
    results = []
    for peer in peers:
        result = _run_integers(
            peer, values - low, low, 1, image, gone, bound, scale=step, offset=fill
        )
        results.append(result)
    results.append(_run_fpack_quantizer(image, bound, gone))
    results.append(_run_sz3(image, bound, gone))
    return results


def _run_integers(
    peer: Peer,
    values: NDArray[np.int64],
    low: int,
    step: int,
    image: NDArray[Any],
    gone: NDArray[np.bool_],
    bound: float,
    *,
    scale: float | None = None,
    offset: float = 0.0,
) -> PeerResult:
    """Run a codec on integers from 0, and compare what they stand for with the image."""
    top = int(values.max())
    bits = top.bit_length()
    if bits > peer.bits:
        return _refused(peer.name, f"values span {bits} bits, it takes {peer.bits}")
    dtype = next(name for name in peer.integers if top <= np.iinfo(name).max)
    packed = values.astype(dtype)

    def rebuild(decoded: NDArray[Any]) -> NDArray[Any]:
        integers = decoded.astype(np.int64)
        if scale is None:
            return integers * step + low
        return ((integers + low) * scale + offset).astype(image.dtype)

    mask = _mask_bytes(gone) if scale is not None else 0
    return _run(peer.name, peer.encode, peer.decode, packed, rebuild, image, gone, bound, mask)


def _run_floats(peer: Peer, image: NDArray[Any], gone: NDArray[np.bool_]) -> PeerResult:
    if not peer.floats:
        return _refused(peer.name, "takes no floating point values without loss")
    return _run(
        peer.name, peer.encode, peer.decode, image, lambda decoded: decoded, image, gone, 0.0, 0
    )


def _run_fpack_quantizer(image: NDArray[Any], bound: float, gone: NDArray[np.bool_]) -> PeerResult:
    """Run fpack's own quantiser (subtractive dither) with a step of twice the bound."""
    name = "fpack Rice, dithered"
    encode = _encode_fpack("RICE_1", qlevel=-2 * bound, qmethod=2)
    return _run(name, encode, _decode_fpack, image, lambda decoded: decoded, image, gone, bound, 0)


def _run_sz3(image: NDArray[Any], bound: float, gone: NDArray[np.bool_]) -> PeerResult:
    """Run SZ3 with an absolute bound on the floats, missing pixels filled."""
    filled = image.copy()
    filled[gone] = np.median(image[~gone])

    def encode(values: NDArray[Any]) -> bytes:
        return bytes(_imagecodecs().sz3_encode(values, mode="abs", abs=bound))

    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(_imagecodecs().sz3_decode(data, shape=shape, dtype=dtype))

    return _run(
        "SZ3",
        encode,
        decode,
        filled,
        lambda decoded: decoded,
        image,
        gone,
        bound,
        _mask_bytes(gone),
    )


def _run(
    name: str,
    encode: Encode,
    decode: Decode,
    packed: NDArray[Any],
    rebuild: Callable[[NDArray[Any]], NDArray[Any]],
    image: NDArray[Any],
    gone: NDArray[np.bool_],
    bound: float,
    extra_bytes: int,
) -> PeerResult:
    """Encode, decode and check; a codec that fails is listed with its message."""
    try:
        start = time.perf_counter()
        data = encode(packed)
        middle = time.perf_counter()
        decoded = decode(data, packed.shape, packed.dtype)
        end = time.perf_counter()
        after = rebuild(np.asarray(decoded).reshape(packed.shape))
    except ImportError as error:
        return _refused(name, f"not installed: {error.name or error} (pip install astro-vq[bench])")
    except Exception as error:  # foreign libraries raise what they like
        return _refused(name, f"failed: {type(error).__name__}: {' '.join(str(error).split())}")
    difference = np.abs(after.astype(np.float64) - image.astype(np.float64))[~gone]
    max_error = float(difference.max(initial=0.0))
    lost = bool(np.isnan(difference).any())
    slack = float(np.spacing(np.abs(image[~gone]).max())) if image.dtype.kind == "f" else 0.0
    keeps = bool(not lost and max_error <= bound + (slack if bound > 0 else 0.0))
    size = len(data) + extra_bytes
    note = "" if keeps else ("missing pixels changed" if lost else "does not keep the bound")
    return PeerResult(
        name=name,
        bytes=size,
        bits_per_pixel=8 * size / image.size,
        max_error=None if lost else max_error,
        keeps_bound=keeps,
        encode_seconds=middle - start,
        decode_seconds=end - middle,
        note=note,
    )


def _mask_bytes(gone: NDArray[np.bool_]) -> int:
    """Return the size of a mask of missing pixels, packed and deflated; 0 without any."""
    return len(zlib.compress(np.packbits(gone).tobytes(), 9)) if gone.any() else 0


def _refused(name: str, note: str) -> PeerResult:
    return PeerResult(name, None, None, None, False, None, None, note)
