"""An adaptive binary range coder, integers only: bits with probabilities that follow what comes.

Encoder and decoder run the same code: `code_bit` returns the bit that it was given or the one
that it read. Every bit has a probability of 15 bits in a table, which moves a little towards what
came. All of it is integer arithmetic, the same on every machine.

References
----------
Martin 1979 (range coding); Pavlov 1999 (LZMA's adaptive binary coder, carry by a cached byte).
"""

import numpy as np
from numpy.typing import NDArray

from astro_vq.entropy.compiled import compiled, compiled_into_callers

Integers = NDArray[np.int64]

BITS = 15  # of a probability
HALF = 1 << BITS - 1
_TOP = 1 << 24


def start_encoder() -> Integers:
    """Return the state of an encoder; `finish` ends it."""
    return np.array([0, 0xFFFFFFFF, 0, 0, -1, 1, 0], np.int64)


def start_decoder(data: bytes) -> tuple[Integers, NDArray[np.uint8]]:
    """Return the state of a decoder and the buffer that it reads."""
    first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
    state = np.array([0, 0xFFFFFFFF, first, 4, 0, 0, 0], np.int64)
    return state, np.frombuffer(data, np.uint8).copy()


def finish(state: Integers, buffer: NDArray[np.uint8]) -> bytes:
    """Return what an encoder wrote, without zero bytes at the end; at least one byte.

    A decoder reads zeros beyond the end, any number of them: many bits that were likely may follow
    the last one that was not.
    """
    for _ in range(5):
        shift_low(state, buffer)
    return buffer[: state[3]].tobytes().rstrip(b"\0") or b"\0"


@compiled
def shift_low(state: Integers, buffer: NDArray[np.uint8]) -> None:
    """Write the highest byte of an encoder, once no carry can change it."""
    if state[0] < 0xFF000000 or state[0] > 0xFFFFFFFF:
        carry = state[0] >> 32
        if state[4] >= 0:
            buffer[state[3]] = (state[4] + carry) & 0xFF
            state[3] += 1
        while state[6] > 0:
            buffer[state[3]] = (0xFF + carry) & 0xFF
            state[3] += 1
            state[6] -= 1
        state[4] = (state[0] >> 24) & 0xFF
    else:
        state[6] += 1
    state[0] = (state[0] & 0x00FFFFFF) << 8


def _code_bit(
    state: Integers, buffer: NDArray[np.uint8], tables: Integers, at: int, bit: int, shift: int
) -> int:
    """Code (state[5] = 1) or decode (0) a bit; state: low, range, code, place, cache, mode, run."""
    p = tables[at]
    bound = (state[1] >> BITS) * p
    if state[5] == 0:
        bit = 0 if state[2] < bound else 1
    if bit == 0:
        state[1] = bound
        tables[at] = p + (((1 << BITS) - p) >> shift)
    else:
        if state[5] == 1:
            state[0] += bound
        else:
            state[2] -= bound
        state[1] -= bound
        tables[at] = p - (p >> shift)
    tables[at] = min(max(tables[at], 32), (1 << BITS) - 32)
    while state[1] < _TOP:
        state[1] <<= 8
        if state[5] == 1:
            shift_low(state, buffer)
        else:
            byte = buffer[state[3]] if state[3] < buffer.shape[0] else 0
            state[3] += 1
            state[2] = ((state[2] << 8) | byte) & 0xFFFFFFFF
    return bit


code_bit = compiled(_code_bit)
"""Code or decode a bit."""

code_bit_inside = compiled_into_callers(_code_bit)
"""The same, for loops over very many bits: quicker, and longer to compile."""


@compiled
def code_tree(
    state: Integers,
    buffer: NDArray[np.uint8],
    tables: Integers,
    start: int,
    bits: int,
    value: int,
    shift: int,
) -> int:
    """Code or decode a value of some bits down a binary tree, the most significant first."""
    node = 1
    for k in range(bits):
        bit = (value >> (bits - 1 - k)) & 1
        bit = code_bit(state, buffer, tables, start + node, bit, shift)
        node = 2 * node + bit
    return node - (1 << bits)
