"""The images of a run: those to train on, those to validate on, and what a card says of them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from astro_vq.config import DataConfig, RunConfig
from astro_vq.data.cutouts import CutoutImage, CutoutIndex
from astro_vq.data.datasets import Batch, CutoutDataset, collate
from astro_vq.errors import ConfigError, DataError
from astro_vq.training.card import DataSummary, SourceSummary

VALIDATION_EPOCHS = 8
"""Draws of the validation images, at most, that one validation looks at."""

KEPT_BYTES = 2**28
"""Validation batches are kept in memory up to this size, and read again beyond it."""


class TrainingData:
    """Cutouts for training and for validation, from images that do not show the same sky.

    Parameters
    ----------
    config : DataConfig
        Where images lie and how they are cut.
    training, validation : CutoutIndex
        The two parts.
    seed : int
        Seed of places and turns; validation cutouts are the same for every seed.

    Attributes
    ----------
    training, validation : CutoutDataset
        The cutouts; those for validation are not turned.
    """

    def __init__(
        self, config: DataConfig, training: CutoutIndex, validation: CutoutIndex, *, seed: int
    ) -> None:
        size = config.cutout_size
        self.training = CutoutDataset(training, size=size, augment=config.augment, seed=seed)
        self.validation = CutoutDataset(validation, size=size, augment=False, seed=0)
        self._roots = [Path(name.partition("::")[0]) for name in (*config.fits_dir, *config.hdf5)]
        self._kept: dict[tuple[int, int], list[Batch]] = {}

    @property
    def channels(self) -> int:
        """Bands of the images."""
        return self.training.channels

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the data before the run."""
        training, validation = self.training.index, self.validation.index
        everything = CutoutIndex(
            (*training.images, *validation.images), training.bands, training.rejects
        )
        return (
            everything.report(),
            f"training on {len(training.images)} images ({len(self.training)} cutouts an epoch), "
            f"validation on {len(validation.images)} images of other files or objects",
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What tells whether data are the same: counts, and a digest of names and scalings."""
        parts = [
            [[self._name(image), *image.shape, *_scalings(image)] for image in part.index.images]
            for part in (self.training, self.validation)
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return {"training": len(parts[0]), "validation": len(parts[1]), "digest": digest}

    def check_same(self, stored: dict[str, Any]) -> None:
        """Refuse data that are not those of the run to resume.

        Raises
        ------
        DataError
            Files were added, removed or changed since.
        """
        now = self.identity
        if stored.get("digest") != now["digest"]:
            raise DataError(
                "the images are not those that the run was started with "
                f"({stored.get('training')} for training and {stored.get('validation')} for "
                f"validation then, {now['training']} and {now['validation']} now, or changed "
                "ones); put them back, or start another run"
            )

    def validation_items(self, limit: int) -> list[tuple[int, int]]:
        """Return (epoch, item) of the cutouts of a validation, spread evenly over the images."""
        length = len(self.validation)
        count = min(limit, VALIDATION_EPOCHS * length)
        if count <= length:
            return [(0, number * length // count) for number in range(count)]
        return [divmod(number, length) for number in range(count)]

    def validation_batches(self, batch_size: int, *, limit: int) -> Iterator[Batch]:
        """Yield batches of validation cutouts, the same ones every time.

        Parameters
        ----------
        batch_size : int
            Cutouts in a batch; the last one may be smaller.
        limit : int
            Most cutouts.
        """
        key = batch_size, limit
        if key in self._kept:
            yield from self._kept[key]
            return
        items = self.validation_items(limit)
        kept: list[Batch] | None = []
        size = 0
        for start in range(0, len(items), batch_size):
            part = items[start : start + batch_size]
            batch = collate([self.validation.item(i, epoch=epoch) for epoch, i in part])
            size += sum(t.numel() * t.element_size() for t in batch if t is not None)
            if kept is not None:
                kept = [*kept, batch] if size <= KEPT_BYTES else None
            yield batch
        if kept is not None:
            self._kept[key] = kept

    def validation_images(self, *, limit: int) -> list[tuple[str, int]]:
        """Return name and group of the image of each cutout of `validation_batches`."""
        images = self.validation.index.images
        chosen = [images[self.validation.image_of(i)] for _, i in self.validation_items(limit)]
        return [(self._name(image), image.group) for image in chosen]

    @property
    def summary(self) -> DataSummary:
        """What the model card says of the data."""
        training, validation = self.training.index, self.validation.index
        sources: dict[str, list[CutoutImage]] = defaultdict(list)
        for image in (*training.images, *validation.images):
            address = image.planes[0].address
            folder = address.path if address.is_hdf5 else address.path.parent
            sources[self._shorten(str(folder))].append(image)
        rejects: dict[str, list[str]] = defaultdict(list)
        for reject in training.rejects:
            rejects[reject.reason].append(self._shorten(reject.source))
        return DataSummary(
            sources=[_summarise(name, images) for name, images in sorted(sources.items())],
            rejects=rejects,
            training=[self._name(image) for image in training.images],
            validation=[self._name(image) for image in validation.images],
            source_fraction=self.training.source_fraction,
        )

    def _name(self, image: CutoutImage) -> str:
        """Return the name of an image without the folders above the data."""
        address = image.planes[0].address
        name = self._shorten(str(address.path))
        if address.is_hdf5:
            return f"{name}::{address.part}[{address.plane}]"
        return name if not address.plane else f"{name} plane {address.plane}"

    def _shorten(self, text: str) -> str:
        for root in self._roots:
            if text.startswith(str(root)):
                return root.resolve().name + text.removeprefix(str(root))
        return text


def _scalings(image: CutoutImage) -> list[float]:
    return [value for p in image.planes for value in (p.scaling.sky, p.scaling.sigma)]


def _summarise(name: str, images: Sequence[CutoutImage]) -> SourceSummary:
    return SourceSummary(
        name=name,
        files=len({plane.address.path for image in images for plane in image.planes}),
        images=len(images),
        pixels=sum(image.area for image in images),
        sigmas=[plane.scaling.sigma for image in images for plane in image.planes],
    )


def check_weights(config: RunConfig) -> None:
    """Refuse a run whose likelihood takes the noise of pixels from weight maps without any.

    Raises
    ------
    ConfigError
        The scale is 'given', and `weights` says nothing.
    """
    is_normal = config.model.likelihood in ("normal", "multivariate-normal")
    if is_normal and config.model.likelihood_scale == "given" and config.data.weights is None:
        raise ConfigError(
            "likelihood scale 'given' takes the noise of each pixel from weight maps; say where "
            "they are, such as --weights WHT or --weights '*.weight.fits'"
        )


def open_data(config: DataConfig, *, seed: int) -> TrainingData:
    """Find and measure the images of a configuration, and keep some out for validation.

    Parameters
    ----------
    config : DataConfig
        Where images lie and how they are cut.
    seed : int
        Seed of the split and of places and turns.

    Raises
    ------
    DataError
        No image can be used, or all belong to one file or object.
    """
    index = CutoutIndex.from_config(config)
    training, validation = index.split(config.validation_fraction, seed=seed)
    return TrainingData(config, training, validation, seed=seed)
