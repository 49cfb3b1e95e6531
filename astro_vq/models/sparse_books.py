"""What the encoder of sparse tokens works with at a level."""

from typing import NamedTuple

from torch import Tensor


class Books(NamedTuple):
    """What the encoder works with at one level, for one star shape.

    Attributes
    ----------
    gram : Tensor (7, 7, D, D)
        Overlaps of the basis with itself, by distance in cells.
    codes, first : Tensor (N, D), (M, D)
        Codes of unit norm as images: those of the model, then those of stars; and a few that
        stand for all.
    weights, first_weights : Tensor (N,), (M,)
        Part of each that an aperture of four pixels sees at most, in units of its noise.
    """

    gram: Tensor
    codes: Tensor
    first: Tensor
    weights: Tensor
    first_weights: Tensor
