"""Fluxes of sources in what a model makes of frames, against those in the frames themselves."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.planes import Plane, PlaneReader
from astro_vq.data.scaling import Scaling
from astro_vq.errors import DataError
from astro_vq.metrics.photometry import SNR_BINS, Catalogue, compare_sources, make_catalogue
from astro_vq.models import Model

FloatArray = NDArray[np.float64]

FRAME_SIDE = 512
"""Largest side, in pixels, of the piece of an image that fluxes are measured on."""

MAD_TO_SIGMA = 1.4826


class Frame(NamedTuple):
    """A piece of an image with sources in at least one channel.

    Attributes
    ----------
    pixels : ndarray of float64, shape (C, H, W)
        Unit of the image, NaN where masked.
    scalings : list of Scaling
        Of each channel.
    catalogues : list of Catalogue or None
        Sources of each channel.
    """

    pixels: FloatArray
    scalings: list[Scaling]
    catalogues: list[Catalogue | None]


class FluxBin(NamedTuple):
    """Flux errors of sources in a range of significance; see `FluxErrors`."""

    low: float
    high: float
    number: int
    bias: float
    scatter: float


class FluxErrors(NamedTuple):
    """Aperture fluxes in reconstructions less those in the images, in units of their errors.

    An error is what the noise of the image does to the flux of the source. A model that takes
    the noise away and nothing else has bias 0 and scatter near 1.

    Attributes
    ----------
    frames, sources : int
        Pieces of images, and sources in them that could be measured.
    bias, scatter : float
        Median of the differences, and 1.4826 times their median absolute deviation.
    percentile_90 : float
        Of absolute differences.
    found : float
        Share of the sources that are detected in the reconstruction at the same threshold.
    bins : tuple of FluxBin
        By significance of the source; ranges without any are left out.
    """

    frames: int
    sources: int
    bias: float
    scatter: float
    percentile_90: float
    found: float
    bins: tuple[FluxBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; an open range has None as its end."""
        bins = [
            b._asdict() | {"high": b.high if math.isfinite(b.high) else None} for b in self.bins
        ]
        return self._asdict() | {"bins": bins}


def choose_frames(index: CutoutIndex, most: int) -> list[Frame]:
    """Return pieces of images that have sources, spread over an index.

    Parameters
    ----------
    index : CutoutIndex
        The images.
    most : int
        Most pieces; the largest images come first.
    """
    largest = sorted(index.images, key=lambda image: -min(image.area, FRAME_SIDE**2))
    reader, frames = PlaneReader(), []
    for image in largest[:most]:
        frame = _read_frame(image.planes, image.shape, reader)
        if any(catalogue is not None for catalogue in frame.catalogues):
            frames.append(frame)
    reader.close()
    return frames


def _read_frame(planes: tuple[Plane, ...], shape: tuple[int, int], reader: PlaneReader) -> Frame:
    ys, xs = (slice(max(n - FRAME_SIDE, 0) // 2, (n + min(n, FRAME_SIDE)) // 2) for n in shape)
    pixels: list[FloatArray] = []
    catalogues: list[Catalogue | None] = []
    for plane in planes:
        values = np.asarray(reader.read(plane.address, shape, ys, xs), dtype=np.float64)
        values = np.where(plane.mask(values), values, np.nan)
        pixels.append(values)
        try:
            catalogue = make_catalogue(values)
        except DataError:  # no pixel is finite
            catalogues.append(None)
            continue
        catalogues.append(catalogue if np.isfinite(catalogue.measured.flux).any() else None)
    return Frame(np.stack(pixels), [plane.scaling for plane in planes], catalogues)


@torch.no_grad()
def measure_fluxes(model: Model, frames: list[Frame]) -> FluxErrors | None:
    """Measure sources of frames in their reconstructions.

    Parameters
    ----------
    model : Model
        In evaluation mode, of any size of image.
    frames : list of Frame
        What `choose_frames` gave.

    Returns
    -------
    FluxErrors or None
        None where no source can be measured.
    """
    differences, significances = [], []
    sources = lost = 0
    for frame in frames:
        decoded = _reconstruct(model, frame)
        for channel, catalogue in enumerate(frame.catalogues):
            if catalogue is None:
                continue
            change = compare_sources(catalogue, decoded[channel])
            differences.append(change.differences["flux"])
            significances.append(change.snr)
            sources += change.sources
            lost += change.lost
    values = np.concatenate([*differences, np.empty(0)])
    snr = np.concatenate([*significances, np.empty(0)])
    usable = np.isfinite(values)
    values, snr = values[usable], snr[usable]
    if not values.size:
        return None
    bias, scatter = _bias_and_scatter(values)
    bins = []
    for low, high in itertools.pairwise(SNR_BINS):
        inside = values[(snr >= low) & (snr < high)]
        if inside.size:
            bins.append(FluxBin(low, high, inside.size, *_bias_and_scatter(inside)))
    return FluxErrors(
        frames=len(frames),
        sources=values.size,
        bias=bias,
        scatter=scatter,
        percentile_90=float(np.quantile(np.abs(values), 0.9)),
        found=1 - lost / sources,
        bins=tuple(bins),
    )


def _bias_and_scatter(values: FloatArray) -> tuple[float, float]:
    median = float(np.median(values))
    return median, MAD_TO_SIGMA * float(np.median(np.abs(values - median)))


def _reconstruct(model: Model, frame: Frame) -> FloatArray:
    """Return the mean image (C, H, W) in the unit of the frame, NaN where it has NaN."""
    scaled = np.stack(
        [s.forward(plane) for s, plane in zip(frame.scalings, frame.pixels, strict=True)]
    )
    first = next(model.parameters())
    pixels = torch.from_numpy(np.nan_to_num(scaled, nan=0.0))[None].to(first.device)
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels, (0, -width % model.stride, 0, -height % model.stride))
    mean = model.reconstruct(padded)[0, :, :height, :width].float().cpu().numpy()
    decoded = np.stack([s.inverse(plane) for s, plane in zip(frame.scalings, mean, strict=True)])
    return np.where(np.isfinite(frame.pixels), decoded, np.nan)
