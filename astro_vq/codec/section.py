"""Indexing an image that is decoded piece by piece."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_vq.errors import DataError

ReadPlane = Callable[[int, slice, slice], NDArray[Any]]
"""Returns a rectangle of a plane."""


class AxisRange(NamedTuple):
    """What is wanted of one axis: indices ``start``, ``start + step``, ... `length` of them.

    A single index has ``step`` 0, and the axis is dropped.
    """

    start: int
    step: int
    length: int

    @property
    def bounds(self) -> slice:
        """The range that holds all indices."""
        if self.length == 0:
            return slice(self.start, self.start)
        last = self.start + (self.length - 1) * self.step
        return slice(min(self.start, last), max(self.start, last) + 1)

    @property
    def inside(self) -> int | slice:
        """What picks the indices out of `bounds`."""
        if self.step == 0:
            return 0
        return slice(None, None, self.step)


class Section(fits.Section):  # type: ignore[misc]  # so that Cutout2D leaves it lazy
    """An image to be indexed like an array, with integers, slices and ``...``.

    Reads and decodes only the tiles that an index touches. It may be used by several threads,
    and pickled when its file was opened by name or URL.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    read : callable
        Gives rectangles of planes.
    dtype : dtype
        Of the result.
    wcs : callable, optional
        Gives the coordinates of the image.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(12).reshape(3, 4)
    >>> section = Section(image.shape, lambda plane, ys, xs: image[ys, xs], image.dtype)
    >>> section[1:, ::2].tolist()
    [[4, 6], [8, 10]]
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        read: ReadPlane,
        dtype: np.dtype[Any],
        wcs: Callable[[], Any] | None = None,
    ) -> None:
        self._shape = shape
        self._dtype = dtype
        self._read = read
        self._wcs = wcs

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of what an index gives."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._shape)

    @property
    def wcs(self) -> Any:  # noqa: ANN401 - astropy has no types
        """Coordinates of the image, where Cutout2D looks for them.

        Raises
        ------
        DataError
            The section was made without any.
        """
        if self._wcs is None:
            raise DataError("this section was made without coordinates")
        return self._wcs()

    def plane(self, *index: int) -> "Section":
        """Return one plane of an image of more than two axes, as lazy as the whole.

        Parameters
        ----------
        *index : int
            A number for each axis but the last two.

        Returns
        -------
        Section
            With two axes; its coordinates are those of the sky alone (`WCS.celestial`).

        Raises
        ------
        IndexError
            There are too many or too few numbers, or one is out of range.
        """
        leading = self._shape[:-2]
        if len(index) != len(leading):
            raise IndexError(f"{len(leading)} numbers name a plane of this image, got {len(index)}")
        (number,) = _plane_numbers(parse_key(index, leading), leading)
        wcs = self._wcs and partial(_celestial, self._wcs)
        read = partial(_read_one, self._read, number)
        return Section(self._shape[-2:], read, self._dtype, wcs)

    def __len__(self) -> int:
        return self._shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401
        if copy is False:
            raise ValueError("an image that is compressed cannot be had without a copy")
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:  # noqa: ANN401
        axes = parse_key(key, self._shape)
        if len(axes) == 1:
            axes = [AxisRange(0, 0, 1), *axes]
        *leading, rows, columns = axes
        inside = (rows.inside, columns.inside)
        planes = _plane_numbers(leading, self._shape[:-2])
        kept = tuple(axis.length for axis in leading if axis.step)
        shape = kept + tuple(axis.length for axis in (rows, columns) if axis.step)
        out = np.empty((len(planes), *shape[len(kept) :]), self.dtype)
        if out.size:
            for number, plane in enumerate(planes):
                out[number] = self._read(plane, rows.bounds, columns.bounds)[inside]
        return out.reshape(shape)


def _read_one(read: ReadPlane, number: int, plane: int, ys: slice, xs: slice) -> NDArray[Any]:
    return read(number, ys, xs)


def _celestial(wcs: Callable[[], Any]) -> Any:  # noqa: ANN401 - astropy has no types
    return wcs().celestial


def parse_key(key: object, shape: tuple[int, ...]) -> list[AxisRange]:
    """Return what an index wants of each axis.

    Parameters
    ----------
    key : int, slice, Ellipsis, or tuple of them
        As between square brackets.
    shape : tuple of int
        Shape of the image.

    Raises
    ------
    IndexError
        There are too many indices, or one is out of range.
    TypeError
        An index is of another kind.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [position for position, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can have one ellipsis (...) only")
    missing = len(shape) - (len(parts) - len(dots))
    if missing < 0:
        raise IndexError(f"too many indices: {len(parts)} for an image with {len(shape)} axes")
    position = dots[0] if dots else len(parts)
    parts[position : position + len(dots)] = [slice(None)] * missing
    return [_parse_axis(part, length) for part, length in zip(parts, shape, strict=True)]


def _parse_axis(part: object, length: int) -> AxisRange:
    if isinstance(part, slice):
        indices = range(*part.indices(length))
        return AxisRange(indices.start, indices.step, len(indices))
    if isinstance(part, bool | np.bool_):
        raise TypeError("sections take integers and slices, got a truth value")
    try:
        index = operator.index(part)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"sections take integers and slices, got {type(part).__name__}") from None
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range for an axis of {length}")
    return AxisRange(index % length, 0, 1)


def _plane_numbers(leading: list[AxisRange], shape: tuple[int, ...]) -> list[int]:
    """Return the numbers of the planes that are wanted, the last leading axis fastest."""
    numbers = np.zeros((1,), dtype=np.int64)
    for axis, length in zip(leading, shape, strict=False):
        indices = axis.start + axis.step * np.arange(axis.length)
        numbers = (numbers[:, None] * length + indices).ravel()
    return [int(number) for number in numbers]
