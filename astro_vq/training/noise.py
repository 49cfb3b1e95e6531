"""The noise covariance of a run with stationary correlated noise: measured, or read from a file.

It is set before the first step and is part of the model's state: checkpoints hold it, and a run
that is resumed goes on with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_vq.config import RunConfig
from astro_vq.data.cutouts import CutoutImage, CutoutIndex
from astro_vq.data.noise_covariance import (
    PairSums,
    neighbour_correlation,
    pair_sums,
    read_autocovariance,
)
from astro_vq.data.planes import Plane, PlaneReader
from astro_vq.data.weights import network_noise, read_noise
from astro_vq.errors import ConfigError, DataError
from astro_vq.likelihoods import MultivariateNormal
from astro_vq.models import Model
from astro_vq.training.noise_matrix import USUAL_SIGMA, NoiseMatrix, read_noise_matrix

WINDOW = 512
"""Largest side, in pixels, of the piece of an image that the noise is measured on."""

LEAST_IMAGES, MOST_IMAGES = 32, 512
"""Bounds of the number of images measured: many where they are small, all where there are few."""

LEAST_POWER = 0.01
"""Least power of a measured spectrum, as a part of the variance; white noise is added where it has
less. What is measured below is the error of the measurement, and modes of the image that weigh
more than a hundred times the mean one would make the loss one of these modes alone."""

_GRID = 256  # frequencies along each axis at which a spectrum is looked at

FloatArray = NDArray[np.float64]


class FoundNoise(NamedTuple):
    """The noise of a run.

    Attributes
    ----------
    values : ndarray of float64, shape (1 or C, 2 L + 1, 2 L + 1)
        Autocovariance, network units squared.
    source : str
        Where it is from, for people.
    """

    values: FloatArray
    source: str


def find_noise(config: RunConfig, images: CutoutIndex) -> FoundNoise | NoiseMatrix | None:
    """Return the noise covariance of a run, if its likelihood needs one.

    Parameters
    ----------
    config : RunConfig
        ``data.noise_covariance`` names a file; without it stationary noise is measured.
    images : CutoutIndex
        Images of the training part.

    Raises
    ------
    ConfigError
        A file is given, but the likelihood takes none; or it needs one.
    DataError
        The file is no covariance in network units, or noise cannot be measured.
    """
    parts, path = config.model, config.data.noise_covariance
    is_correlated = parts.likelihood == "multivariate-normal"
    if is_correlated and parts.likelihood_covariance == "full":
        if path is None:
            raise ConfigError(
                "the covariance 'full' between all pixels of a cutout is not measured; give it "
                "with --noise-covariance FILE, or use 'stationary'"
            )
        size, is_turned = config.data.cutout_size, config.data.augment
        return read_noise_matrix(path, images.channels, size, is_turned=is_turned)
    if not is_correlated or parts.likelihood_covariance != "stationary":
        if path is not None:
            kind = f" with covariance {parts.likelihood_covariance!r}" if is_correlated else ""
            raise ConfigError(
                "a noise covariance goes with likelihood 'multivariate-normal' of covariance "
                f"'stationary' or 'full'; this run has {parts.likelihood!r}{kind}"
            )
        return None
    if path is not None:
        return FoundNoise(_read(path, images.channels), f"from {Path(path).name}")
    is_scaled = parts.likelihood_scale == "given"
    measured = measure_noise(
        images, parts.likelihood_lag, is_turned=config.data.augment, is_scaled=is_scaled
    )
    source = f"measured on {measured.images} training images"
    if measured.is_tapered:
        source += f", tapered to zero beyond {parts.likelihood_lag} pixels"
    if measured.added:
        source += f", {measured.added:.2%} of the variance added as white noise"
    if measured.skipped:
        source += f" ({measured.skipped} more have no sky pixel)"
    return FoundNoise(measured.values, source)


def set_noise(model: Model, noise: FoundNoise | NoiseMatrix) -> str:
    """Give an untrained model its noise covariance; return what was done, for people.

    A covariance that is not positive definite is repaired with a warning.
    """
    if isinstance(noise, NoiseMatrix):
        if not isinstance(model.likelihood, MultivariateNormal):
            raise TypeError("the likelihood of this model takes no covariance")
        model.likelihood.set_covariance(**{noise.kind: noise.values})
        sigma = model.likelihood.cholesky.square().sum(1).sqrt()
        return (
            f"noise {noise.source}: {len(noise.values)} pixels, standard deviations "
            f"{float(sigma.min()):.3f} to {float(sigma.max()):.3f} network units"
        )
    likelihood = _stationary(model)
    if likelihood is None:
        raise TypeError("the likelihood of this model takes no autocovariance")
    likelihood.set_autocovariance(noise.values)
    return f"noise covariance {noise.source}: {describe_noise(likelihood)}"


def warm_noise(model: Model, progress: float, share: float) -> None:
    """Take correlated noise as white in the first part of a run.

    Under correlated noise most of the gradient is of fine structure, where noise has little power,
    and sources are learnt late. Under white noise they are learnt first.

    Parameters
    ----------
    model : Model
        Any; only stationary correlated noise is touched, and only in training mode.
    progress : float
        Part of the run that is done.
    share : float
        Part of the run with white noise.
    """
    likelihood = _stationary(model)
    if likelihood is not None:
        likelihood.is_white = progress < share


def check_noise(model: Model, config: RunConfig) -> None:
    """Refuse to go on with a run that never got its noise covariance.

    Raises
    ------
    DataError
        The likelihood is one of stationary correlated noise, and its noise is still white.
    """
    likelihood = _stationary(model)
    if likelihood is None or config.data.noise_covariance is not None:
        return
    if likelihood.noise.lag != config.model.likelihood_lag:
        raise DataError(
            "the run was started without a measured noise covariance (by an older version), and "
            "its multivariate normal is that of white noise; start another run"
        )


def _stationary(model: Model) -> MultivariateNormal | None:
    likelihood = model.likelihood
    if isinstance(likelihood, MultivariateNormal) and likelihood.kind == "stationary":
        return likelihood
    return None


def _read(path: str, channels: int) -> FloatArray:
    """Read a file and check that it fits the images and is in network units."""
    values = read_autocovariance(path)
    if len(values) not in (1, channels):
        raise DataError(
            f"{path}: it has {len(values)} channels, the images have {channels}; give one plane "
            "for all, or one a channel"
        )
    lag = values.shape[1] // 2
    sigma = np.sqrt(values[:, lag, lag])
    if (sigma < USUAL_SIGMA[0]).any() or (sigma > USUAL_SIGMA[1]).any():
        raise DataError(
            f"{path}: its noise of {sigma.max():.3g} (the root of lag zero) is not in network "
            "units, asinh((value - sky) / sigma), in which the sky's is about one; divide the "
            "covariance by sigma squared"
        )
    return values


class MeasuredNoise(NamedTuple):
    """What `measure_noise` found.

    Attributes
    ----------
    values : ndarray of float64, shape (C, 2 L + 1, 2 L + 1)
        Autocovariance, network units squared.
    images, skipped : int
        Images that it was measured on, and those that were looked at in vain.
    added : float
        White noise that was added for `LEAST_POWER`, as a part of the variance; the largest of
        all channels.
    is_tapered : bool
        Covariances were made to fall smoothly to zero beyond the largest lag.
    """

    values: FloatArray
    images: int
    skipped: int
    added: float
    is_tapered: bool


def measure_noise(
    images: CutoutIndex, max_lag: int, *, is_turned: bool, is_scaled: bool = False
) -> MeasuredNoise:
    """Measure the covariance of the sky noise of images in network units, sources masked.

    Pairs of sky pixels are pooled over `LEAST_IMAGES` to `MOST_IMAGES` images spread over the
    index, of each a piece of `WINDOW` pixels square at most, from its middle.

    Parameters
    ----------
    images : CutoutIndex
        The images.
    max_lag : int
        Largest lag L, pixels.
    is_turned : bool
        Training turns and flips its cutouts: the result is the mean over all eight orientations.
    is_scaled : bool
        Measure pixels in units of their own noise by weight maps (where there are any).

    Raises
    ------
    DataError
        Sky pixels are too few.
    """
    reader = PlaneReader()
    totals: list[PairSums | None] = [None] * images.channels
    count = skipped = 0
    for image in _choose(images):
        count += 1
        try:
            found = [_measure(p, reader, max_lag, is_scaled=is_scaled) for p in image.planes]
        except DataError:  # nothing but sources, or nothing at all
            skipped += 1
            continue
        for channel, sums in enumerate(found):
            total = totals[channel]
            totals[channel] = sums if total is None else total.plus(sums)
    reader.close()
    try:
        measured = [total.covariance() for total in totals if total is not None]
    except DataError as err:
        raise DataError(f"{err}, or give --noise-covariance FILE") from err
    if len(measured) < images.channels:
        raise DataError(
            "no sky pixel is left in the training images to measure the noise covariance on; "
            "give --noise-covariance FILE"
        )
    values = np.stack(measured)
    values = _over_orientations(values) if is_turned else values
    values, is_tapered = _end_smoothly(values)
    added = _missing_power(values)
    values[:, max_lag, max_lag] += added
    share = float((added / values[:, max_lag, max_lag]).max())
    return MeasuredNoise(values, count - skipped, skipped, share, is_tapered)


def _choose(images: CutoutIndex) -> Iterator[CutoutImage]:
    """Yield the images to measure, evenly spread."""
    for number in np.unique(np.linspace(0, len(images.images) - 1, _count(images)).astype(int)):
        yield images.images[number]


def _count(images: CutoutIndex) -> int:
    """Return how many images are measured: about `LEAST_IMAGES` windows of pixels."""
    area = np.median([min(image.area, WINDOW**2) for image in images.images])
    wanted = int(np.clip(LEAST_IMAGES * WINDOW**2 / area, LEAST_IMAGES, MOST_IMAGES))
    return min(wanted, len(images.images))


def _measure(plane: Plane, reader: PlaneReader, max_lag: int, *, is_scaled: bool) -> PairSums:
    ys, xs = (slice(max(n - WINDOW, 0) // 2, (n + min(n, WINDOW)) // 2) for n in plane.shape)
    values = reader.read(plane.address, plane.shape, ys, xs)
    mask = plane.mask(values)
    scaled = plane.scaling.forward(values, dtype=np.float64)
    noise = read_noise(plane, reader, ys, xs)
    if noise is not None:
        mask &= np.isfinite(noise)
        if is_scaled:
            scaled /= network_noise(values, np.where(mask, noise, 1.0), plane.scaling)
    return pair_sums(scaled, max_lag, mask=mask)


def _end_smoothly(values: FloatArray) -> tuple[FloatArray, bool]:
    """Taper autocovariances (C, 2 L + 1, 2 L + 1) that the largest lag cuts off; say if so.

    Noise that is correlated over more than the largest lag has, cut off there, a spectrum far
    from positive: the white noise that makes up for it may be nearly all of the variance. A
    taper is used where it changes the correlation of neighbours less than white noise would.
    """
    lag = values.shape[1] // 2
    missing = _missing_power(values)
    kept = values[:, lag, lag] / (values[:, lag, lag] + missing)
    weights = taper(lag)
    if lag and bool((kept < weights[lag, lag + 1]).any()):
        return values * weights, True
    return values, False


def taper(max_lag: int) -> FloatArray:
    """Return weights by lag (2 L + 1, 2 L + 1) that fall smoothly to zero at L + 1 pixels.

    The weights are a covariance themselves, so that a covariance times them is one.

    References
    ----------
    Gaspari, Cohn 1999, QJRMS 125, 723, equation 4.10.
    """
    lags = np.arange(-max_lag, max_lag + 1)
    z = 2 * np.hypot(lags[:, None], lags) / (max_lag + 1)
    near = 1 - z**2 * (5 / 3 - z * (5 / 8 + z * (1 / 2 - z / 4)))
    away = np.maximum(z, 1.0)
    far = 4 - away * (5 - away * (5 / 3 + away * (5 / 8 - away * (1 / 2 - away / 12))))
    far -= 2 / (3 * away)
    return np.where(z <= 1, near, np.where(z < 2, far, 0.0))


def _missing_power(values: FloatArray) -> FloatArray:
    """Return the white noise (C,) that autocovariances lack to have `LEAST_POWER` everywhere."""
    lag = values.shape[1] // 2
    places = np.arange(-lag, lag + 1) % _GRID
    planes = np.zeros((len(values), _GRID, _GRID))
    for plane, given in zip(planes, values, strict=True):
        np.add.at(plane, np.ix_(places, places), given)
    lowest = np.fft.fft2(planes).real.min(axis=(1, 2))
    missing = (LEAST_POWER * values[:, lag, lag] - lowest) / (1 - LEAST_POWER)
    return np.asarray(np.maximum(missing, 0.0), dtype=np.float64)


def _over_orientations(values: FloatArray) -> FloatArray:
    """Return the mean of autocovariances over four turns and two flips."""
    flips = (values, values[:, :, ::-1])
    turned = [np.rot90(v, n, axes=(1, 2)) for v in flips for n in range(4)]
    return np.asarray(np.mean(turned, axis=0), dtype=np.float64)


def describe_noise(likelihood: MultivariateNormal) -> str:
    """Return lags, standard deviation and correlation of neighbours of stationary noise."""
    planes = likelihood.noise.autocovariance.numpy()
    lag = likelihood.noise.lag
    sigmas = _list(np.sqrt(planes[:, lag, lag]))
    correlations = _list([neighbour_correlation(plane) for plane in planes])
    return (
        f"lags up to {lag} pixels, standard deviation {sigmas} network units, lag-1 correlation "
        f"{correlations}"
    )


def _list(values: Sequence[float] | FloatArray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def card_of_noise(model: Model, config: RunConfig) -> str:
    """Return what the model card says of noise that is known; empty where there is none."""
    return " ".join(text for text in (_card_of_weights(config), _card(model, config)) if text)


def _card_of_weights(config: RunConfig) -> str:
    data = config.data
    if data.weights is None:
        return ""
    text = f"Weight maps (`{data.weights}`, {data.weight_kind}) masked pixels of no weight"
    if config.model.likelihood_scale == "given":
        text += " and gave the likelihood the noise of each pixel"
    return f"{text}."


def _card(model: Model, config: RunConfig) -> str:
    path = config.data.noise_covariance
    if isinstance(model.likelihood, MultivariateNormal) and model.likelihood.kind == "full":
        name = "" if path is None else f" given in the file `{Path(path).name}`"
        return (
            "The likelihood has a covariance between all "
            f"{model.likelihood.pixels} pixels of a cutout{name}, which is part of the model."
        )
    likelihood = _stationary(model)
    if likelihood is None:
        return ""
    if path is not None:
        origin = f"given in the file `{Path(path).name}`"
    else:
        origin = "measured on sky pixels of the training images, sources masked"
        if config.data.augment:
            origin += ", mean of all orientations because cutouts are turned"
    return (
        "The likelihood takes noise as correlated and stationary, with an autocovariance that is "
        f"part of the model ({origin}): {describe_noise(likelihood)}."
    )
