"""Small FITS files that several tests take apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from astro_vq.io.cards import build_header, padded_size


def build_hdu(lines: list[str], data: bytes = b"", fill: bytes = b"\0") -> bytes:
    """Return an HDU of header lines, exactly as they are given, and data."""
    cards = [line.encode("latin-1").ljust(80) for line in lines]
    return build_header(cards) + data.ljust(padded_size(len(data)), fill)


@pytest.fixture
def write_hdus(tmp_path) -> Callable[..., Path]:
    """Write HDUs, each (lines, data) or bytes, to a file and return its path."""

    def write(*hdus: tuple[list[str], bytes] | bytes, name: str = "made.fits") -> Path:
        parts = [hdu if isinstance(hdu, bytes) else build_hdu(*hdu) for hdu in hdus]
        path: Path = tmp_path / name
        path.write_bytes(b"".join(parts))
        return path

    return write


@pytest.fixture
def primary() -> Callable[..., list[str]]:
    """Return the header lines of a primary image."""

    def lines(bitpix: int, *axes: int) -> list[str]:
        return [
            "SIMPLE  =                    T",
            f"BITPIX  = {bitpix:20d}",
            f"NAXIS   = {len(axes):20d}",
            *(f"NAXIS{i + 1:<3}= {n:20d}" for i, n in enumerate(axes)),
        ]

    return lines
