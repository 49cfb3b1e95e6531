"""Which images show the same sky, so that they stay together when data is split.

Two images belong to one group when

* they come from one FITS file,
* the pixels of some plane are equal up to rounding, whatever the file is called, and whatever the
  type or unit it is stored in,
* the middle of one lies on the sky within the other, by their celestial coordinates (frames wider
  than ten degrees do not count),
* they have the same object id, in HDF5 files, or the same OBJECT card, where there are no
  celestial coordinates to tell,

or when both belong together with a third.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from astro_vq.data.scan import Candidate

_SAME_PIXELS = 0.02  # difference of fingerprints; independent noise differs by about one


def group_images(stacks: Sequence[Sequence[Candidate]]) -> list[int]:
    """Return the number of the group of each image, counted from 0 in order of appearance."""
    parents = list(range(len(stacks)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parents[high] = low

    first: dict[Hashable, int] = {}
    for number, stack in enumerate(stacks):
        for candidate in stack:
            for key in _keys(candidate):
                join(first.setdefault(key, number), number)
    for i, j in chain(_copies(stacks), _overlaps(stacks)):
        join(i, j)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(i), len(numbers)) for i in range(len(stacks))]


def _keys(candidate: Candidate) -> list[Hashable]:
    """Return what an image shares with those of its group."""
    address = candidate.plane.address
    keys: list[Hashable] = []
    if address.is_hdf5:
        keys.append(("row", address.path, address.part, address.plane))
    else:
        keys.append(("file", address.path))
    if candidate.object_name and candidate.position is None:
        keys.append(("object", candidate.object_name))
    return keys


def _copies(stacks: Sequence[Sequence[Candidate]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that have a plane of equal pixels."""
    shapes: dict[tuple[int, int], dict[tuple[float, ...], int]] = defaultdict(dict)
    for number, stack in enumerate(stacks):
        for candidate in stack:
            if candidate.fingerprint:
                known = shapes[candidate.plane.shape]
                yield known.setdefault(candidate.fingerprint, number), number
    for known in shapes.values():
        numbers = list(known.values())
        tree = cKDTree(np.array(list(known)))
        for i, j in tree.query_pairs(_SAME_PIXELS, p=np.inf):
            yield numbers[i], numbers[j]


def _overlaps(stacks: Sequence[Sequence[Candidate]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images of which one has the middle of the other within its half width."""
    places = sorted(
        {
            (candidate.position, number)
            for number, stack in enumerate(stacks)
            for candidate in stack
            if candidate.position is not None
        }
    )
    if not places:
        return
    vectors = np.array([position[:3] for position, _ in places])
    halves = np.array([position[3] for position, _ in places])
    tree = cKDTree(vectors)
    for index, near in enumerate(tree.query_ball_point(vectors, 2 * np.sin(halves / 2))):
        for other in near:
            yield places[index][1], places[other][1]
