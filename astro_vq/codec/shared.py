"""Side information that all pixel streams of an HDU share."""

import dataclasses

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.lattice import Phase
from astro_vq.codec.predict import Weights, decode_weights, encode_weights
from astro_vq.codec.quantize import Mapping
from astro_vq.errors import FormatError

_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shared:
    """What tiles may rely on: a mapping and predictor weights, each possibly absent.

    Parameters
    ----------
    mapping : Mapping or None
        How integers become values, unless a tile brings its own.
    weights : dict of Phase to ndarray of int64, shape (24,)
        Predictor weights; phases not named use the mean of the four nearest.
    """

    mapping: Mapping | None = None
    weights: dict[Phase, Weights] = dataclasses.field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the side information as bytes."""
        head = bytes([_VERSION, self.mapping is not None])
        mapping = self.mapping.to_bytes() if self.mapping else b""
        return head + mapping + encode_weights(self.weights)

    @classmethod
    def from_bytes(cls, blob: bytes) -> "Shared":
        """Read what `to_bytes` wrote; no bytes at all mean no side information.

        Raises
        ------
        FormatError
            If the bytes are damaged or of a newer version.
        """
        if not blob:
            return cls()
        reader = ByteReader(blob)
        version = reader.byte()
        if version != _VERSION:
            raise FormatError(f"pixel side information of version {version}, known is {_VERSION}")
        mapping = Mapping.read(reader) if reader.byte() else None
        weights = decode_weights(reader)
        reader.finish()
        return cls(mapping, weights)
