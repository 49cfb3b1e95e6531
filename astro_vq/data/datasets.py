"""Cutouts of images as tensors for training: crops, masks, network units, turns and flips."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.planes import CACHE_BYTES, Plane, PlaneReader
from astro_vq.data.weights import network_noise, read_noise

_TRIES = 8  # places looked at for one crop
_ENOUGH_VALID = 0.5  # of the pixels of a crop; places with fewer are passed over
_BRIGHT_SIGMA = 5.0  # pixels this far above the sky
_BRIGHT_PIXELS = 5  # as many of them are something


class Batch(NamedTuple):
    """Cutouts of one batch.

    Attributes
    ----------
    pixels : Tensor (B, C, H, W)
        float32, network units (`astro_vq.data.scaling.Scaling`); 0 where masked.
    mask : Tensor (B, C, H, W)
        bool, True where a pixel counts: it exists, is finite, and is not saturated.
    sky, sigma : Tensor (B, C)
        float64, parameters of the scaling of each plane, in the unit of the image.
    scale : Tensor (B, C, H, W) or None
        float32, noise of each pixel by its weight map, network units (1 where masked); None where
        images have no weight maps.
    """

    pixels: Tensor
    mask: Tensor
    sky: Tensor
    sigma: Tensor
    scale: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device; sky and sigma become float32 where float64 is unknown."""
        where = torch.device(device)
        exact = torch.float32 if where.type == "mps" else torch.float64
        return Batch(
            self.pixels.to(where, non_blocking=non_blocking),
            self.mask.to(where, non_blocking=non_blocking),
            self.sky.to(where, exact, non_blocking=non_blocking),
            self.sigma.to(where, exact, non_blocking=non_blocking),
            None if self.scale is None else self.scale.to(where, non_blocking=non_blocking),
        )


def collate(items: Sequence[dict[str, Tensor]]) -> Batch:
    """Stack items of a `CutoutDataset` into a batch."""
    return Batch(**{name: torch.stack([item[name] for item in items]) for name in items[0]})


class _Crop(NamedTuple):
    """Network units, mask, and noise where there are weight maps, each (C, S, S)."""

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    scale: NDArray[np.float32]


