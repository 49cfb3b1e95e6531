"""Weight maps: what the noise of each pixel is, from planes that stand beside those of images.

A weight map of a FITS image is an extension of its file, or a file of its own beside it; that of
an HDF5 stack another data set of its file. Where a map holds no positive finite number, the pixel
of the image does not count.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from astro_vq.data.planes import Plane, PlaneAddress, PlaneReader, WeightMap
from astro_vq.data.scaling import Scaling
from astro_vq.errors import AstroVQError, DataError
from astro_vq.io.fits import FitsFile, FitsHDU, open_fits
from astro_vq.io.hdf5 import Hdf5Stack, open_hdf5
from astro_vq.io.names import is_fits_name

FloatArray = NDArray[np.float64]

WeightKind = Literal["inverse-variance", "relative", "variance", "sigma"]
"""What the numbers of a map are, in the unit of its image; 'relative' is an inverse variance up to
a factor (such as an exposure time), which is then the one that the noise of the sky asks for."""

FAR = 3.0
"""Pixels further than this from the sky, in units of their own noise, hold light."""

_IMAGES = ("image", "compressed-image")
_PACKINGS = ("", ".fz", ".gz", ".bz2")


@dataclass(frozen=True)
class WeightSource:
    """Where weight maps are, and what they hold.

    Attributes
    ----------
    name : str
        EXTNAME of an extension of the image's file, or name of a data set of the same HDF5 file;
        with ``*``, which stands for the name of the image's file without its ending (of the data
        set), a file beside it: ``*.weight.fits``.
    kind : WeightKind
        What the numbers are.

    Raises
    ------
    ValueError
        The kind is unknown, or the name is empty.
    """

    name: str
    kind: WeightKind = "inverse-variance"

    def __post_init__(self) -> None:
        if self.kind not in get_args(WeightKind):
            kinds = ", ".join(get_args(WeightKind))
            raise ValueError(f"weights must be one of {kinds}, got {self.kind!r}")
        if not self.name.strip():
            raise ValueError("the name of the weight maps is empty; give one such as WHT")

    @property
    def is_file(self) -> bool:
        """Whether the map of a FITS image is a file of its own."""
        return "*" in self.name

    def file_of(self, image: Path) -> Path | None:
        """Return the file of the map of an image, packed or not; None where there is none."""
        stem = image.name
        while is_fits_name(stem):
            stem = stem.rpartition(".")[0]
        named = image.parent / self.name.replace("*", stem)
        for packing in _PACKINGS:
            path = named.with_name(named.name + packing)
            if path != image and path.is_file():
                return path
        return None

    def is_extension(self, hdu: FitsHDU) -> bool:
        """Say whether an HDU of an image's own file is a map."""
        return not self.is_file and hdu.name.strip().upper() == self.name.strip().upper()

    def dataset_of(self, stack: Hdf5Stack) -> str:
        """Return the name of the data set of the maps of a stack."""
        group, _, last = stack.dataset.rpartition("/")
        name = self.name.replace("*", last).strip("/")
        return name if "/" in name or not group else f"{group}/{name}"


def find_fits_map(
    source: WeightSource, image: FitsHDU, file: FitsFile, path: Path
) -> dict[int, WeightMap]:
    """Return the map of each plane of an image HDU.

    Parameters
    ----------
    source : WeightSource
        Where to look.
    image : FitsHDU
        The image.
    file : FitsFile
        Its file, open.
    path : Path
        The name of it.

    Raises
    ------
    DataError
        There is no map of the size of the image; the message is for a list of rejects.
    """
    if not source.is_file:
        found = [hdu for hdu in file.hdus if hdu.kind in _IMAGES and source.is_extension(hdu)]
        version = image.header.get("EXTVER", 1)
        same = [hdu for hdu in found if hdu.header.get("EXTVER", 1) == version]
        chosen = _fitting(image, same if len(found) > 1 else found, f"extension {source.name}")
        return _maps(source, image, chosen, path)
    other = source.file_of(path)
    if other is None:
        raise DataError(f"there is no file {source.name.replace('*', path.stem)}")
    with open_fits(other) as opened:
        found = [hdu for hdu in opened.hdus if hdu.kind in _IMAGES]
        same = [hdu for hdu in found if hdu.index == image.index]
        chosen = _fitting(image, found if len(found) == 1 else same, f"image in {other.name}")
        return _maps(source, image, chosen, other)


