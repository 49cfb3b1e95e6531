"""Other codecs on the same pixels at the same bound, each stream decoded and checked.

Floats with a bound are rounded to multiples of twice the bound and the integers given to each
codec (what an astronomer who wants that bound can do today); SZ3 and fpack's own quantiser take
the floats themselves.  Pixels that are missing become a stored mask, which is counted; so are the
few pixels (star cores) that codecs of 16 bits cannot hold and that are kept apart, deflated.  A
codec whose library is not installed, or that cannot hold the values, is listed with the reason.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.metrics.peer_codecs import (
    PEERS,
    Decode,
    Encode,
    Peer,
    decode_fpack,
    encode_fpack,
    load_imagecodecs,
)

_MOST_APART = 0.02  # of the pixels may be kept apart because a codec cannot hold their values


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
    apart = _outside(values, peer.bits)
    if apart.number > _MOST_APART * values.size:
        bits = int(values.max()).bit_length()
        return _refused(peer.name, f"values span {bits} bits, it takes {peer.bits}")
    inside = np.clip(values, apart.low, apart.low + 2**peer.bits - 1) - apart.low
    top = int(inside.max())
    dtype = next(name for name in peer.integers if top <= np.iinfo(name).max)

    def rebuild(decoded: NDArray[Any]) -> NDArray[Any]:
        integers = decoded.astype(np.int64) + apart.low
        integers.ravel()[apart.places] = values.ravel()[apart.places]
        if scale is None:
            return integers * step + low
        return ((integers + low) * scale + offset).astype(image.dtype)

    extra = apart.bytes + (_mask_bytes(gone) if scale is not None else 0)
    result = _run(
        peer.name,
        peer.encode,
        peer.decode,
        inside.astype(dtype),
        rebuild,
        image,
        gone,
        bound,
        extra,
    )
    if apart.number and not result.note:
        note = f"{apart.number} pixels beyond {peer.bits} bits kept apart, in the size"
        return result._replace(note=note)
    return result


class _Apart(NamedTuple):
    """Pixels that a codec cannot hold: where they are, and what keeping them apart takes."""

    low: int
    places: NDArray[np.int64]
    bytes: int

    @property
    def number(self) -> int:
        return self.places.size


def _outside(values: NDArray[np.int64], bits: int) -> _Apart:
    """Choose the range of a codec of so many bits; the sky lies in its lower part."""
    flat = values.ravel()
    if int(flat.max()) < 2**bits:
        return _Apart(0, np.empty(0, np.int64), 0)
    dark = int(np.quantile(flat[:: max(flat.size // 100_000, 1)], 0.01))
    low = max(dark - 2**bits // 8, 0)
    places = np.flatnonzero((flat < low) | (flat >= low + 2**bits))
    steps = np.diff(places, prepend=0).astype(np.uint32)
    packed = zlib.compress(steps.tobytes(), 9) + zlib.compress(flat[places].tobytes(), 9)
    return _Apart(low, places, len(packed))


def _run_floats(peer: Peer, image: NDArray[Any], gone: NDArray[np.bool_]) -> PeerResult:
    if not peer.floats:
        return _refused(peer.name, "takes no floating point values without loss")
    return _run(
        peer.name, peer.encode, peer.decode, image, lambda decoded: decoded, image, gone, 0.0, 0
    )


def _run_fpack_quantizer(image: NDArray[Any], bound: float, gone: NDArray[np.bool_]) -> PeerResult:
    """Run fpack's own quantiser (subtractive dither) with a step of twice the bound."""
    name = "fpack Rice, dithered"
    encode = encode_fpack("RICE_1", qlevel=-2 * bound, qmethod=2)
    return _run(name, encode, decode_fpack, image, lambda decoded: decoded, image, gone, bound, 0)


def _run_sz3(image: NDArray[Any], bound: float, gone: NDArray[np.bool_]) -> PeerResult:
    """Run SZ3 with an absolute bound on the floats, missing pixels filled."""
    filled = image.copy()
    filled[gone] = np.median(image[~gone])

    def encode(values: NDArray[Any]) -> bytes:
        return bytes(load_imagecodecs().sz3_encode(values, mode="abs", abs=bound))

    def decode(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(load_imagecodecs().sz3_decode(data, shape=shape, dtype=dtype))

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
