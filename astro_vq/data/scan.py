"""Which planes files hold, which of them can be used, and what was measured of each.

What cannot be used becomes a `Reject` with the reason; nothing is left out silently.
"""

import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_vq.data.noise import sky_statistics
from astro_vq.data.planes import Plane, PlaneAddress, PlaneReader, WeightMap
from astro_vq.data.scaling import Scaling
from astro_vq.data.weights import WeightSource, find_fits_map, find_stack_map, noise_of
from astro_vq.errors import AstroVQError, DataError
from astro_vq.io.fits import FitsHDU, open_fits
from astro_vq.io.hdf5 import open_hdf5

SAMPLE_PIXELS = 4_000_000
"""Planes larger than this are measured in bands of rows spread over them."""

LARGEST_SCALED = 40.0
"""Planes with values beyond this in network units (1e17 sigma) hold damaged numbers."""

NO_WEIGHTS = "no weight map"
"""Reason of rejects of images whose map is missing or of another size."""

_FILLING = 1e20  # magnitudes from here on may stand for missing pixels
_MIN_VALID = 0.01  # of a plane's pixels
_WIDEST = math.radians(5.0)  # frames wider than this overlap with too much to tell copies
_AUXILIARY = re.compile(
    r"(BADPIX|BPM|CON|CONF|CONFMAP|CONTEXT|COVERAGE|CTX|DQF?|ERR|ERROR|EXP|EXPMAP|EXPOSURE|FLAGS?"
    r"|INVVAR|IVAR|MASK|MSK|PSF|QUALITY|RMS|SAMP|SEG|SEGM|SEGMAP|SEGMENTATION|SIGMA|STD|TIME|UNC"
    r"|UNCERTAINTY|VAR|VARIANCE|WEIGHTS?|WGT|WHT)[ _-]?\d*"
)
_FINGERPRINTS = 16  # numbers in a fingerprint
_ID_NAMES = ("object", "objects", "object_id", "objectid", "objid", "oid", "id", "ids", "name")


class Reject(NamedTuple):
    """Something that was left out: where, the kind of reason (for counts), and what was found."""

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Candidate:
    """A plane and all that is known about it besides its pixels.

    Attributes
    ----------
    plane : Plane
        Its scaling is that of a unit until it has been measured.
    ordinal : int
        Number of the plane among all image planes of its file, or of the cutout in its stack.
    planes_of_hdu : int
        Planes, or channels, that come with it.
    object_name : str
        OBJECT card or object id; empty when there is none.
    filter_name, extension : str
        FILTER card, and EXTNAME or name of the data set.
    position : (float, float, float, float) or None
        Unit vector of the middle of the plane on the sky, and its half width in radians.
    fingerprint : tuple of float
        Projections of the pixels; alike for pixels that are equal up to rounding and unit.
    channel_names : tuple of str
        Names of the channels of an HDF5 stack, when an attribute gives them.
    """

    plane: Plane
    ordinal: int = 0
    planes_of_hdu: int = 1
    object_name: str = ""
    filter_name: str = ""
    extension: str = ""
    position: tuple[float, float, float, float] | None = None
    fingerprint: tuple[float, ...] = ()
    channel_names: tuple[str, ...] = ()


def scan_fits(
    path: Path, *, saturation: float | None, weights: WeightSource | None = None
) -> Iterator[Candidate | Reject]:
    """Yield the planes of the images of a FITS file; pixels are not read.

    Parameters
    ----------
    path : Path
        The file.
    saturation : float, optional
        Replaces the SATURATE card.
    weights : WeightSource, optional
        Where weight maps are; images without one are rejected.
    """
    try:
        with open_fits(path) as file:
            images = [hdu for hdu in file.hdus if hdu.kind in ("image", "compressed-image")]
            primary = file.hdus[0]
            if not images:
                yield Reject(str(path), "no image", "only tables or empty HDUs")
            ordinal = 0
            for hdu in images:
                name = hdu.name.strip().upper()
                if _AUXILIARY.fullmatch(name):
                    yield Reject(f"{path}[{hdu.index}]", "not the sky", f"EXTNAME {name}")
                    continue
                if weights is not None and weights.is_extension(hdu):
                    continue
                maps = {}
                if weights is not None:
                    try:
                        maps = find_fits_map(weights, hdu, file, path)
                    except DataError as err:
                        yield Reject(f"{path}[{hdu.index}]", NO_WEIGHTS, str(err))
                        continue
                for candidate in _planes_of(hdu, primary, path, saturation):
                    plane = candidate.plane
                    plane = replace(plane, weights=maps.get(plane.address.plane))
                    yield replace(candidate, plane=plane, ordinal=ordinal)
                    ordinal += 1
    except (AstroVQError, OSError) as err:
        yield Reject(str(path), "unreadable", str(err))