def _fitting(image: FitsHDU, found: list[FitsHDU], what: str) -> FitsHDU:
    if not found:
        raise DataError(f"there is no {what}")
    chosen = found[0]
    if chosen.plane_shape != image.plane_shape or chosen.n_planes not in (1, image.n_planes):
        raise DataError(f"the {what} is of shape {chosen.shape}, the image {image.shape}")
    return chosen


def _maps(
    source: WeightSource, image: FitsHDU, chosen: FitsHDU, path: Path
) -> dict[int, WeightMap]:
    planes = range(image.n_planes)
    return {
        n: WeightMap(PlaneAddress(path, chosen.index, n if chosen.n_planes > 1 else 0), source.kind)
        for n in planes
    }


def find_stack_map(source: WeightSource, stack: Hdf5Stack) -> str:
    """Return the name of the data set that holds the maps of a stack.

    Raises
    ------
    DataError
        There is none, or of another shape.
    """
    name = source.dataset_of(stack)
    try:
        (maps,) = open_hdf5(f"{stack.path}::{name}")
    except (AstroVQError, ValueError) as err:
        raise DataError(f"there is no data set {name} of weight maps ({err})") from err
    if maps.shape != stack.shape:
        raise DataError(f"data set {name} is of shape {maps.shape}, the images {stack.shape}")
    return name


def read_noise(plane: Plane, reader: PlaneReader, ys: slice, xs: slice) -> FloatArray | None:
    """Return the noise of a rectangle of a plane by its weight map, if it has one.

    Returns
    -------
    ndarray of float64 or None
        Standard deviations, unit of the image; NaN where the map says that a pixel does not count.
    """
    if plane.weights is None:
        return None
    values = np.asarray(reader.read(plane.weights.address, plane.shape, ys, xs), dtype=np.float64)
    return noise_of(values, plane.weights)


def noise_of(values: FloatArray, weights: WeightMap) -> FloatArray:
    """Return standard deviations of values of a map; NaN where they are not positive numbers."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if weights.kind == "sigma":
            sigma = values
        elif weights.kind == "variance":
            sigma = np.sqrt(values)
        else:
            sigma = 1 / np.sqrt(values)
        sigma = sigma * weights.factor
        return np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan)


def network_noise(values: FloatArray, noise: FloatArray, scaling: Scaling) -> FloatArray:
    """Return the noise of pixels in network units.

    With u the pixel less the sky and s its noise, both in sigma, network units are ``asinh(u)``.
    On the sky the result is the standard deviation of asinh of a normal number of deviation s
    (0.80 at s = 1). Where there is light the slope of asinh makes it smaller, in bright sources
    s / u. A pixel's own noise must not do that, or one that happens to be high would count for
    more: what counts as light is ``u**2`` less the square of `FAR` times s.

    Parameters
    ----------
    values, noise : ndarray
        Pixels and standard deviations, unit of the image.
    scaling : Scaling
        Of the plane.
    """
    relative = np.asarray(noise / scaling.sigma, dtype=np.float64)
    offset = (np.asarray(values, dtype=np.float64) - scaling.sky) / scaling.sigma
    light = np.maximum(offset**2 - (FAR * relative) ** 2, 0.0)
    with np.errstate(invalid="ignore"):
        compressed = np.interp(np.log(relative), _LOG_NOISE, _COMPRESSION)
    return np.asarray(relative / np.sqrt(compressed**2 + light), dtype=np.float64)


def _compression(relative: FloatArray) -> FloatArray:
    """Return s over the standard deviation of asinh of a normal number of deviation s."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    mapped = np.arcsinh(relative[:, None] * nodes)
    return np.asarray(relative / np.sqrt(mapped**2 @ weights / weights.sum()))


_LOG_NOISE = np.log(np.geomspace(1e-3, 1e3, 121))
_COMPRESSION = _compression(np.exp(_LOG_NOISE))
