"""A second reader of the pixel layer, written from ``docs/format*.rst`` and nothing else.

Slow and plain: integers of Python, one pixel after the other. It shares no code with the package;
of this it takes the data files that are part of the format. Coders 0, 1, 3, 4, 7 and 9 to
11, mappings 0 to 4, 6, 7, and 9 to 15 (of these 10 not before 8, nor 9 for it).
"""

import re
import struct
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pcodec import standalone
from safetensors.numpy import load

TYPES = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}


class HDU(NamedTuple):
    cards: list[bytes]
    data: bytes

    def value(self, name: str, default: str | None = None) -> str:
        for card in self.cards:
            if card[:8].rstrip().decode("latin-1") == name and card[8:10] == b"= ":
                text = card[10:].decode("latin-1")
                quoted = re.match(r" *'((?:[^']|'')*)'", text)
                return (quoted[1] if quoted else text.split("/")[0]).strip()
        assert default is not None, name
        return default


def split_file(content: bytes) -> list[HDU]:
    """Return the HDUs of a FITS file."""
    hdus, at = [], 0
    while at < len(content):
        cards: list[bytes] = []
        while not cards or cards[-1].rstrip() != b"END":
            cards.append(content[at : at + 80])
            at += 80
        at = -(-at // 2880) * 2880
        hdu = HDU(cards[:-1], b"")
        axes = [int(hdu.value(f"NAXIS{i + 1}")) for i in range(int(hdu.value("NAXIS")))]
        items = int(np.prod(axes, dtype=object)) if axes else 0
        size = abs(int(hdu.value("BITPIX"))) // 8 * (items + int(hdu.value("PCOUNT", "0")))
        size = size if axes else 0
        hdus.append(HDU(cards[:-1], content[at : at + size]))
        at += -(-size // 2880) * 2880
    return hdus


class Bytes:
    """A place in a stream."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def signed(self) -> int:
        n = self.varint()
        return -(n + 1) // 2 if n & 1 else n // 2

    def sized(self) -> bytes:
        return self.take(self.varint())


def varint(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def inflate(data: bytes) -> bytes:
    return zlib.decompress(data, -15)


def pcodec(data: bytes, dtype: str, n: int) -> np.ndarray:
    out = np.zeros(n, {"u1": "u2", "i1": "i2"}.get(dtype, dtype))
    standalone.simple_decompress_into(data, out)
    return out.astype(dtype)


def packed(data: bytes, n: int) -> np.ndarray:
    return pcodec(data[1:], f"i{data[0]}", n).astype("i8")


class Mapping(NamedTuple):
    kind: int
    step: float = 1
    offset: float = 0.0
    k: int = 1
    table: bytes = b""
    floor: int | None = None
    place: tuple[int, int] = (0, 0)


def read_mapping(s: Bytes, image: Mapping | None = None) -> Mapping:
    kind = s.byte()
    if kind == 9:
        assert image is not None
        return image._replace(place=(s.varint(), s.varint()))
    if kind == 10:
        return read_mapping(s)._replace(floor=0)
    if kind == 11:
        return Mapping(kind, floor=s.signed(), k=s.varint())
    if kind == 14:
        step, j = struct.unpack("<fb", s.take(5))
        return Mapping(2, step, j * step / 32)
    if kind == 15:
        return Mapping(7, struct.unpack("<f", s.take(4))[0], k=s.varint())
    if kind == 13:
        return Mapping(kind, offset=s.signed(), k=s.varint())
    if kind == 12:
        step = struct.unpack("<d", s.take(8))[0]
        return Mapping(kind, step, k=s.varint(), place=(s.varint(), s.varint()))
    if kind == 1:
        return Mapping(kind, max(s.varint(), 1))
    if kind in (2, 3, 7):
        step, offset = struct.unpack("<dd", s.take(16))
        return Mapping(kind, step, offset, max(s.varint(), 1))
    if kind == 6:
        return Mapping(kind, table=s.sized())
    assert kind in (0, 4), f"mapping {kind}"
    return Mapping(kind)


def from_order(i: np.ndarray, dtype: str) -> np.ndarray:
    width = int(dtype[1])
    bits = np.where(i >= 0, i, ~i + np.int64(-(2 ** (8 * width - 1))))
    return bits.astype(f"i{width}").view(dtype)


def mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def dither(seed: int, row: int, column: int) -> float:
    g = 0x9E3779B97F4A7C15
    line = mix((mix((seed + g) % 2**64) + (row + 1) * g) % 2**64)
    return 0.5 - (mix((line + (column + 1) * g) % 2**64) >> 11) / 2**53


def grained(m: Mapping, i: np.ndarray, bits: Bytes, dtype: str) -> np.ndarray:
    rest, at = bits.rest(), 0
    precision = 24 if dtype == "f4" else 53
    out = np.zeros(i.shape, dtype)
    with np.errstate(over="ignore"):
        edge = np.ldexp(1.0, precision + int(m.offset)).astype(dtype)
    first = int(edge.reshape(1).view(f"u{edge.itemsize}")[0])
    for place in np.ndindex(i.shape):
        low = sum((rest[a >> 3] >> (7 - a % 8) & 1) << a - at for a in range(at, at + m.k))
        at += m.k
        n = (int(i[place]) << m.k) + low
        value = float(abs(n)) * 2.0 ** int(m.offset) if abs(n) <= 2**precision else None
        if value is None:
            word = np.array([first + abs(n) - 2**precision], f"u{edge.itemsize}")
            value = word.view(dtype)[0]
        out[place] = -value if n < 0 else value
    assert (at + 7) // 8 == len(rest)
    return out


def apply_mapping(m: Mapping, i: np.ndarray, dtype: str) -> np.ndarray:
    if m.floor is not None and m.kind != 11:
        values = apply_mapping(m._replace(floor=None), i, dtype)
        return np.where(values > 0, values, 0).astype(dtype)
    if m.kind == 11:
        assert m.floor is not None
        top = np.iinfo(dtype).max
        cells = [
            min(m.floor + n * m.k - m.k // 2, top) if n > 0 else m.floor for n in i.ravel().tolist()
        ]
        return np.array(cells, dtype).reshape(i.shape)
    if m.kind == 12:
        out = np.zeros(i.shape, dtype)
        for y, x in np.ndindex(i.shape):
            d = dither(m.k, m.place[0] + y, m.place[1] + x)
            out[y, x] = (float(i[y, x]) + d) * m.step
        return out
    if m.kind == 0:
        return i.astype(dtype)
    if m.kind == 1:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        values = [min(max(int(x) * int(m.step), low), high) for x in i.ravel()]
        return np.array(values, dtype).reshape(i.shape)
    if m.kind == 4:
        return from_order(i, dtype)
    if m.kind == 6:
        s = Bytes(m.table)
        n = s.varint()
        table = np.cumsum(packed(s.rest(), n))
        table = from_order(table, dtype) if dtype[0] == "f" else table.astype(dtype)
        return table[np.clip(i, 0, n - 1)]
    real = i.astype("f8")
    if m.kind != 7 and m.k != 1:
        real = real * m.k
    real = (real + m.offset) / m.step if m.kind == 3 else real * m.step
    if m.kind != 3 and m.offset:
        real = real + m.offset
    return real.astype(dtype)


def read_exceptions(s: Bytes, shape: tuple[int, int], width: int) -> tuple[np.ndarray, list[bytes]]:
    """Return a mask and the bytes of each exception."""
    size = shape[0] * shape[1]
    n = s.varint()
    if n == 0:
        return np.zeros(shape, bool), []
    palette = [s.take(width) for _ in range(s.varint())]
    if s.byte() == 0:
        b = s.byte()
        w, many = b & 15, b >> 4 & 1
        block = inflate(s.sized()) if b & 32 else s.take(n * (w + many))
        classes, at = [0] * size, -1
        for k in range(n):
            at += 1 + sum(block[j * n + k] << 8 * j for j in range(w))
            classes[at] = block[n * w + k] if many else 1
    else:
        bits = s.byte()
        block = inflate(s.sized())
        flat = [block[k >> 3] >> (7 - k % 8) & 1 if bits else block[k] for k in range(size)]
        for k in range(shape[1], size):
            flat[k] ^= flat[k - shape[1]]
        classes = flat
    written = sum(c == len(palette) + 1 for c in classes)
    if s.byte():
        planes = inflate(s.sized())
        literals = [planes[k::written] for k in range(written)]
    else:
        literals = [s.take(width) for _ in range(written)]
    queue = iter(literals)
    found = [palette[c - 1] if c <= len(palette) else next(queue) for c in classes if c]
    return np.array(classes).reshape(shape) > 0, found


class Shared(NamedTuple):
    mapping: Mapping | None
    first_mixing: bytes = b""
    mixing: bytes = b""


def read_shared(data: bytes) -> Shared:
    if not data:
        return Shared(None)
    s = Bytes(data)
    assert s.byte() == 1
    mapping = read_mapping(s) if s.byte() else None
    s.varint()
    s.sized()
    flags = s.byte()
    if flags & 1:
        s.sized()
    first = s.sized() if flags & 2 else b""
    return Shared(mapping, first, s.sized() if flags & 4 else b"")


def read_tile(stream: bytes, shape: tuple[int, int], dtype: str, shared: Shared) -> np.ndarray:
    """Return the stored values of a tile."""
    coder, body, size = stream[0], stream[1:], shape[0] * shape[1]
    if coder >= 32:
        s = Bytes(body)
        centre, code = s.varint(), s.rest()
        coder, body = coder - 32, b"\0\0" + varint(centre) + varint(len(code)) + code
    little = np.dtype(dtype).newbyteorder("<")
    if coder == 0:
        return np.frombuffer(body, little, size).reshape(shape).astype(dtype)
    if coder == 1:
        return np.full(size, np.frombuffer(body, little, 1)).reshape(shape).astype(dtype)
    if coder == 3:
        return pcodec(body, dtype, size).reshape(shape)
    s = Bytes(body)
    mapping = read_mapping(s, shared.mapping) if s.byte() else shared.mapping
    assert mapping is not None
    mask, bits = read_exceptions(s, shape, little.itemsize)
    tail = s
    if mapping.kind == 13:
        s, tail = Bytes(s.sized()), s
    integers = np.zeros(shape, "i8")
    if coder == 4:
        integers[~mask] = packed(s.rest(), int((~mask).sum()))
    elif coder == 7:
        axes = s.byte()
        integers = packed(s.rest(), size).reshape(shape)
        for axis, which in ((0, (1, 2)), (1, (0, 2))):
            if axes in which:
                integers = np.cumsum(integers, axis=axis)
    else:
        assert coder in (9, 10, 11), f"coder {coder}"
        loop = shared.mapping.k if shared.mapping and shared.mapping.kind == 7 else 1
        mixed = Mixed(loop)
        if coder == 9:
            mixed.read_first(shared.first_mixing)
        else:
            mixed.read(shared.mixing)
        integers = mixed.decode(s, mask) if coder < 11 else mixed.decode_linear(s, mask)
    if mapping.kind == 13:
        values = grained(mapping, integers, tail, little.str[1:])
    else:
        values = np.ascontiguousarray(apply_mapping(mapping, integers, dtype))
    values[mask] = np.frombuffer(b"".join(bits), little)
    raw = values.astype(little).view("u1").reshape(*shape, -1)
    for place, pattern in zip(np.argwhere(mask), bits, strict=True):  # signalling NaNs too
        raw[tuple(place)] = list(pattern)
    return raw.reshape(shape[0], -1).view(little)


def clip(x: int, n: int) -> int:
    return min(max(x, -n), n)


class Mixed:
    """Coders 9 to 11."""

    def __init__(self, loop: int) -> None:
        self.data = self.load("mixing-1")
        self.loop, self.level, self.spike = loop, None, None
        self.steep_from, self.limit = [], 2**18

    @staticmethod
    def load(name: str) -> dict[str, list]:
        file = resources.files("astro_vq") / "pretrained" / "pixels" / f"{name}.safetensors"
        return {name: a.tolist() for name, a in load(file.read_bytes()).items()}

    def read_first(self, parameters: bytes) -> None:
        """Read parameters of coder 9."""
        self.is_new, self.reach = False, 3
        self.sets, self.width = [[*self.data["taps"], 0]], self.data["width"]
        if parameters:
            s = Bytes(parameters)
            self.sets = [[s.signed() for _ in range(24)] + [0]]
            self.width = [s.signed() for _ in range(6)]
            self.level = s.signed()
            if s.at < len(s.data):
                self.spike = s.signed()

    def read(self, parameters: bytes) -> None:
        """Read parameters of coder 10."""
        self.is_new, self.reach = True, 3
        self.data |= self.load("mixing-2")
        mix = self.data["mix"]
        self.data["mix"] = [mix[k : k + 5] for k in range(0, len(mix), 5)]
        self.sets, self.width = [self.data["taps"]], self.data["width"]
        if parameters:
            s = Bytes(parameters)
            head = s.byte()
            sets, drop = 1 + (head & 3), head >> 4
            self.reach = 4 if head & 4 else 3
            n = 41 if head & 4 else 25
            self.steep_from = [s.signed() for _ in range(sets - 1)]
            self.limit = s.signed() << 6
            self.sets = [[s.signed() << drop for _ in range(n)] for _ in range(sets)]
            self.width = [s.signed() for _ in range(6)]
            self.level = s.signed()
            if head & 8:
                self.spike = s.signed()

    def log2(self, x: int) -> int:
        o = x.bit_length() - 1
        r = (x >> (o - 8)) - 256 if o >= 8 else (x << (8 - o)) - 256
        return 32 * o + self.data["mantissas"][r]

    def ln(self, x: int) -> int:
        s = max(x.bit_length() - 12, 0)
        return self.data["ln"][x >> s] + ((s * 2839) >> 4)

    def decide(self, p: int, *, coarse: bool = False) -> bool:
        span = self.high - self.low
        split = self.low + (span >> 16) * p
        if not coarse:
            split += ((span & 65535) * p) >> 16
        yes = self.value <= split
        if yes:
            self.high = split
        else:
            self.low = split + 1
        while self.low >> 24 == self.high >> 24:
            self.value = (self.value << 8) & 0xFFFFFFFF | self.next_byte()
            self.low = (self.low << 8) & 0xFFFFFFFF
            self.high = (self.high << 8) & 0xFFFFFFFF | 255
        return yes

    def next_byte(self) -> int:
        self.used += 1
        return self.code[self.used - 1] if self.used <= len(self.code) else 0

    def decode(self, s: Bytes, mask: np.ndarray) -> np.ndarray:
        """Return the integers of a plane."""
        centre = s.signed()
        self.code, self.plain = s.sized(), s.rest()
        self.used, self.bits, self.low, self.high, self.value = 0, 0, 0, 2**32 - 1, 0
        for _ in range(4):
            self.value = self.value << 8 | self.next_byte()
        self.sky = 0 if self.level is None else clip(centre - self.level, 2**40)
        self.tables = {name: list(self.data[name]) for name in ("mix", "first", "second")}
        self.counts: dict[tuple[str, int], int] = {}
        self.apart = None
        if self.spike is not None and self.loop == 1 and abs(self.spike - centre) < 2**28:
            self.apart = self.spike - centre
        self.likely, self.met = [32768] * 128, [0] * 128
        self.walk(mask, self.pixel)
        assert self.used == len(self.code) + 3
        assert (self.bits + 7) // 8 == len(self.plain)
        return self.plane(mask, centre)

    def decode_linear(self, s: Bytes, mask: np.ndarray) -> np.ndarray:
        """Return the integers of a plane of coder 11."""
        centre = s.signed()
        residuals = iter(packed(s.rest(), int((~mask).sum())).tolist())

        def pixel(y: int, x: int, masked: bool) -> None:
            fixed = self.look(y, x)[0]
            guess = (fixed + 32) >> 6
            if masked:
                self.v[y, x] = clip(guess, 2**28)
                return
            self.v[y, x] = clip(guess + clip(next(residuals), 2**30), 2**28)
            self.follow(y, x)

        self.walk(mask, pixel)
        return self.plane(mask, centre)

    def plane(self, mask: np.ndarray, centre: int) -> np.ndarray:
        rows, columns = mask.shape
        return np.array([[self.v[y, x] + centre for x in range(columns)] for y in range(rows)])

    def walk(self, mask: np.ndarray, pixel: Callable[[int, int, bool], None]) -> None:
        """Visit all pixels, and fill in what lies around the plane."""
        r = self.reach
        places = [(y, x) for y in range(-r, 1) for x in range(-r, r + 1) if (y, x) < (0, 0)]
        self.places = sorted(places, key=lambda p: (p[0] ** 2 + p[1] ** 2, *p))
        self.slopes, self.bias, self.seen = [0] * len(places), [0] * 64, [0] * 64
        rows, columns = mask.shape
        self.columns = [0] * columns
        self.v = {(y, x): 0 for y in range(-4, rows) for x in range(-4, columns + 4)}
        self.e = dict(self.v)
        for y in range(rows):
            last = columns - 1
            left = [self.columns[min(k, last)] for k in range(16)]
            right = [self.columns[last - min(k, last)] for k in range(16)]
            self.level_row = [*left[::-1], *self.columns, *right]
            for x in range(-4, 0):
                self.v[y, x] = self.v[y - 1, 0] if y else 0
                self.e[y, x] = self.e[y - 1, 0]
            for x in range(columns):
                pixel(y, x, bool(mask[y, x]))
            for x in range(columns, columns + 4):
                self.v[y, x], self.e[y, x] = self.v[y, columns - 1], self.e[y, columns - 1]
            if y == 0:
                for k in range(-4, 0):
                    self.v[0, k] = self.v[0, 0]
                    for x in range(-4, columns + 4):
                        self.v[k, x], self.e[k, x] = self.v[0, x], self.e[0, x]

    def follow(self, y: int, x: int) -> None:
        """Move the background towards a pixel."""
        self.columns[x] += clip(4096 * self.v[y, x] - self.columns[x], self.limit) >> 4
        self.level_row[x + 16] = self.columns[x]

    def look(self, y: int, x: int) -> tuple[int, list[int], int]:
        """Return the linear prediction, the neighbours, and how steep it is."""
        v = self.v
        near = [v[y + dy, x + dx] for dy, dx in self.places]
        west, north = v[y, x - 1], v[y - 1, x]
        northeast, northwest = v[y - 1, x + 1], v[y - 1, x - 1]
        steep = abs(west - north) + abs(north - northeast)
        steep += abs(west - northwest) + abs(north - northwest)
        log4 = self.log2(16 * steep + 8)
        taps = self.sets[sum(log4 > limit for limit in self.steep_from)]
        fixed = 64 * v[y, x - 1]
        if y:
            total = sum(t * n for t, n in zip(taps[:-1], near, strict=True))
            total += (taps[-1] * (sum(self.level_row[x : x + 32]) >> 11)) >> 6
            fixed = clip((128 + total) >> 8, 2**34)
        return fixed, near, log4

    def pixel(self, y: int, x: int, masked: bool) -> None:
        """Find one integer."""
        v, data, loop = self.v, self.data, self.loop

        def around(*places: tuple[int, int]) -> int:
            return sum(self.e[y + dy, x + dx] for dy, dx in places)

        fixed, near, log4 = self.look(y, x)
        west, north = v[y, x - 1], v[y - 1, x]
        northeast, northwest = v[y - 1, x + 1], v[y - 1, x - 1]
        guess = (fixed + 32) >> 6
        near = [clip(n - guess, 2**24) for n in near]
        energy = sum(n * n for n in near)
        moved = sum(a * n for a, n in zip(self.slopes, near, strict=True)) >> 14
        adaptive = clip(fixed + moved, 2**34)

        ring1 = 4 * around((0, -1), (-1, 0)) + 3 * around((-1, -1), (-1, 1))
        ring2 = around((0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, -2), (-1, 2), (-2, -2), (-2, 2))
        ring3 = around((-3, 0), (-3, -1), (-3, 1), (0, -3), (-3, 2), (-3, -2), (-2, 3), (-2, -3))
        ring3 += around((-1, -3), (-1, 3))
        logs = [self.log2(ring1 // 14 + 8), self.log2((ring2 >> 3) + 8)]
        logs += [self.log2(ring3 // 10 + 8), log4]
        bright = guess + self.sky
        logs.append(self.log2(64 * bright + 64) if bright > 0 else 192)
        log = (self.width[0] + sum(w * k for w, k in zip(self.width[1:], logs, strict=True))) >> 8
        log = min(max(log, self.log2(8 * loop)), 1000)
        sigma = (data["powers"][log & 31] << (log >> 5)) >> 16

        tests = (west, north, northeast, northwest, 2 * north - v[y - 2, x], 2 * west - v[y, x - 2])
        context = sum(1 << k for k, value in enumerate(tests) if value > guess)
        middle = (fixed + adaptive) >> 1
        best = clip(middle + ((self.bias[context] * sigma) >> 20), 2**34)
        origin = (best + 32) >> 6
        if masked:
            v[y, x], self.e[y, x] = clip(origin, 2**28), ring1 // 14
            return
        if self.apart is not None:
            rest = (v[y, x - 2], v[y - 2, x], origin)
            same = [n == self.apart for n in (west, north, northeast, northwest, *rest)]
            place = sum(1 << k for k, is_same in enumerate(same) if is_same)
            yes = self.decide(self.likely[place], coarse=True)
            n = self.met[place]
            self.met[place] = min(n + 1, 250)
            self.likely[place] += ((65504 if yes else 32) - self.likely[place]) // (n + 2)
            if yes:
                v[y, x], self.e[y, x] = self.apart, abs(64 * self.apart - best)
                return
        found = self.integer(fixed, best, adaptive, origin, log, logs)
        v[y, x] = found

        self.e[y, x] = abs(64 * found - best)
        self.follow(y, x)
        missed, n = clip(64 * found - middle, 2 * sigma), self.seen[context]
        self.seen[context] = min(n + 1, 400)
        step = (missed << 20) // (sigma + 1) - self.bias[context]
        self.bias[context] += step // (n + 40)
        missed, noise = clip(64 * found - adaptive, 3 * sigma), sigma >> 6
        gain = (65536 * missed) // (energy + len(self.places) * (noise * noise + 4) + 1)
        self.slopes = [
            clip(a + ((gain * n) >> 6), 2**24) for a, n in zip(self.slopes, near, strict=True)
        ]

    def rate(self, table: str, place: int) -> int:
        """Return at which rate a place learns, and count it as used."""
        rates = self.data["mix_rates" if table == "mix" else "table_rates"]
        n = self.counts.get((table, place), 0)
        self.counts[table, place] = n + 1
        return int(rates[min(n, len(rates) - 1)])

    def integer(
        self, fixed: int, best: int, adaptive: int, origin: int, log: int, logs: list[int]
    ) -> int:
        """Decide until the integer is known."""
        data, loop = self.data, self.loop
        fine = log - self.log2(64 * loop)
        halvings = 2 if self.is_new and fine >= 64 else 0
        whole = max((fine >> 5) - 2, 0)
        shift = whole + halvings
        unit = 1 << shift
        stride, kind = 4 * unit >> halvings, 5
        if shift == 0:
            stride = 1 if fine < 16 else 2 if fine < 48 else 4
            kind = min(max((fine + 80) >> 5, 0), 4)
        part = min(max((best - 64 * origin + 32) >> 4, 0), 3) if loop == 1 else 2
        surroundings = 8 * min(max((logs[3] - logs[1]) // 24 + 6, 1), 15)
        surroundings += min(max((logs[0] - logs[2]) // 24 + 4, 0), 7)
        first_row = (4 * min(max((fine - 32 * whole + 96) >> 4, 0), 15) + part) * 80
        start = 0 if shift > 0 or part < 2 else 1
        zero = 64 * origin - 32 * loop
        below, above = [0, 0, 0], [2**22] * 3
        bottom, top, node, count, refined, threshold = -(2**30), 2**30, 0, 0, 0, start
        mix, first, second = (self.tables[n] for n in ("mix", "first", "second"))
        while True:
            edge, f = zero + 64 * loop * threshold, []
            for curve, at in (("normal", fixed), ("heavy", best), ("normal", adaptive)):
                place = ((edge - at) * data["inverses"][log & 31]) >> (8 + (log >> 5))
                f.append(data[curve][2048 + clip(place, 2048)])
            o = [
                clip(self.ln(high - x + 1) - self.ln(x - low + 1), 2047)
                for high, x, low in zip(above, f, below, strict=True)
            ]
            i1, i2, m = first_row + node, surroundings * 80 + node, kind * 80 + node
            o.append(clip(((o[1] + o[2]) >> 1) + (first[i1] >> 8), 2047))
            o.append(clip(((o[1] + o[2]) >> 1) + (second[i2] >> 8), 2047))
            odds = (sum(w * k for w, k in zip(mix[m], o, strict=True)) + 2**19) >> 20
            p = data["logistic"][3072 + clip(odds, 2900)]
            yes = self.decide(p)
            truth = 65536 if yes else 0
            gain = (truth - p) * self.rate("mix", m)
            mix[m] = [w + ((gain * k + 2**19) >> 20) for w, k in zip(mix[m], o, strict=True)]
            for name, table, i, odd in (("first", first, i1, o[3]), ("second", second, i2, o[4])):
                miss = truth - data["logistic"][3072 + odd]
                table[i] += (miss * self.rate(name, i)) >> 16
            if yes:
                bottom, below = threshold, f
            else:
                top, above = threshold, f
            if top == 2**30 or bottom == -(2**30):
                up = top == 2**30
                node, reach = (1 if up else 20) + min(count, 18), stride << count
                threshold = start + reach if up else start - reach
                count += 1
                if reach >= 2**30:
                    break
            else:
                if top - bottom <= unit:
                    break
                side = 1 if bottom >= start else 0
                if refined == 0:
                    node = 40 + 2 * min(count, 5) + side
                elif refined < 52:
                    node = 52 + 2 * (refined - 40) + yes
                else:
                    node = 76 + 2 * side + yes
                refined = min(node, 76)
                threshold = bottom + ((((top - bottom) >> 1) >> shift) << shift)
        inverse, scale = data["inverses"][log & 31], 8 + (log >> 5)
        for k in range(halvings):
            half = unit >> (k + 1)
            z = clip(((zero + 64 * loop * (bottom + half) - best) * inverse) >> scale, 640)
            slope = (z * ((64 * loop * half * inverse) >> scale)) >> 8
            if self.decide(data["logistic"][3072 + clip(-slope, 2900)]):
                bottom += half
        rest = 0
        for _ in range(shift - halvings):
            byte = self.plain[self.bits >> 3] if self.bits >> 3 < len(self.plain) else 0
            rest = rest << 1 | byte >> (7 - self.bits % 8) & 1
            self.bits += 1
        return clip(origin + loop * (bottom + rest), 2**28)


def read_side(data: bytes) -> dict[str, bytes]:
    """Return the records of side information."""
    body = data[1:] if data[0] == 0 else zlib.decompress(data[1:])
    records, at = {}, 0
    while at < len(body):
        size = struct.unpack(">I", body[at + 4 : at + 8])[0]
        records[body[at : at + 4].decode()] = body[at + 8 : at + 8 + size]
        at += 8 + size
    return records


def read_image(hdu: HDU) -> np.ndarray:
    """Return the stored values of an image of an `.avq` file, big-endian."""
    at = next(i for i, card in enumerate(hdu.cards) if card.startswith(b"AVQORIG"))
    count = int(hdu.value("AVQORIG"))
    original = HDU([card for card in hdu.cards[at + 1 : at + 1 + count]], b"")
    shape = [int(original.value(f"ZNAXIS{i + 1}")) for i in range(int(original.value("ZNAXIS")))]
    width, height = shape[0], shape[1] if len(shape) > 1 else 1
    dtype = TYPES[int(original.value("ZBITPIX"))]
    stride, rows = int(hdu.value("NAXIS1")), int(hdu.value("NAXIS2"))
    n_streams = int(hdu.value("TFIELDS")) - 2
    form = ">5i" + ("2q" if "Q" in hdu.value("TFORM2") else "2i") * n_streams + f"{n_streams}i"
    table = [struct.unpack_from(form, hdu.data, i * stride) for i in range(rows)]

    def stream(row: tuple[int, ...]) -> bytes:
        length, offset = row[5 + 2 * (n_streams - 1) :][:2]  # PIXELS is the last
        found = hdu.data[rows * stride + offset :][:length]
        crc = zlib.crc32(struct.pack(">5i", *row[:5]) + found)
        assert crc == row[-1] % 2**32
        return found

    shared = Shared(None)
    if table[-1][0] == -1:
        shared = read_shared(read_side(stream(table.pop())).get("PIXS", b""))
    planes = np.zeros((int(np.prod(shape[2:], dtype=int)), height, width), dtype)
    for row in table:
        plane, y, x, ny, nx = row[:5]
        planes[plane, y : y + ny, x : x + nx] = read_tile(stream(row), (ny, nx), dtype, shared)
    out = planes.reshape(shape[::-1])
    return out.astype(out.dtype.newbyteorder(">"))


def read_images(path: Path | bytes) -> dict[int, np.ndarray]:
    """Return the stored values of all images with pixels, by their number in the original."""
    content = path if isinstance(path, bytes) else path.read_bytes()
    primary, *hdus = split_file(content)
    assert int(primary.value("AVQVERS")) == 1
    kinds = primary.value("AVQHDUS")
    return {
        i: read_image(hdu)
        for i, (kind, hdu) in enumerate(zip(kinds, hdus, strict=True))
        if kind == "I" and hdu.value("NAXIS") != "0"
    }
