"""Checking an `.avq` file: every checksum, every tile, and the original beside it."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.container import IMAGE, MAX_PIXELS
from astro_vq.codec.kept import iter_chunks, iter_original, iter_tail
from astro_vq.codec.models import ModelSource
from astro_vq.codec.paths import File, opened
from astro_vq.codec.stored import StoredFile, StoredHDU
from astro_vq.codec.stored_image import StoredImage
from astro_vq.codec.stored_tiles import TileDamage
from astro_vq.errors import FormatError, VerificationError
from astro_vq.io.byte_source import FileObject
from astro_vq.io.fits import FitsFile, FitsHDU, open_fits

if TYPE_CHECKING:
    from astro_vq.codec.windows import WindowedModel

__all__ = ["VerificationReport", "check_written", "verify"]


@dataclass(frozen=True)
class VerificationReport:
    """What `verify` found.

    Attributes
    ----------
    file : str
        Name of the file.
    against : str or None
        Name of the original that it was compared with.
    problems : tuple of str
        Everything that is wrong; empty when all is well.
    hdus : tuple of dict
        One for each HDU: ``index``, ``kind``, ``name``, ``fidelity``, ``tiles``,
        ``damaged_tiles``, and when there is an original ``header_identical``,
        ``pixels_identical``, ``missing_identical``, ``max_error`` (promised) and
        ``largest_error`` (found), in the unit of the image.
    """

    file: str
    against: str | None
    problems: tuple[str, ...]
    hdus: tuple[dict[str, Any], ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "file": self.file,
            "against": self.against,
            "ok": self.ok,
            "problems": list(self.problems),
            "hdus": [dict(hdu) for hdu in self.hdus],
        }


def verify(
    path: File,
    *,
    against: File | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
) -> VerificationReport:
    """Read all of an `.avq` file and check it; with the original also what comes back.

    Checksums of all HDUs and the CRC of every stream are compared, and every tile is decoded.
    Against the original, headers must be identical byte for byte, lossless pixels bit by bit,
    others within their bound, with NaN, infinities and BLANK in place.

    Parameters
    ----------
    path : path, URL or binary file object
        The `.avq` file.
    against : path or binary file object, optional
        The original FITS file.
    model : str or path, optional
        Model to decode tokens with (needed with `against` and fidelity 'tokens').
    device : str
        Where the model runs.
    max_pixels : int or None
        Images with more pixels together are a problem; None takes any.

    Returns
    -------
    VerificationReport
        Problems, and details of each HDU.

    Raises
    ------
    FormatError
        The file is no `.avq` file at all.
    """
    with opened(path) as source:
        stored = StoredFile(source, strict=False, max_pixels=max_pixels)
        checker = _Checker(stored, ModelSource(stored, model=model, device=device))
        if against is None:
            checker.run(None)
            return checker.report(None)
        with open_fits(against) as original:
            checker.run(original)
            return checker.report(original.path)


def check_written(
    file: BinaryIO, name: str, original: FitsFile, *, model: "WindowedModel | None" = None
) -> None:
    """Decode a file that was just written, and compare it with the original.

    Parameters
    ----------
    file : binary file object
        Readable; the `.avq` file is all of it.
    name : str
        For messages.
    original : FitsFile
        What it was made from.
    model : WindowedModel, optional
        The model that made its tokens.

    Raises
    ------
    VerificationError
        Anything differs from what is promised; the message names the first problems.
    """
    file.flush()
    try:
        stored = StoredFile(FileObject(file, name), strict=False, max_pixels=None)
        checker = _Checker(stored, ModelSource(stored, loaded=model))
        checker.run(original)
        problems = checker.report(original.path).problems
    except FormatError as err:
        problems = (str(err),)
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise VerificationError(
            f"{name}: it does not give back {original.path}, so it is not kept: "
            f"{'; '.join(problems[:3])}{more}; please report this, and keep the image"
        )


class _Checker:
    def __init__(self, stored: StoredFile, models: ModelSource) -> None:
        self._stored = stored
        self._models = models
        self._problems: list[str] = []
        self._hdus: list[dict[str, Any]] = []

    def report(self, against: str | None) -> VerificationReport:
        problems = dict.fromkeys([*self._stored.problems, *self._problems])
        return VerificationReport(self._stored.name, against, tuple(problems), tuple(self._hdus))

    def run(self, original: FitsFile | None) -> None:
        sources: list[FitsHDU | None] = [None] * len(self._stored.hdus)
        if original is not None:
            if len(original.hdus) != self._stored.n_originals:
                self._problems.append(
                    f"the original has {len(original.hdus)} HDUs, the file {len(sources)}"
                )
            sources = [*original.hdus, *sources][: len(sources)]
        for hdu, source in zip(self._stored.hdus, sources, strict=True):
            details: dict[str, Any] = {"index": hdu.index, "kind": hdu.kind}
            self._hdus.append(details)
            try:
                if hdu.kind == IMAGE:
                    self._check_data(hdu)
                    self._check_image(hdu, source, details)
                else:
                    self._check_other(hdu, source, details)
            except FormatError as err:
                self._problems.append(str(err))
        self._check_extras(original)

    def _check_data(self, hdu: StoredHDU) -> None:
        try:
            self._stored.check_data(hdu)
        except FormatError as err:  # the tiles say more
            self._problems.append(str(err))

    def _check_extras(self, original: FitsFile | None) -> None:
        try:
            tail = b"".join(iter_tail(self._stored))
            for extra in self._stored.extras.values():
                self._stored.check_data(extra)
                for _ in iter_chunks(self._stored, extra):
                    pass
        except FormatError as err:
            self._problems.append(str(err))
            return
        if original is not None and tail != original.trailing:
            self._problems.append("bytes after the last HDU are not those of the original")

    def _check_other(self, hdu: StoredHDU, source: FitsHDU | None, details: dict[str, Any]) -> None:
        position = 0
        same = True
        for piece in iter_original(self._stored, hdu):
            if source is not None:
                there = source.read_raw(position, len(piece))
                # a last block that was not full is filled up in the file
                same = same and piece[: len(there)] == there
            position += len(piece)
        details |= {"fidelity": "lossless", "max_error": 0.0}
        if source is not None:
            details["pixels_identical"] = same and position >= source.raw_size
            if not details["pixels_identical"]:
                self._problems.append(f"HDU {hdu.index} is not that of the original")

    def _check_image(self, hdu: StoredHDU, source: FitsHDU | None, details: dict[str, Any]) -> None:
        image = StoredImage(self._stored, hdu)
        damaged: set[TileDamage] = set()
        if image.has_tokens:
            stacks, _, height, width = image.tokens.shape
            for stack in range(stacks):
                for y in range(0, height, 64):
                    rows = slice(y, min(y + 64, height))
                    image.tokens.read(stack, rows, slice(0, width), on_damage=damaged.add)
        details |= {
            "name": image.info.name,
            "fidelity": image.fidelity,
            "max_error": image.bound,
            "tiles": image.table.grid.count,
        }
        if source is None:
            image.check_pixels(damaged.add)
        else:
            self._compare(image, source, damaged, details)
        details["damaged_tiles"] = len(damaged)
        self._problems += sorted(map(str, damaged))

    def _compare(
        self,
        image: StoredImage,
        source: FitsHDU,
        damaged: set[TileDamage],
        details: dict[str, Any],
    ) -> None:
        where = f"HDU {image.index}"
        details["header_identical"] = image.header == source.header_bytes
        if not details["header_identical"]:
            self._problems.append(f"{where}: the header is not that of the original")
            if image.info.shape != source.shape:
                return
        model = self._models.load() if image.fidelity == "tokens" else None
        identical = missing = floor = True
        largest = 0.0
        for place, values in image.iter_blocks(model=model, on_damage=damaged.add):
            there = source.read_stored(place.plane, *place.slices)
            identical = identical and values.tobytes() == there.tobytes()
            missing = missing and _same_missing(image, values, there)
            largest = max(largest, _largest_error(image, values, there))
            floor = floor and (not image.non_negative or _same_zeros(image, values, there))
        details |= {
            "pixels_identical": identical,
            "missing_identical": missing,
            "largest_error": largest,
        }
        if image.fidelity == "lossless" and not identical:
            self._problems.append(f"{where}: lossless, but its pixels are not identical")
        if not floor:
            self._problems.append(
                f"{where}: negative pixels, or zeros that are not where they were"
            )
        if not missing:
            self._problems.append(f"{where}: missing pixels are not where they were")
        if image.bound is not None and largest > image.bound:
            self._problems.append(
                f"{where}: an error of {largest:.6g} where at most {image.bound:.6g} is promised"
            )


def _same_missing(image: StoredImage, values: NDArray[Any], there: NDArray[Any]) -> bool:
    here, lost = image.info.missing(values), image.info.missing(there)
    return bool(np.array_equal(here, lost)) and values[lost].tobytes() == there[lost].tobytes()


def _same_zeros(image: StoredImage, values: NDArray[Any], there: NDArray[Any]) -> bool:
    here, due = image.info.to_physical(values), image.info.to_physical(there)
    return not (here < 0).any() and bool(np.array_equal(here == 0, due == 0))


def _largest_error(image: StoredImage, values: NDArray[Any], there: NDArray[Any]) -> float:
    both = ~(image.info.missing(values) | image.info.missing(there))
    if not both.any():
        return 0.0
    found, due = values[both], there[both]
    if not image.info.is_float:
        # integers are compared as integers, and scaled once: exact up to 2**53 steps
        low, high = np.minimum(found, due), np.maximum(found, due)
        unsigned = f"u{found.dtype.itemsize}"
        steps = high.astype(unsigned) - low.astype(unsigned)
        return float(steps.max()) * abs(image.info.bscale)
    with np.errstate(over="ignore"):
        difference = np.abs(found.astype(np.float64) - due.astype(np.float64))
    return float(difference.max()) * abs(image.info.bscale)
