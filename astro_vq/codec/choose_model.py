"""Which model of an image the mixing coder gets: trials on sample tiles decide."""

from collections.abc import Sequence

from astro_vq.codec.fit_mixing import Fitter, Structure, find_spike
from astro_vq.codec.mixed import ImageModel, encode_planes
from astro_vq.codec.planes import SLOWEST_FAST, Plane

_SEEN_PIXELS = (200_000, 300_000, 600_000)  # of the image, at paces 0 to 2
_FITTED_PIXELS = (20_000, 100_000, 200_000)
_USUAL = 6  # the last effort of pace 1
_MORE = 40  # neighbours than usual
_SPLITS = ((0.97,), (0.9, 0.99))


def choose_model(planes: Sequence[Plane], *, loop: int = 1, effort: int = 5) -> ImageModel | None:
    """Return the model with which an image takes fewest bytes, of those that are tried.

    Parameters
    ----------
    planes : sequence of Plane
        Tiles from all over the image.
    loop : int
        Integers per step of the residual.
    effort : int
        1 (fast) to 9 (small).

    Returns
    -------
    ImageModel or None
        None if there are too few pixels.
    """
    total = sum(plane.mask.size for plane in planes)
    pace = (effort > SLOWEST_FAST) + (effort > _USUAL)
    thin = planes[:: max(1, total // _SEEN_PIXELS[pace])]
    fitter = Fitter(thin, pixels=_FITTED_PIXELS[pace], loop=loop)
    if not fitter.is_possible:
        return None
    if effort <= SLOWEST_FAST:
        mixing = fitter.fit(Structure(), width=False)
        return ImageModel(mixing, fitter.sky) if mixing is not None else None
    spike = find_spike(thin) if loop == 1 else None
    sample = thin[len(thin) // 3 :: max(1, len(thin) // 2)]
    share = total / sum(plane.mask.size for plane in sample)

    def size(model: ImageModel) -> float:
        payloads = encode_planes(sample, model, loop)
        return len(model.to_bytes()) + share * sum(len(payload or b"") for payload in payloads)

    def offer(
        best: ImageModel, smallest: float, model: ImageModel | None
    ) -> tuple[ImageModel, float]:
        if model is None:
            return best, smallest
        new = size(model)
        return (model, new) if new < smallest else (best, smallest)

    def fit(structure: Structure) -> ImageModel | None:
        mixing = fitter.fit(structure)
        return None if mixing is None else ImageModel(mixing, fitter.sky)

    best = fit(Structure())
    assert best is not None  # one set of weights can always be fitted
    smallest = size(best)
    best, smallest = offer(best, smallest, fit(Structure(_MORE)))
    count = best.mixing.taps.shape[1] - 1
    for split in _SPLITS:
        best, smallest = offer(best, smallest, fit(Structure(count, split)))
    if spike is not None:
        best, smallest = offer(best, smallest, best._replace(spike=spike))
    return best