def _planes_of(
    hdu: FitsHDU, primary: FitsHDU, path: Path, saturation: float | None
) -> Iterator[Candidate]:
    shape = (int(hdu.plane_shape[0]), int(hdu.plane_shape[1]))
    card = _card(hdu, primary, "SATURATE")
    if saturation is None and isinstance(card, int | float) and math.isfinite(card) and card > 0:
        saturation = float(card)
    object_name, filter_name = (_card(hdu, primary, name) for name in ("OBJECT", "FILTER"))
    for number in range(hdu.n_planes):
        address = PlaneAddress(path, hdu.index, number)
        yield Candidate(
            Plane(address, shape, Scaling(0.0, 1.0), saturation),
            planes_of_hdu=hdu.n_planes,
            object_name=str(object_name or "").strip(),
            filter_name=str(filter_name or "").strip(),
            extension=hdu.name.strip(),
            position=_position(hdu.header, shape),
        )


def scan_hdf5(
    name: str, *, saturation: float | None, weights: WeightSource | None = None
) -> Iterator[Candidate | Reject]:
    """Yield the channels of the cutouts of ``FILE`` or ``FILE::DATASET``; pixels are not read.

    Object ids come from a data set of one axis beside the stack, of as many rows, that is called
    object, object_id, id, name or alike.
    """
    try:
        stacks = open_hdf5(name)
        if weights is not None:
            maps = {weights.dataset_of(stack) for stack in stacks}
            stacks = [stack for stack in stacks if stack.dataset not in maps]
        for stack in stacks:
            map_name = ""
            if weights is not None:
                try:
                    map_name = find_stack_map(weights, stack)
                except DataError as err:
                    yield Reject(f"{stack.path}::{stack.dataset}", NO_WEIGHTS, str(err))
                    continue
            count, channels, height, width = stack.shape
            identifiers = _object_ids(Path(stack.path), stack.dataset, count)
            names = _channel_names(stack.attributes, channels)
            for row in range(count):
                for channel in range(channels):
                    address = PlaneAddress(Path(stack.path), stack.dataset, row, channel)
                    noise = None
                    if weights is not None:
                        noise = WeightMap(replace(address, part=map_name), weights.kind)
                    yield Candidate(
                        Plane(
                            address, (height, width), Scaling(0.0, 1.0), saturation, weights=noise
                        ),
                        ordinal=row,
                        planes_of_hdu=channels,
                        object_name=identifiers[row] if identifiers else "",
                        extension=stack.dataset.rsplit("/", 1)[-1],
                        channel_names=names,
                    )
    except (AstroVQError, OSError) as err:
        yield Reject(name, "unreadable", str(err))


def measure(candidate: Candidate, reader: PlaneReader, *, min_side: int) -> Candidate | Reject:
    """Read a plane, or bands of rows of a large one, and measure its scaling and fingerprint."""
    plane = candidate.plane
    height, width = plane.shape
    name = str(plane.address)
    if min(height, width) < min_side:
        return Reject(name, "too small", f"{height} x {width}, the least is {min_side}")
    try:
        values = _sample(plane, plane.address, reader)
        maps = plane.weights
        weights = None if maps is None else _sample(plane, maps.address, reader)
    except (AstroVQError, OSError) as err:
        return Reject(name, "unreadable", str(err))
    if maps is not None and weights is not None:
        noise = noise_of(np.asarray(weights, dtype=np.float64), maps)
        values = np.where(np.isfinite(noise), values, np.nan)
    finite = np.isfinite(values)
    if not finite.any():
        return Reject(name, "no finite pixel")
    if values[finite].min() == values[finite].max():
        return Reject(name, "constant", f"all pixels are {float(values[finite][0]):g}")
    plane = replace(plane, filling=_filling(values[finite]))
    valid = plane.mask(values)
    if plane.saturation is not None and valid.sum() < 0.5 * finite.sum():
        plane = replace(plane, saturation=None)  # a card in another unit than the pixels
        valid = plane.mask(values)
    if valid.mean() < _MIN_VALID:
        return Reject(name, "too few valid pixels", f"{100 * valid.mean():.2g} per cent")
    sky = sky_statistics(values, mask=valid)
    if sky.sigma == 0:
        return Reject(name, "constant", f"all unsaturated pixels are {sky.level:g}")
    scaling = Scaling.measure(values, sky=sky)
    if maps is not None and maps.kind == "relative":
        usual = float(np.median(noise[valid]))
        plane = replace(plane, weights=replace(maps, factor=scaling.sigma / usual))
    largest = float(np.abs(scaling.forward(values[valid])).max())
    if largest > LARGEST_SCALED:
        return Reject(name, "implausible values", f"up to exp({largest:.0f}) sigma from the sky")
    return replace(
        candidate,
        plane=replace(plane, scaling=scaling),
        fingerprint=_fingerprint(np.where(valid, scaling.forward(values), 0.0)),
    )