class CutoutDataset(Dataset[dict[str, Tensor]]):
    """Square cutouts of the images of an index.

    An image gets as many crops in an epoch as its area has cutouts, one at least and
    `crops_per_image` at most, at places drawn anew in each epoch.  Places with less than half of
    the pixels valid are passed over when others are found.  For a share `source_fraction` of
    crops, eight places at most are looked at, and the first taken that holds something: five
    pixels more than five sigma above the sky.  Images smaller than a cutout stand in the middle
    of one, the rest masked.

    An item depends on nothing but seed, epoch and its number, so that data can be read by any
    number of workers, and a run resumed, with the same result.

    Parameters
    ----------
    index : CutoutIndex
        The images.
    size : int
        Side of the cutouts in pixels.
    bands : sequence of str, optional
        Channels to give, of those the index has, in this order; all when not given.
    augment : bool
        Turn by multiples of a right angle and flip at random.
    crops_per_image : int
        Most crops of one image in an epoch.
    source_fraction : float
        Share of crops, in [0, 1], that shall hold something above the noise, if there is.
    seed : int
        Of places, turns and flips.
    cache_bytes : int
        Bound of the decoded planes that each worker keeps.

    Raises
    ------
    ValueError
        For an impossible value, or a band that the index does not have.
    """

    def __init__(
        self,
        index: CutoutIndex,
        *,
        size: int,
        bands: Sequence[str] | None = None,
        augment: bool = False,
        crops_per_image: int = 64,
        source_fraction: float = 0.5,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if size < 1 or crops_per_image < 1:
            raise ValueError(
                f"size and crops_per_image must be positive, got {size} and {crops_per_image}"
            )
        if not 0 <= source_fraction <= 1:
            raise ValueError(f"source_fraction must lie between 0 and 1, got {source_fraction}")
        if not index.images:
            raise ValueError("the index has no image")
        unknown = [band for band in bands or () if band not in index.bands]
        if unknown:
            known = ", ".join(index.bands) or "none"
            raise ValueError(f"the index has no band {', '.join(unknown)}; it has {known}")
        self.index = index
        self.size = size
        self.augment = augment
        self.source_fraction = source_fraction
        self.seed = seed
        self.epoch = 0
        names = index.bands if bands is None else tuple(bands)
        self.bands = names
        self._channels = [index.bands.index(name) for name in names] or [0]
        crops = [image.area // (size * size) for image in index.images]
        self._ends = np.cumsum(np.clip(crops, 1, crops_per_image))
        self._reader = PlaneReader(cache_bytes=cache_bytes)
        self._has_weights = index.has_weights

    @property
    def channels(self) -> int:
        """Channels of each item."""
        return len(self._channels)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of items that are asked for without one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.item(i, epoch=self.epoch)

    def image_of(self, i: int) -> int:
        """Return the number of the image, within the index, that item `i` is cut from."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of {len(self)}")
        return int(np.searchsorted(self._ends, i % len(self), side="right"))

    def item(self, i: int, *, epoch: int) -> dict[str, Tensor]:
        """Return one cutout.

        Parameters
        ----------
        i : int
            Number of the item.
        epoch : int
            Epoch, not negative.

        Returns
        -------
        dict
            ``pixels`` (C, S, S) float32 in network units, 0 where masked; ``mask`` (C, S, S) bool,
            True where a pixel counts; ``sky`` and ``sigma`` (C,) float64; with weight maps
            ``scale`` (C, S, S) float32, the noise in network units, 1 where masked.
        """
        image = self.index.images[self.image_of(i)]
        planes = [image.planes[channel] for channel in self._channels]
        rng = np.random.default_rng([self.seed, epoch, i % len(self)])
        crop = self._crop(planes, image.shape, rng)
        arrays = {"pixels": crop.pixels, "mask": crop.mask}
        if self._has_weights:
            arrays["scale"] = crop.scale
        if self.augment:
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            for name, values in arrays.items():
                turned = np.rot90(values, turns, axes=(1, 2))
                arrays[name] = turned[:, :, ::-1] if flip else turned
        return {
            **{n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in arrays.items()},
            "sky": torch.tensor([plane.scaling.sky for plane in planes], dtype=torch.float64),
            "sigma": torch.tensor([plane.scaling.sigma for plane in planes], dtype=torch.float64),
        }

    def _crop(
        self, planes: Sequence[Plane], shape: tuple[int, int], rng: np.random.Generator
    ) -> _Crop:
        """Return the best of some places."""
        want_source = rng.random() < self.source_fraction
        room = [max(n - self.size, 0) + 1 for n in shape]
        covered = np.prod([min(n, self.size) for n in shape]) / self.size**2
        best: _Crop | None = None
        best_score = -1.0
        for _ in range(_TRIES if max(room) > 1 else 1):
            y, x = (int(rng.integers(n)) for n in room)
            crop = self._read(planes, shape, y, x)
            score = min(float(crop.mask.mean() / covered), _ENOUGH_VALID)
            if score == _ENOUGH_VALID:
                bright = np.count_nonzero(crop.pixels > np.arcsinh(_BRIGHT_SIGMA))
                score += not want_source or bright >= _BRIGHT_PIXELS
            if score > best_score:
                best, best_score = crop, score
            if best_score > 1:
                break
        if best is None:
            raise RuntimeError("no place was looked at")
        return best

    def _read(self, planes: Sequence[Plane], shape: tuple[int, int], y: int, x: int) -> _Crop:
        """Return the cutout whose corner is at y, x."""
        ys, xs = slice(y, min(y + self.size, shape[0])), slice(x, min(x + self.size, shape[1]))
        ny, nx = ys.stop - ys.start, xs.stop - xs.start
        top, left = (self.size - ny) // 2, (self.size - nx) // 2
        inside = (slice(top, top + ny), slice(left, left + nx))
        pixels = np.zeros((len(planes), self.size, self.size), dtype=np.float32)
        mask = np.zeros(pixels.shape, dtype=np.bool_)
        scale = np.ones_like(pixels) if self._has_weights else pixels
        for channel, plane in enumerate(planes):
            values: NDArray[Any] = self._reader.read(plane.address, shape, ys, xs)
            valid = plane.mask(values)
            noise = read_noise(plane, self._reader, ys, xs)
            if noise is not None:
                valid &= np.isfinite(noise)
                relative = network_noise(values, noise, plane.scaling)
                scale[channel][inside] = np.where(valid, relative, 1.0)
            scaled = plane.scaling.forward(np.where(valid, values, plane.scaling.sky))
            mask[channel][inside] = valid
            pixels[channel][inside] = np.where(valid, scaled, 0.0)
        return _Crop(pixels, mask, scale)
