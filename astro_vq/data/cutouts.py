"""The images that a data set is made of: found, measured, stacked by band, grouped, and split."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from astro_vq.config import DataConfig
from astro_vq.data.bands import stack_bands
from astro_vq.data.groups import group_images
from astro_vq.data.planes import Plane, PlaneReader
from astro_vq.data.scan import Candidate, Reject, measure, scan_fits, scan_hdf5
from astro_vq.data.weights import WeightSource
from astro_vq.errors import DataError
from astro_vq.io.image import find_images

logger = logging.getLogger(__name__)

MIN_SIDE = 8
"""Images with a side shorter than this, in pixels, are left out."""

LARGEST_AREA = 2**22
"""Pixels of an image that count in a split; larger ones weigh no more."""


@dataclass(frozen=True)
class CutoutImage:
    """An image to cut from: one plane a channel, all of one size.

    Attributes
    ----------
    planes : tuple of Plane
        In the order of the bands.
    group : int
        Images of one group show the same sky and stay together.
    """

    planes: tuple[Plane, ...]
    group: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.planes[0].shape

    @property
    def area(self) -> int:
        """Pixels of one plane."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class CutoutIndex:
    """The usable images of folders and HDF5 files, and what was left out and why.

    Make one with `build` or `from_config`.  Small enough to be copied into workers.

    Attributes
    ----------
    images : tuple of CutoutImage
        In a fixed order.
    bands : tuple of str
        Names of the channels; empty for images of one unnamed band.
    rejects : tuple of Reject
        What was left out.
    """

    images: tuple[CutoutImage, ...]
    bands: tuple[str, ...] = ()
    rejects: tuple[Reject, ...] = ()

    @classmethod
    def build(
        cls,
        fits_dir: Sequence[str | Path] = (),
        hdf5: Sequence[str | Path] = (),
        *,
        bands: Sequence[str] = (),
        saturation: float | None = None,
        weights: WeightSource | None = None,
        min_side: int = MIN_SIDE,
        progress: Callable[[str], None] | None = None,
    ) -> Self:
        """Find and measure all images; each file is read once.

        Parameters
        ----------
        fits_dir : sequence of path-like
            Folders, searched with all below them, or single files.
        hdf5 : sequence of path-like
            ``FILE`` or ``FILE::DATASET``.
        bands : sequence of str
            Bands to stack as channels (see `astro_vq.data.bands`); without any, each plane is an
            image of one channel, each channel of an HDF5 stack too.
        saturation : float, optional
            Pixels at or above this value, in the unit of the image, are masked; otherwise the
            SATURATE card of a file says so, if it has one.
        weights : WeightSource, optional
            Where the weight maps of the images are; images without one are left out.
        min_side : int
            Images with a shorter side are left out.
        progress : callable, optional
            Called with the name of each file.

        Returns
        -------
        CutoutIndex

        Raises
        ------
        DataError
            When nothing can be used; the message says what was left out and why.
        FileNotFoundError
            When a folder or file does not exist.
        ValueError
            When a band is named twice, or neither folder nor file is given.
        """
        if len(set(bands)) != len(bands):
            raise ValueError(f"each band can be given once, got {', '.join(bands)}")
        if not fits_dir and not hdf5:
            raise ValueError("no data: give a folder of FITS files (fits_dir) or an HDF5 file")
        reader = PlaneReader(open_files=1)
        rejects: list[Reject] = []
        usable: list[Candidate] = []
        for name, found in _scan(fits_dir, hdf5, saturation, weights):
            if progress is not None:
                progress(name)
            for item in found:
                made = item
                if isinstance(made, Candidate):
                    made = measure(made, reader, min_side=min_side)
                if isinstance(made, Reject):
                    rejects.append(made)
                    logger.info("left out %s: %s %s", *made)
                else:
                    usable.append(made)
        reader.close()
        stacks, unmatched = stack_bands(usable, bands)
        groups = group_images(stacks)
        images = tuple(
            CutoutImage(tuple(c.plane for c in stack), group)
            for stack, group in zip(stacks, groups, strict=True)
        )
        index = cls(images, tuple(bands), (*rejects, *unmatched))
        if not images:
            raise DataError(f"no image can be used: {index.report()}")
        return index

    @classmethod
    def from_config(
        cls, config: DataConfig, *, progress: Callable[[str], None] | None = None
    ) -> Self:
        """Find and measure the images of a configuration; see `build`."""
        return cls.build(
            config.fits_dir,
            config.hdf5,
            bands=config.bands,
            saturation=config.saturation,
            weights=None
            if config.weights is None
            else WeightSource(config.weights, config.weight_kind),
            progress=progress,
        )

    @property
    def channels(self) -> int:
        """Channels of each image."""
        return len(self.bands) or 1

    @property
    def has_weights(self) -> bool:
        """Whether all images have weight maps."""
        return all(plane.weights is not None for image in self.images for plane in image.planes)

    @property
    def groups(self) -> tuple[int, ...]:
        """Numbers of the groups that have images, ascending."""
        return tuple(sorted({image.group for image in self.images}))

    @property
    def reject_counts(self) -> dict[str, int]:
        """Number of rejects for each reason, the most frequent first."""
        return dict(Counter(reject.reason for reject in self.rejects).most_common())

    def report(self) -> str:
        """Return one paragraph for people: what is used, what was left out and why."""
        files = {plane.address.path for image in self.images for plane in image.planes}
        text = f"{len(self.images)} images of {len(files)} files in {len(self.groups)} groups"
        if self.images:
            pixels = sum(image.area for image in self.images)
            text += f", {pixels / 1e6:.3g} Mpixel"
        if self.bands:
            text += f", bands {', '.join(self.bands)}"
        if self.rejects:
            reasons = []
            for reason, count in self.reject_counts.items():
                example = next(reject for reject in self.rejects if reject.reason == reason)
                detail = f": {example.detail}" if example.detail else ""
                reasons.append(f"{count} {reason} (such as {example.source}{detail})")
            text += f"; left out {len(self.rejects)}: " + "; ".join(reasons)
        return text

    def split(self, fraction: float, *, seed: int = 0) -> tuple["CutoutIndex", "CutoutIndex"]:
        """Split into training and validation, whole groups only.

        Groups are taken in an order drawn by `seed` into validation while they fit into
        `fraction` of all pixels (of each image, four million at most); one always goes there,
        and one always stays.

        Parameters
        ----------
        fraction : float
            Share of validation, in (0, 1).
        seed : int
            Of the order.

        Returns
        -------
        CutoutIndex, CutoutIndex
            Training (with the rejects) and validation.

        Raises
        ------
        ValueError
            When `fraction` is not in (0, 1).
        DataError
            When all images belong to one group.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"the validation fraction must lie between 0 and 1, got {fraction}")
        groups = self.groups
        if len(groups) < 2:
            raise DataError(
                f"all {len(self.images)} images show the same sky or come from one file, so that "
                "none can be kept for validation; give a second file of another field"
            )
        weights = Counter[int]()
        for image in self.images:
            weights[image.group] += min(image.area, LARGEST_AREA)
        order = np.random.default_rng(seed).permutation(groups).tolist()
        room = fraction * weights.total()
        chosen: set[int] = set()
        for group in order:
            if len(chosen) < len(groups) - 1 and weights[group] <= room:
                chosen.add(group)
                room -= weights[group]
        if not chosen:
            chosen = {min(order, key=lambda group: weights[group])}
        kept = tuple(image for image in self.images if image.group not in chosen)
        held_out = tuple(image for image in self.images if image.group in chosen)
        return (
            CutoutIndex(kept, self.bands, self.rejects),
            CutoutIndex(held_out, self.bands),
        )


def _scan(
    fits_dir: Sequence[str | Path],
    hdf5: Sequence[str | Path],
    saturation: float | None,
    weights: WeightSource | None,
) -> Iterable[tuple[str, Iterable[Candidate | Reject]]]:
    """Yield each file once, and what it holds."""
    seen = set()
    for folder in map(Path, fits_dir):
        if not folder.exists():
            raise FileNotFoundError(f"{folder} does not exist")
        paths = find_images(folder) if folder.is_dir() else [folder]
        if weights is not None and weights.is_file:
            maps = {weights.file_of(path) for path in paths}
            paths = [path for path in paths if path not in maps]
        for path in paths:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield str(path), scan_fits(path, saturation=saturation, weights=weights)
    for name in map(str, hdf5):
        if not Path(name.partition("::")[0]).exists():
            raise FileNotFoundError(f"{name.partition('::')[0]} does not exist")
        yield name, scan_hdf5(name, saturation=saturation, weights=weights)
