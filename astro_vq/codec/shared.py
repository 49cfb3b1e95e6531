"""Side information that all pixel streams of an HDU share."""

import dataclasses

from astro_vq.codec.bytestream import ByteReader, sized
from astro_vq.codec.lattice import Phase
from astro_vq.codec.mappings.mapping import LOOP, Mapping
from astro_vq.codec.predict import NEAREST_FOUR, Weights, decode_weights, encode_weights
from astro_vq.codec.scale_models import decode_scales, encode_scales
from astro_vq.entropy.local_scale import ScaleModel
from astro_vq.errors import FormatError

_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shared:
    """What tiles may rely on: mapping, predictor weights and scales, each possibly absent.

    Parameters
    ----------
    mapping : Mapping or None
        How integers become values, unless a tile brings its own.
    weights : dict of Phase to ndarray of int64, shape (25,)
        Predictor weights; see `weights_of`.
    scales : dict of (level, kind) to ScaleModel
        For the coder that is fitted to the image; see `scale_model_of`.
    bands : bytes
        For images that went through HCOMPRESS, see `astro_vq.codec.bands`; b'' for others.
    mixing : bytes
        Weights and width model of the mixing coder, see `astro_vq.codec.mixed`; b'' for defaults.
    first_mixing : bytes
        The same for coder 9, which is only read.
    """

    mapping: Mapping | None = None
    weights: dict[Phase, Weights] = dataclasses.field(default_factory=dict)
    scales: dict[tuple[int, int], ScaleModel] = dataclasses.field(default_factory=dict)
    bands: bytes = b""
    mixing: bytes = b""
    first_mixing: bytes = b""

    @property
    def loop(self) -> int:
        """Indices per step that coders count residuals in: 1 unless the mapping is a loop."""
        return self.mapping.stride if self.mapping and self.mapping.kind == LOOP else 1

    def weights_of(self, phase: Phase) -> Weights:
        """Return the weights of a phase.

        Without any of its own, a phase uses those of the next finer level; at the finest, the
        mean of the four nearest.
        """
        for level in range(phase.level, -1, -1):
            found = self.weights.get(Phase(level, phase.number))
            if found is not None:
                return found
        return NEAREST_FOUR

    def scale_model_of(self, phase: Phase) -> ScaleModel:
        """Return the scale model of a phase; there must be some.

        Without one of its own, a kind uses that of the next finer level.
        """
        for level in range(phase.level, 0, -1):
            found = self.scales.get((level, phase.kind))
            if found is not None:
                return found
        return self.scales[0, phase.kind]

    def to_bytes(self) -> bytes:
        """Return the side information as bytes; none where there is none."""
        if self == Shared():
            return b""
        head = bytes([_VERSION, self.mapping is not None])
        mapping = self.mapping.to_bytes() if self.mapping else b""
        weights, scales = encode_weights(self.weights), encode_scales(self.scales)
        parts = (self.bands, self.first_mixing, self.mixing)
        present = bytes([sum(1 << i for i, part in enumerate(parts) if part)])
        named = b"".join(sized(part) for part in parts if part)
        return head + mapping + weights + present + named + scales

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
        present = reader.byte()
        if present > 7:
            raise FormatError("damaged pixel side information: of an unknown kind")
        bands = reader.sized() if present & 1 else b""
        first_mixing = reader.sized() if present & 2 else b""
        mixing = reader.sized() if present & 4 else b""
        scales = decode_scales(reader)
        reader.finish()
        return cls(mapping, weights, scales, bands, mixing, first_mixing)
