"""Damaged inputs for the fuzzer: seeded mutations of bytes, of FITS cards and of JSON."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytearray, bytes], None]

EXTREMES = [0, 1, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
NUMBERS = [0, -1, 1, 2, 7, 999, 2**15, 2**24, 2**31, 2**40, 2**62, 2**64, -(2**31), 10**30]
VALUES: list[Any] = [*NUMBERS, 0.5, -1e300, 1e-320, "", "x", "'", None, True, [], {}, [[]], "../x"]


def _flip(rng: random.Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _delete(rng: random.Random, data: bytearray, _: bytes) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 8, rng.randrange(1, 64)))]


def _insert(rng: random.Random, data: bytearray, _: bytes) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 4, 8, 40)))


def _cut(rng: random.Random, data: bytearray, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def _double(rng: random.Random, data: bytearray, _: bytes) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 64)]
    data[start:start] = piece * rng.choice((1, 1, 2, 30))


def _splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    if other:
        data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _number(rng: random.Random, data: bytearray, _: bytes) -> None:
    start = rng.randrange(len(data))
    form = rng.choice(("<I", ">I", "<Q", ">Q"))
    packed = struct.pack(form, rng.choice(EXTREMES))
    data[start : start + len(packed)] = packed


def _varint(rng: random.Random, data: bytearray, _: bytes) -> None:
    start = rng.randrange(len(data))
    length = rng.choice((1, 2, 3, 4, 5, 9))
    data[start : start + 1] = b"\xff" * length + bytes([rng.randrange(128)])


MUTATIONS: list[Mutation] = [
    _flip, _flip, _byte, _byte, _delete, _insert, _cut, _double, _splice, _number, _varint,
]  # fmt: skip


def mutate(rng: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """Return bytes with one to four kinds of damage; `other` gives ends to splice on."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if out:
            rng.choice(MUTATIONS)(rng, out, other)
    return bytes(out)


def mutate_value(rng: random.Random, value: Any) -> Any:
    """Return a JSON value with one of its leaves replaced, left out, or added."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(sorted(value))
        changed = dict(value)
        if rng.random() < 0.1:
            del changed[key]
        else:
            changed[key] = mutate_value(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        changed_list = list(value)
        place = rng.randrange(len(value))
        changed_list[place] = mutate_value(rng, value[place])
        return changed_list
    return rng.choice(VALUES)


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Return a safetensors file whose header, as JSON, has another value somewhere."""
    size = struct.unpack("<Q", data[:8])[0]
    header = mutate_value(rng, json.loads(data[8 : 8 + size]))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def mutate_cards(rng: random.Random, header: bytes) -> bytes:
    """Return a FITS header with the value of a card replaced."""
    cards = [header[i : i + 80] for i in range(0, len(header), 80)]
    usable = [i for i, card in enumerate(cards) if card[8:10] == b"= "]
    place = rng.choice(usable)
    value: Any = rng.choice([*NUMBERS, "'PPPP'", "T", "1E99", "'32 32'", "'4096 4096'", "''"])
    if rng.random() < 0.3:
        cards[place] = cards[rng.choice(usable)]
    elif rng.random() < 0.2:
        cards[place] = mutate(rng, cards[place])[:80].ljust(80)
    else:
        cards[place] = (cards[place][:10] + str(value).rjust(20).encode())[:80].ljust(80)
    return b"".join(cards)
