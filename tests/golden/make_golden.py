"""Write the golden files, which every later version must decode.

Run `python tests/golden/make_golden.py` only to add files. A file that was part of a release is
never written again.
"""

import hashlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent


class Logical:
    """True, as a card has it."""

    def __str__(self) -> str:
        return "T"


def card(name: str, value: object) -> bytes:
    text = f"'{value:<8}'" if isinstance(value, str) else f"{value!s:>20}"
    return f"{name:<8}= {text}".encode().ljust(80)


def unit(cards: list[bytes], data: bytes) -> bytes:
    header = b"".join([*cards, b"END".ljust(80)])
    return header.ljust(-(-len(header) // 2880) * 2880) + data.ljust(
        -(-len(data) // 2880) * 2880, b"\0"
    )


def image(data: np.ndarray, *cards: bytes, primary: bool = True) -> bytes:
    bits = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}[data.dtype.str[1:]]
    start = (
        [b"SIMPLE  =                    T".ljust(80)] if primary else [card("XTENSION", "IMAGE")]
    )
    start += [card("BITPIX", bits), card("NAXIS", data.ndim)]
    start += [card(f"NAXIS{i + 1}", length) for i, length in enumerate(data.shape[::-1])]
    if not primary:
        start += [card("PCOUNT", 0), card("GCOUNT", 1)]
    return unit([*start, *cards], data.astype(data.dtype.newbyteorder(">")).tobytes())


def integers(seed: int, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Return numbers that are the same for ever (a generator of numpy may change)."""
    state = seed
    values = []
    for _ in range(int(np.prod(shape))):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(low + (state >> 33) % (high - low))
    return np.array(values).reshape(shape)


def sky(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Return noise about 100 with sigma 4 and two stars, exactly the same everywhere."""
    noise = sum(integers(seed + i, shape, -8, 9) for i in range(3)) / 2
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    stars = sum(
        flux // (1 + (ys - y) ** 2 + (xs - x) ** 2) for flux, y, x in [(900, 20, 31), (300, 40, 8)]
    )
    return 100 + noise + stars


def floats() -> bytes:
    data = sky(1, (70, 50)).astype("f4") + integers(5, (70, 50), 0, 2**12).astype("f4") / 2**14
    bits = data.view("u4")
    bits[3, 4], bits[3, 5], bits[60, 49] = 0x7FC12345, 0xFF800001, 0x80000000
    data[50:53, 20:30] = np.nan
    data[9, 9], data[10, 9] = np.inf, -np.inf
    return image(data, card("OBJECT", "golden"), b"lower   = 1".ljust(80), card("BUNIT", "adu"))


def several() -> bytes:
    """Return a file of many types, a table, a header alone, and bytes behind the end."""
    parts = [
        image(integers(1, (30, 40), 0, 50).astype("i2"), card("BZERO", 32768), card("BLANK", 7))
    ]
    for number, dtype in enumerate(["u1", "i4", "i8", "f8"]):
        data = np.rint(sky(10 + number, (40, 45)))
        parts.append(image(data.clip(0, 255).astype(dtype), primary=False))
    parts.append(image(integers(3, (2, 3, 9, 8), -9, 9).astype("f4") / 8, primary=False))
    parts.append(image(np.zeros((0, 5), "i2"), card("EXTNAME", "EMPTY"), primary=False))
    table = [card("XTENSION", "BINTABLE"), card("BITPIX", 8), card("NAXIS", 2), card("NAXIS1", 4)]
    table += [card("NAXIS2", 3), card("PCOUNT", 0), card("GCOUNT", 1), card("TFIELDS", 1)]
    parts.append(unit([*table, card("TFORM1", "1J")], bytes(range(12))))
    foreign = [card("XTENSION", "FOREIGN"), card("BITPIX", 8), card("NAXIS", 1), card("NAXIS1", 5)]
    damaged = [card("PCOUNT", 0), card("GCOUNT", 1), card("AVQORIG", 3)]
    parts.append(unit([*foreign, *damaged], b"alien"))
    return b"".join(parts) + b"bytes behind the end"


ORIGINALS = {"floats": floats, "several": several}

CASES = {
    "floats-lossless": ("floats", {"fidelity": "lossless", "tokens": False}),
    "floats-max-error": ("floats", {"max_error": 0.5, "tokens": False}),
    "several-lossless": ("several", {"fidelity": "lossless", "tokens": False, "tile_size": 32}),
    "several-max-error": ("several", {"max_error": 2.0, "tokens": False, "tile_size": 32}),
    "floats-tokens": ("floats", {"fidelity": "tokens", "tile_size": 32, "embed_model": True}),
}
"""Name of the file, of its original, and how it was compressed."""


def main() -> int:
    sys.path.insert(0, str(FOLDER.parent / "codec"))
    from conftest import make_model

    with tempfile.TemporaryDirectory() as scratch:
        write(make_model(Path(scratch) / "golden", channels=1))
    return 0


def write(model: Path) -> None:
    import astro_vq

    for name, (original, choices) in CASES.items():
        path = FOLDER / f"{name}.avq"
        if path.exists():
            continue
        extra = {"model": model} if choices.get("embed_model") else {}
        astro_vq.compress(io.BytesIO(ORIGINALS[original]()), path, **choices, **extra)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sys.stdout.write(f"{name} {path.stat().st_size} {digest}\n")
        if choices.get("fidelity") == "tokens":
            with astro_vq.open(path) as file:
                np.savez_compressed(
                    path.with_suffix(".npz"), tokens=file.tokens.astype("u1"), image=file.data
                )


if __name__ == "__main__":
    sys.exit(main())
