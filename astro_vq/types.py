"""Small types that several parts share; numpy only, so that importing them costs nothing."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

Fidelity = Literal["tokens", "max-error", "lossless"]
"""What a compressed image promises: see the three fidelities in the documentation."""

FIDELITIES: tuple[Fidelity, ...] = ("tokens", "max-error", "lossless")


class TileGeometry(NamedTuple):
    """Where a tile lies: plane number and the pixel rectangle within that plane."""

    plane: int
    y0: int
    x0: int
    ny: int
    nx: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of the tile within its plane."""
        return slice(self.y0, self.y0 + self.ny), slice(self.x0, self.x0 + self.nx)


class TokenModel(Protocol):
    """What the codec asks of a model: integers from pixels and pixels from integers.

    Attributes
    ----------
    stride : int
        Pixels per token along each image axis.
    halo : int
        Tokens of context on each side of a window that make the result inside the window
        the same as that of the whole image.
    channels : int
        Bands of the images that the model takes.
    codes : int
        Number of codes; every index lies in ``[0, codes)``.
    depth : int
        Indices per position.
    """

    stride: int
    halo: int
    channels: int
    codes: int
    depth: int

    def encode_indices(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Return code indices (B, K, h, w) int64 of pixels (B, C, H, W) in network units."""
        ...

    def decode_indices(self, indices: "torch.Tensor") -> "torch.Tensor":
        """Return the mean image (B, C, H, W) in network units of code indices (B, K, h, w)."""
        ...


JsonObject = dict[str, Any]
