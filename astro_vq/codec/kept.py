"""What an `.avq` file keeps as it was: other HDUs, bytes behind the last one, the model."""

from collections.abc import Iterator

import numpy as np

from astro_vq.codec.container import (
    CHUNK_BYTES,
    CHUNK_DTYPE,
    MODEL,
    PLAIN,
    SUMMED,
    TAIL,
    WRAPPED,
    chunk_crc,
    unpack_bytes,
)
from astro_vq.codec.header import LARGEST_HEADER
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.codec.writer import SUMMED_NAMES
from astro_vq.errors import FormatError
from astro_vq.io.cards import build_header, find_end, padded_size
from astro_vq.io.checksum import RunningSum

LARGEST_MODEL = 2**31
"""Bytes of the largest embedded model that is taken."""

_ORIGINAL_NAMES = {new: old for old, new in SUMMED_NAMES.items()}


def iter_original(file: StoredFile, hdu: StoredHDU) -> Iterator[bytes]:
    """Yield the bytes of an HDU that was kept as it was, header first.

    Raises
    ------
    FormatError
        They are damaged (found at the end of the data for HDUs without chunks).
    """
    if hdu.kind == WRAPPED:
        yield from iter_chunks(file, hdu)
        return
    yield hdu.header if hdu.kind == PLAIN else restore_summed(hdu)
    running = RunningSum()
    for piece in file.iter_data(hdu):
        running.add(piece)
        yield piece
    if running.value != int(hdu.keywords.text("DATASUM")):
        raise FormatError(f"{hdu.where}: its data are damaged (DATASUM is wrong)")


def read_original_header(file: StoredFile, hdu: StoredHDU) -> bytes:
    """Return the header of an HDU that was kept as it was.

    Raises
    ------
    FormatError
        It is damaged.
    """
    if hdu.kind == PLAIN:
        return hdu.header
    if hdu.kind == SUMMED:
        return restore_summed(hdu)
    start = bytearray()
    for chunk in iter_chunks(file, hdu):
        start += chunk
        end = find_end(bytes(start))
        if end is not None:
            return bytes(start[: padded_size(end + 1)])
        if len(start) > LARGEST_HEADER:
            break
    raise FormatError(f"{hdu.where}: its header has no END")


def iter_chunks(file: StoredFile, hdu: StoredHDU) -> Iterator[bytes]:
    """Yield the bytes of a table of chunks.

    Raises
    ------
    FormatError
        A chunk is damaged, or their sizes do not add up.
    """
    count = hdu.keywords.integer("NAXIS2")
    announced = hdu.keywords.integer("AVQBYTES")
    if hdu.keywords.integer("NAXIS1") != CHUNK_DTYPE.itemsize or count * CHUNK_DTYPE.itemsize > (
        hdu.size
    ):
        raise FormatError(f"{hdu.where}: damaged: not a table of chunks")
    table = file.read(hdu.offset, count * CHUNK_DTYPE.itemsize, hdu.where)
    heap = hdu.offset + len(table)
    total = 0
    for number, row in enumerate(np.frombuffer(table, CHUNK_DTYPE)):
        length, offset = (int(value) for value in row["BYTES"])
        if not 0 < length <= CHUNK_BYTES + 2 or offset < 0 or len(table) + offset > hdu.size:
            raise FormatError(f"{hdu.where}: chunk {number} is damaged")
        stored = file.read(heap + offset, length, hdu.where)
        if chunk_crc(number, stored) != int(row["CRC"]):
            raise FormatError(f"{hdu.where}: chunk {number} is damaged (its CRC is wrong)")
        chunk = unpack_bytes(stored, CHUNK_BYTES)
        total += len(chunk)
        yield chunk
    if total != announced:
        raise FormatError(f"{hdu.where}: damaged: {total} bytes where {announced} are due")


def iter_tail(file: StoredFile) -> Iterator[bytes]:
    """Yield the bytes that came after the last HDU of the original."""
    if TAIL in file.kinds:
        yield from iter_chunks(file, file.need_extra(TAIL))


def read_model(file: StoredFile) -> bytes | None:
    """Return the bytes of the embedded model, or None."""
    if MODEL not in file.kinds:
        return None
    file.need_extra(MODEL).keywords.integer("AVQBYTES", most=LARGEST_MODEL)
    return b"".join(iter_chunks(file, file.need_extra(MODEL)))


def restore_summed(hdu: StoredHDU) -> bytes:
    """Return the original header of an HDU that got checksum cards (kind `SUMMED`).

    Raises
    ------
    FormatError
        It is damaged.
    """
    if hdu.kind != SUMMED:
        raise ValueError(f"kind {hdu.kind!r} has no checksum cards of ours")
    count = hdu.keywords.integer("AVQORIG", most=len(hdu.cards))
    return build_header([_original(card) for card in hdu.cards[:count]])


def _original(card: bytes) -> bytes:
    name = card[:8].rstrip(b" ")
    return _ORIGINAL_NAMES.get(name, name).ljust(8) + card[8:]
