"""Integers of a plane to bytes and back, one pixel after the other, with probabilities that adapt.

`astro_vq.entropy.mixing_kernel` holds the loop; here are the data that it starts from. They are
shipped with the package as data of the format: tables of functions, so that no machine has to
evaluate these to the last bit, and what mixing weights and corrections are before the first pixel,
learnt from many images (``tests/benchmarks/train_mixing.py``).
"""

import functools
from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from astro_vq.entropy import mixing_kernel as kernel
from astro_vq.errors import FormatError

WEIGHT_BITS = 14
SLOPE_BITS = 8
LARGEST_WEIGHT = (1 << 17) - 1
LARGEST_SLOPE = (1 << 20) - 1
_ROOM = 4096  # bytes of code beyond eight for each pixel

TABLES = (
    "normal", "heavy", "ln", "logistic", "mantissas", "powers", "inverses", "mix_rates",
    "table_rates",
)  # fmt: skip
"""Tables of functions, in the order that the kernel takes them in."""

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Narrow = npt.NDArray[np.int32]
State = tuple[Narrow, Narrow, Narrow]


class Mixing(NamedTuple):
    """What is fitted to an image.

    Attributes
    ----------
    taps : ndarray of int64, shape (24,)
        Weights of the causal neighbours, in units of ``2**-14``.
    width : ndarray of int64, shape (6,)
        Constant (1/32 octave) and slopes of the logarithm of the width, in units of ``2**-8``.
    """

    taps: Integers
    width: Integers


class _Data(NamedTuple):
    tables: tuple[Narrow, ...]
    state: State
    places: Integers
    default: Mixing


def neighbours() -> Integers:
    """Return rows and columns of the causal neighbours relative to a pixel, shape (24, 2)."""
    return read_data().places


def default_mixing() -> Mixing:
    """Return what planes are coded with when nothing was fitted to their image."""
    return read_data().default


@functools.cache
def read_data() -> _Data:
    """Return tables, first state, neighbours and defaults of the format."""
    folder = resources.files("astro_vq.pretrained") / "pixels"
    data = load(folder.joinpath("mixing-1.safetensors").read_bytes())
    wide = {name: data[name].astype(np.int64) for name in ("places", "taps", "width")}
    tables = tuple(data[name] for name in TABLES)
    state = (data["mix"].ravel(), data["first"], data["second"])
    return _Data(tables, state, wide["places"], Mixing(wide["taps"], wide["width"]))


def encode_plane(
    integers: Integers,
    mask: Mask,
    mixing: Mixing,
    *,
    sky: int = 0,
    loop: int = 1,
    spike: int = kernel.NO_SPIKE,
) -> tuple[bytes, bytes, Integers]:
    """Return the code of a plane, its plain bits, and the integers as a decoder gets them.

    Parameters
    ----------
    integers : ndarray of int64, shape (H, W)
        Nearer to zero than ``2**27``.
    mask : ndarray of bool, shape (H, W)
        Pixels that are left out.
    mixing : Mixing
        What was fitted to the image.
    sky : int
        Level that brightness counts from.
    loop : int
        Integers per step of the residual; above 1, integers come back changed by up to half of it.
    spike : int
        Integer that is told apart first, if there is one.
    """
    work = _pad(np.where(mask, 0, integers))
    data = read_data()
    code = np.zeros(8 * mask.size + _ROOM, np.uint8)
    while True:
        plain = np.zeros(4 * mask.size + 8, np.uint8)
        used, bits, _ = kernel.code_plane(
            False, work, np.ascontiguousarray(mask), code, plain, mixing.taps, data.places,
            mixing.width, sky, loop, spike, data.tables, data.state,
        )  # fmt: skip
        if used >= 0:
            return code[:used].tobytes(), plain[: (bits + 7) // 8].tobytes(), _unpad(work)
        work = _pad(np.where(mask, 0, integers))
        code = np.zeros(2 * code.size, np.uint8)


def decode_plane(
    code: bytes,
    plain: bytes,
    mask: Mask,
    mixing: Mixing,
    *,
    sky: int = 0,
    loop: int = 1,
    spike: int = kernel.NO_SPIKE,
) -> Integers:
    """Return the integers of a plane.

    Raises
    ------
    FormatError
        The bytes are too many or too few.
    """
    work = _pad(np.zeros(mask.shape, np.int64))
    data = read_data()
    used, bits, _ = kernel.code_plane(
        True, work, np.ascontiguousarray(mask), _bytes(code), _bytes(plain), mixing.taps,
        data.places, mixing.width, sky, loop, spike, data.tables, data.state,
    )  # fmt: skip
    if used != len(code) + 3 or (bits + 7) // 8 != len(plain):
        raise FormatError("damaged pixel stream: it does not end with its last pixel")
    return _unpad(work)


def _bytes(data: bytes) -> Bytes:
    return np.frombuffer(bytearray(data), np.uint8)  # writeable, as the compiled loop wants it


def _pad(plane: Integers) -> Integers:
    pad = kernel.PAD
    return np.ascontiguousarray(np.pad(plane, ((pad, 0), (pad, pad))), np.int64)


def _unpad(plane: Integers) -> Integers:
    pad = kernel.PAD
    return plane[pad:, pad:-pad]