def _filling(values: NDArray[Any]) -> float | None:
    """Return the magnitude from which on finite values stand for missing ones.

    They do when that magnitude, of either sign, lies far beyond all others.
    """
    magnitudes = np.abs(values)
    largest = float(magnitudes.max())
    others = magnitudes[magnitudes < largest]
    if largest < _FILLING or others.size == 0 or float(others.max()) > 1e-10 * largest:
        return None
    return largest


def _fingerprint(scaled: NDArray[Any]) -> tuple[float, ...]:
    """Return random projections of pixels (H, W) in network units, of unit variance for noise.

    Each projection is a bilinear form with signs that depend on nothing but the shape, so that
    two copies of an image agree, and two images of independent noise differ by about one.
    """
    height, width = scaled.shape
    rng = np.random.default_rng(_FINGERPRINTS)
    left = rng.choice([-1.0, 1.0], (_FINGERPRINTS, height))
    right = rng.choice([-1.0, 1.0], (_FINGERPRINTS, width))
    spread = max(float(scaled.std()), 1e-12) * math.sqrt(scaled.size)
    projections = ((left @ scaled) * right).sum(axis=1) / spread
    return tuple(float(value) for value in projections)


def _sample(plane: Plane, address: PlaneAddress, reader: PlaneReader) -> NDArray[Any]:
    """Return what lies at an address, or bands of its rows (four at least), stacked."""
    height, width = plane.shape
    if height * width <= SAMPLE_PIXELS:
        return reader.read(address, plane.shape, slice(0, height), slice(0, width))
    rows = max(1, min(64, SAMPLE_PIXELS // (4 * width)))
    count = max(4, SAMPLE_PIXELS // (rows * width))
    starts = np.unique(np.linspace(0, height - rows, count).astype(int) if height > rows else [0])
    bands = [slice(int(start), min(int(start) + rows, height)) for start in starts]
    return np.concatenate(
        [reader.read(address, plane.shape, band, slice(0, width)) for band in bands]
    )


def _card(hdu: FitsHDU, primary: FitsHDU, name: str) -> str | float | None:
    """Return a card of an HDU, or else of the primary HDU; None when unreadable or missing."""
    for header in (hdu.header, primary.header):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged cards are no concern here
            try:
                value = header.get(name)
            except ValueError:  # astropy's VerifyError is one
                continue
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return value
    return None


def _position(header: Any, shape: tuple[int, int]) -> tuple[float, float, float, float] | None:  # noqa: ANN401
    """Return the direction of the middle of a plane, and its half width in radians."""
    if not any(str(header.get(f"CTYPE{axis}", "")).strip() for axis in (1, 2)):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, naxis=2)
            if not wcs.has_celestial:
                return None
            middle = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
            near = (middle[0] + 0.5, middle[1])
            sky = wcs.pixel_to_world([middle[0], near[0]], [middle[1], near[1]])
            sky = sky.icrs if hasattr(sky, "icrs") else sky
            x, y, z = (float(c[0]) for c in sky.cartesian.xyz.value)
            scale = 2 * float(sky[0].separation(sky[1]).rad)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
            return None  # no position can be told from damaged or unknown coordinates
    half = 0.5 * min(shape) * scale
    if not (math.isfinite(x + y + z) and 0 < half < _WIDEST):
        return None
    return x, y, z, half


def _object_ids(path: Path, dataset: str, count: int) -> list[str]:
    """Return the ids that stand beside a stack, or nothing."""
    with h5py.File(path, "r") as file:
        group = file[dataset].parent
        for name in group:
            column = group[name]
            if name.lower() in _ID_NAMES and getattr(column, "shape", ()) == (count,):
                values = (
                    column.asstr(errors="replace")[:]
                    if h5py.check_string_dtype(column.dtype)
                    else column[:]
                )
                return [str(value) for value in values]
    return []


def _channel_names(attributes: Any, channels: int) -> tuple[str, ...]:  # noqa: ANN401
    """Return the names of the channels when an attribute bands, filters or channels has them."""
    for key in ("bands", "filters", "channels"):
        value = attributes.get(key)
        if value is None:
            continue
        parts = value.replace(",", " ").split() if isinstance(value, str) else list(value)
        names = tuple(p.decode() if isinstance(p, bytes) else str(p) for p in parts)
        if len(names) == channels:
            return names
    return ()
