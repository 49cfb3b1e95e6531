"""`.avq` files back to FITS: `decompress`."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import IMAGE, MAX_PIXELS
from astro_vq.codec.edit_header import cut_header, has_checksum, update_checksums
from astro_vq.codec.kept import iter_original, iter_tail
from astro_vq.codec.models import ModelSource
from astro_vq.codec.paths import File, check_apart, decompressed_name, label_of, open_output, opened
from astro_vq.codec.results import DecompressionResult
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.codec.stored_image import StoredImage
from astro_vq.codec.stored_tiles import TileDamage
from astro_vq.errors import DataError, FormatError
from astro_vq.io.cards import BLOCK_BYTES, build_header, format_card, padded_size
from astro_vq.io.checksum import RunningSum
from astro_vq.types import TileGeometry

__all__ = ["DecompressionResult", "decompress"]

_PIECE = 2**22
Section = tuple[slice, slice]


def decompress(
    source: File,
    output: File | None = None,
    *,
    hdu: int | None = None,
    section: Section | None = None,
    overwrite: bool = False,
    keep_going: bool = False,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
) -> DecompressionResult:
    """Write the FITS file that an `.avq` file was made from.

    Pixels are within the bound that was promised, lossless ones bit by bit; headers and all
    other HDUs are as they were. CHECKSUM and DATASUM of lossy images are made valid again where
    the original had them. Pixels are decoded without any model, except for fidelity 'tokens'.

    Parameters
    ----------
    source : path, URL or binary file object
        The `.avq` file.
    output : path or binary file object, optional
        Where to write; the name without ``.avq`` when left out. A file object must be readable
        and seekable too.
    hdu : int, optional
        Write this HDU alone (behind an empty primary HDU, unless it is the primary).
    section : (slice, slice), optional
        Rows and columns, from 0, ends excluded; of `hdu`, or of the first image with two axes.
        The header keeps its sky coordinates: CRPIX and LTV are shifted.
    overwrite : bool
        Replace an output that exists.
    keep_going : bool
        Go on when something is damaged: lost pixels become NaN, BLANK, or 0, and
        `DecompressionResult.damaged` lists what they are.
    model : str or path, optional
        Model to decode tokens with; its hash must be the one that the file names.
    device : str
        Where the model runs.
    max_pixels : int or None
        Refuse a file whose images have more pixels together; None takes any.

    Returns
    -------
    DecompressionResult
        Sizes and what was damaged.

    Raises
    ------
    FormatError
        The file is no `.avq` file, damaged, or cut off.
    DataError
        There is no such HDU or section.
    ModelMismatchError
        The tokens need a model that is not here.
    FileExistsError
        The output is there and `overwrite` is false.
    """
    started = time.perf_counter()
    if output is not None:
        check_apart(source, output)
    with contextlib.ExitStack() as stack:
        stored = StoredFile(
            stack.enter_context(opened(source)), strict=not keep_going, max_pixels=max_pixels
        )
        if output is None:
            output = decompressed_name(source)
        target = stack.enter_context(open_output(output, overwrite=overwrite))
        work = _Restoration(stored, ModelSource(stored, model=model, device=device), keep_going)
        start = target.tell()
        if hdu is None and section is None:
            work.restore_all(target)
        else:
            work.restore_one(target, hdu, section)
        written = target.tell() - start
    damaged = (*stored.problems, *work.damaged)
    return DecompressionResult(
        input=stored.name,
        output=label_of(output),
        input_bytes=stored.size,
        output_bytes=written,
        seconds=time.perf_counter() - started,
        damaged=tuple(dict.fromkeys(damaged)),
    )


class _Restoration:
    """Writes HDUs of a stored file as they were."""

    def __init__(self, stored: StoredFile, models: ModelSource, keep_going: bool) -> None:
        self._stored = stored
        self._models = models
        self._keep_going = keep_going
        self.damaged: list[str] = []

    def restore_all(self, target: BinaryIO) -> None:
        """Write every HDU and what came after the last."""
        start = target.tell()
        for hdu in self._stored.hdus:
            with self._tolerated():
                self._restore(target, hdu)
        with self._tolerated():
            for piece in iter_tail(self._stored):
                target.write(piece)
        due = self._stored.globals.integer("AVQSIZE", default=0)
        size = target.tell() - start
        if due and not 0 <= size - due < BLOCK_BYTES:
            with self._tolerated():
                raise FormatError(
                    f"{self._stored.name}: {size} bytes came out where the original had {due}"
                )
        elif due:  # the last block of the original was not filled up
            target.seek(start + due)
            target.truncate()

    def restore_one(self, target: BinaryIO, index: int | None, section: Section | None) -> None:
        """Write one HDU, or a section of it."""
        hdu = self._choose(index, section)
        if hdu.index != 0:
            target.write(
                build_header(
                    [
                        format_card("SIMPLE", True),
                        format_card("BITPIX", 8),
                        format_card("NAXIS", 0),
                        format_card("EXTEND", True),
                    ]
                )
            )
        if section is None:
            self._restore(target, hdu)
        else:
            self._restore_image(target, StoredImage(self._stored, hdu), section)

    def _choose(self, index: int | None, section: Section | None) -> StoredHDU:
        hdus = self._stored.hdus
        if index is not None:
            if not 0 <= index < len(hdus):
                raise DataError(
                    f"{self._stored.name}: there is no HDU {index}; the last is {len(hdus) - 1}"
                )
            if section is not None and hdus[index].kind != IMAGE:
                raise DataError(f"{hdus[index].where}: it is no image, so it has no section")
            return hdus[index]
        for hdu in hdus:
            if hdu.kind == IMAGE and len(StoredImage(self._stored, hdu).info.shape) >= 2:
                return hdu
        raise DataError(f"{self._stored.name}: no image with two axes to take a section of")

    def _restore(self, target: BinaryIO, hdu: StoredHDU) -> None:
        if hdu.kind == IMAGE:
            self._restore_image(target, StoredImage(self._stored, hdu), None)
            return
        size = 0
        try:
            for piece in iter_original(self._stored, hdu):
                target.write(piece)
                size += len(piece)
        finally:
            target.write(b"\0" * (padded_size(size) - size))

    def _restore_image(self, target: BinaryIO, image: StoredImage, section: Section | None) -> None:
        header = image.header
        if section is not None:
            section = _bounded(image, section)
            header = cut_header(header, *section)
        start = target.tell()
        target.write(header)
        size = self._write_pixels(target, image, section)
        padding = padded_size(size) - size
        fill = image.padding[:padding] if section is None else b""
        target.write(fill.ljust(padding, b"\0"))
        changed = section is not None or image.fidelity != "lossless"
        if changed and has_checksum(header):
            end = target.tell()
            data_sum = _sum_file(target, start + len(header), end)
            target.seek(start)
            target.write(update_checksums(header, data_sum))
            target.seek(end)

    def _write_pixels(self, target: BinaryIO, image: StoredImage, section: Section | None) -> int:
        """Write the pixels at the current position, and return how many bytes they are."""
        model = self._models.load() if image.fidelity == "tokens" else None
        damage = self._note_damage if self._keep_going else None
        start = target.tell()
        planes, height, width = image.plane_axes
        if section is None:
            for place, values in image.iter_blocks(model=model, on_damage=damage):
                _write_block(target, start, place, values, (height, width))
            size = planes * height * width * np.dtype(image.info.dtype).itemsize
        else:
            ys, xs = section
            step = max(_PIECE // max(xs.stop - xs.start, 1), 1)
            for plane in range(planes):
                for y in range(ys.start, ys.stop, step):
                    rows = slice(y, min(y + step, ys.stop))
                    values = image.read(plane, rows, xs, model=model, on_damage=damage)
                    target.write(_big_endian(values))
            size = target.tell() - start
        target.seek(start + size)
        return size

    def _note_damage(self, damage: TileDamage) -> None:
        self.damaged.append(str(damage))

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except FormatError as err:
            if not self._keep_going:
                raise
            self.damaged.append(str(err))


def _bounded(image: StoredImage, section: Section) -> Section:
    """Return a section with its ends filled in; refuse one that is empty or outside."""
    _, height, width = image.plane_axes
    filled = []
    for part, length, axis in zip(section, (height, width), ("rows", "columns"), strict=True):
        start, stop, step = part.indices(length)
        outside = part.stop is not None and part.stop > length
        if step != 1 or stop <= start or outside:
            raise DataError(
                f"{image.hdu.where}: the section {part.start}:{part.stop} of its {length} {axis} "
                "is empty or outside"
            )
        filled.append(slice(start, stop))
    return filled[0], filled[1]


def _write_block(
    target: BinaryIO,
    start: int,
    place: TileGeometry,
    values: NDArray[Any],
    size: tuple[int, int],
) -> None:
    """Write a block of an image to its place."""
    height, width = size
    first = (place.plane * height + place.y0) * width + place.x0
    if place.nx == width or place.ny == 1:
        target.seek(start + first * values.itemsize)
        target.write(_big_endian(values))
        return
    for number, row in enumerate(values):
        target.seek(start + (first + number * width) * values.itemsize)
        target.write(_big_endian(row))


def _big_endian(values: NDArray[Any]) -> bytes:
    return values.astype(values.dtype.newbyteorder(">"), copy=False).tobytes()


def _sum_file(file: BinaryIO, start: int, end: int) -> int:
    running = RunningSum()
    file.seek(start)
    for position in range(start, end, _PIECE):
        running.add(file.read(min(_PIECE, end - position)))
    return running.value
