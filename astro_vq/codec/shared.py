"""Side information that all pixel streams of an HDU share."""

import dataclasses

from astro_vq.codec.bytestream import ByteReader
from astro_vq.codec.lattice import Phase
from astro_vq.codec.predict import Weights, decode_weights, encode_weights
from astro_vq.codec.quantize import Mapping
from astro_vq.codec.statistics import Integers, decode_statistics, encode_statistics
from astro_vq.errors import FormatError

_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shared:
    """What tiles may rely on: mapping, predictor weights and statistics, each possibly absent.

    Parameters
    ----------
    mapping : Mapping or None
        How integers become values, unless a tile brings its own.
    weights : dict of Phase to ndarray of int64, shape (24,)
        Predictor weights; phases not named use the mean of the four nearest.
    statistics : dict of Phase to ndarray of int64, shape (8,)
        Of the finest levels; coarser ones use those of the coarsest that is there.
    """

    mapping: Mapping | None = None
    weights: dict[Phase, Weights] = dataclasses.field(default_factory=dict)
    statistics: dict[Phase, Integers] = dataclasses.field(default_factory=dict)

    def statistics_of(self, phase: Phase) -> Integers | None:
        """Return the statistics to use for a phase, or None if there are none."""
        if not self.statistics:
            return None
        coarsest = max(known.level for known in self.statistics)
        return self.statistics[Phase(min(phase.level, coarsest), phase.number)]

    def to_bytes(self) -> bytes:
        """Return the side information as bytes."""
        head = bytes([_VERSION, self.mapping is not None])
        mapping = self.mapping.to_bytes() if self.mapping else b""
        return head + mapping + encode_weights(self.weights) + encode_statistics(self.statistics)

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
        statistics = decode_statistics(reader)
        reader.finish()
        return cls(mapping, weights, statistics)
