"""Which planes show the same object in several bands, to be stacked as channels.

The planes of an object are matched, for each band, by the first of these that applies:

1. the channels of an HDF5 stack (N, C, H, W), by the names in its attribute ``bands``, ``filters``
   or ``channels``, or in order when there is no such attribute and C is the number of bands;
2. HDF5 data sets of equal length whose names are the bands, row by row;
3. the planes of a FITS cube, in order, when there are as many as bands;
4. image HDUs of one file whose EXTNAME is the band;
5. files whose names have the band as a token (tokens are what ``_ - . + space`` separate) and
   agree in all other tokens and the folder: ``field7_g.fits`` and ``field7_r.fits``;
6. files whose FILTER card is the band or begins with it (``g`` of ``g.MP9401``), of one OBJECT.

Letters count as they are written, in 5 and 6 in either case when nothing else matches.  An object
that lacks a band, has one twice, or whose planes differ in size, is refused with that reason.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from astro_vq.data.scan import Candidate, Reject
from astro_vq.io.image import is_fits_name

Stack = tuple[Candidate, ...]

_SEPARATORS = re.compile(r"[_\-.+ ]+")


def stack_bands(
    candidates: Iterable[Candidate], bands: Sequence[str]
) -> tuple[list[Stack], list[Reject]]:
    """Match planes into stacks, one plane a band in the order of `bands`.

    Parameters
    ----------
    candidates : iterable of Candidate
        All usable planes.
    bands : sequence of str
        Names of the bands; empty makes each plane a stack of its own.

    Returns
    -------
    list of tuple of Candidate, list of Reject
        The stacks, and one reject for each object that makes none.
    """
    if not bands:
        return [(candidate,) for candidate in candidates], []
    objects: dict[str, list[tuple[str, Candidate]]] = defaultdict(list)
    rejects = []
    for candidate in candidates:
        match = _match(candidate, bands)
        if match is None:
            wanted = ", ".join(bands)
            rejects.append(
                Reject(str(candidate.plane.address), "no such band", f"none of {wanted}")
            )
        else:
            objects[match[0]].append((match[1], candidate))
    stacks = []
    for name, members in objects.items():
        made = _stack(name, members, bands)
        if isinstance(made, Reject):
            rejects.append(made)
        else:
            stacks.append(made)
    return stacks, rejects


def _stack(name: str, members: list[tuple[str, Candidate]], bands: Sequence[str]) -> Stack | Reject:
    by_band: dict[str, list[Candidate]] = defaultdict(list)
    for band, candidate in members:
        by_band[band].append(candidate)
    missing = [band for band in bands if band not in by_band]
    if missing:
        present = ", ".join(band for band in bands if band in by_band)
        return Reject(name, "missing band", f"no {', '.join(missing)}; there is {present}")
    for band in bands:
        if len(by_band[band]) > 1:
            places = " and ".join(str(c.plane.address) for c in by_band[band][:2])
            return Reject(name, "band twice", f"{band}: {places}")
    stack = tuple(by_band[band][0] for band in bands)
    if len({candidate.plane.shape for candidate in stack}) > 1:
        sizes = ", ".join(
            f"{band} {c.plane.shape[0]} x {c.plane.shape[1]}"
            for band, c in zip(bands, stack, strict=True)
        )
        return Reject(name, "sizes differ between bands", sizes)
    return stack


def _match(candidate: Candidate, bands: Sequence[str]) -> tuple[str, str] | None:
    """Return the name of the object and the band of a plane."""
    address = candidate.plane.address
    if address.is_hdf5:
        if candidate.channel_names:
            name = candidate.channel_names[address.channel]
            return (
                (f"{address.path}::{address.part}[{address.plane}]", name)
                if (name in bands)
                else None
            )
        if candidate.planes_of_hdu == len(bands) and len(bands) > 1:
            return f"{address.path}::{address.part}[{address.plane}]", bands[address.channel]
        if candidate.extension in bands and candidate.planes_of_hdu == 1:
            folder = str(address.part).rpartition("/")[0]
            return f"{address.path}::{folder}[{address.plane}]", candidate.extension
        return None
    if candidate.planes_of_hdu == len(bands) and len(bands) > 1:
        return f"{address.path}[{address.part}]", bands[address.plane]
    if candidate.extension in bands:
        return f"{address.path} plane {address.plane}", candidate.extension
    return _match_name(candidate, bands) or _match_filter(candidate, bands)


def _match_name(candidate: Candidate, bands: Sequence[str]) -> tuple[str, str] | None:
    path = candidate.plane.address.path
    stem = path.name
    while is_fits_name(stem):
        stem = stem.rpartition(".")[0]
    tokens = _SEPARATORS.split(stem)
    for fold in (False, True):
        wanted = {band.casefold() if fold else band: band for band in bands}
        places = [i for i, t in enumerate(tokens) if (t.casefold() if fold else t) in wanted]
        if len(places) == 1:
            token = tokens[places[0]]
            others = "_".join([*tokens[: places[0]], "*", *tokens[places[0] + 1 :]])
            band = wanted[token.casefold() if fold else token]
            return f"{path.parent / others} image {candidate.ordinal}", band
    return None


def _match_filter(candidate: Candidate, bands: Sequence[str]) -> tuple[str, str] | None:
    if not candidate.filter_name or not candidate.object_name:
        return None
    token = _SEPARATORS.split(candidate.filter_name)[0]
    for fold in (False, True):
        for band in bands:
            ours, theirs = (band.casefold(), token.casefold()) if fold else (band, token)
            if theirs == ours or candidate.filter_name == band:
                return f"OBJECT {candidate.object_name} image {candidate.ordinal}", band
    return None
