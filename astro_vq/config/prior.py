"""Options of a prior over token maps."""

from dataclasses import dataclass

from astro_vq.config.section import Section


@dataclass(frozen=True)
class PriorConfig(Section):
    """Size of a PixelCNN over token maps.

    Parameters
    ----------
    width : int
        Channels of each stack.
    layers : int
        Gated layers.
    radius : int
        Positions that each layer looks to each side.
    context : int
        Channels in which a map sees the map above it (models with two levels).
    """

    width: int = 48
    layers: int = 5
    radius: int = 1
    context: int = 32

    def _check(self) -> None:
        self._need_positive("width", "layers", "radius", "context")
