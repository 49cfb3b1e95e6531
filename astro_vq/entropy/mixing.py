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
from astro_vq.entropy.row_kernel import PAD
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

LARGEST_LIMIT = 1 << 44  # of the distance from the background
REACH = {24: 3, 40: 4}
"""How far neighbours lie from the pixel, by their number: all that are coded earlier."""

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Narrow = npt.NDArray[np.int32]
State = tuple[Narrow, Narrow, Narrow]


class Mixing(NamedTuple):
    """What is fitted to an image.

    Attributes
    ----------
    taps : ndarray of int64, shape (S, N + 1)
        Sets of weights of N (24 or 40) causal neighbours and the background, in units of
        ``2**-14``.
    width : ndarray of int64, shape (6,)
        Constant (1/32 octave) and slopes of the logarithm of the width, in units of ``2**-8``.
    steep_from : ndarray of int64, shape (S - 1,)
        Differences of neighbours (logarithms in 1/32 octave) above which the next set is used.
    limit : int
        How far, in ``2**-12``, a pixel is taken to lie from the background of its column.
    version : int
        1: one set of 24 weights, none for the background, as development versions wrote.
    """

    taps: Integers
    width: Integers
    steep_from: Integers = np.zeros(0, np.int64)
    limit: int = 1 << 18
    version: int = 2


class _Data(NamedTuple):
    tables: tuple[Narrow, ...]
    state: State
    default: Mixing


def neighbours(count: int = 24) -> Integers:
    """Return rows and columns of the causal neighbours relative to a pixel, shape (count, 2).

    They are all that lie no further than `REACH` in either, the nearest first.
    """
    reach = REACH[count]
    places = [(y, x) for y in range(-reach, 1) for x in range(-reach, reach + 1) if (y, x) < (0, 0)]
    places.sort(key=lambda place: (place[0] ** 2 + place[1] ** 2, *place))
    return np.array(places, np.int64)


def default_mixing(version: int = 2) -> Mixing:
    """Return what planes are coded with when nothing was fitted to their image."""
    return read_data(version).default


@functools.cache
def read_data(version: int = 2) -> _Data:
    """Return tables, first state and defaults of the format."""
    folder = resources.files("astro_vq.pretrained") / "pixels"
    data = load(folder.joinpath("mixing-1.safetensors").read_bytes())
    tables = tuple(data[name] for name in TABLES) + _log_tables(data)
    if version > 1:
        data = load(folder.joinpath("mixing-2.safetensors").read_bytes())
    state = (data["mix"].ravel(), data["first"], data["second"])
    taps = data["taps"].astype(np.int64).reshape(1, -1)
    if version == 1:
        taps = np.append(taps, [[0]], axis=1)
    width = data["width"].astype(np.int64)
    return _Data(tables, state, Mixing(taps, width, version=version))


def _log_tables(data: dict[str, npt.NDArray[np.int32]]) -> tuple[Narrow, ...]:
    """Return logarithms of what lies above and below a place, of both densities."""
    tables = []
    for name in ("normal", "heavy"):
        for share in (kernel.TOP - data[name], data[name]):
            number = share.astype(np.int64) + 1
            octave = np.frexp(number.astype(np.float64))[1] - 1  # exact: numbers are small
            shift = np.maximum(octave - 11, 0)
            tables.append((data["ln"][number >> shift] + ((shift * 2839) >> 4)).astype(np.int32))
    return tuple(tables)


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
    work = pad_plane(np.where(mask, 0, integers))
    data = read_data(mixing.version)
    code = np.zeros(8 * mask.size + _ROOM, np.uint8)
    while True:
        plain = np.zeros(4 * mask.size + 8, np.uint8)
        used, bits, _ = kernel.code_plane(
            False, work, np.ascontiguousarray(mask), code, plain, *arguments(mixing), sky, loop,
            spike, mixing.version > 1, data.tables, data.state,
        )  # fmt: skip
        if used >= 0:
            return code[:used].tobytes(), plain[: (bits + 7) // 8].tobytes(), unpad_plane(work)
        work = pad_plane(np.where(mask, 0, integers))
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
    work = pad_plane(np.zeros(mask.shape, np.int64))
    data = read_data(mixing.version)
    used, bits, _ = kernel.code_plane(
        True, work, np.ascontiguousarray(mask), _bytes(code), _bytes(plain),
        *arguments(mixing), sky, loop, spike, mixing.version > 1, data.tables, data.state,
    )  # fmt: skip
    if used != len(code) + 3 or (bits + 7) // 8 != len(plain):
        raise FormatError("damaged pixel stream: it does not end with its last pixel")
    return unpad_plane(work)


def arguments(mixing: Mixing) -> tuple[Integers, Integers, Integers, Integers, int]:
    """Return a model as the kernel takes it."""
    places = neighbours(mixing.taps.shape[1] - 1)
    return mixing.taps, mixing.steep_from, places, mixing.width, mixing.limit


def _bytes(data: bytes) -> Bytes:
    return np.frombuffer(bytearray(data), np.uint8)  # writeable, as the compiled loop wants it


def pad_plane(plane: Integers) -> Integers:
    """Return a plane with the margins that the kernel wants."""
    pad = PAD
    return np.ascontiguousarray(np.pad(plane, ((pad, 0), (pad, pad))), np.int64)


def unpad_plane(plane: Integers) -> Integers:
    """Return a plane without them."""
    pad = PAD
    return plane[pad:, pad:-pad]
