"""What a report does."""

from dataclasses import dataclass, field
from typing import Any

from astro_vq.report.choice import Choice
from astro_vq.report.limits import parse_limits

RECORD_FORMAT = 2
"""Number of the layout of records."""


@dataclass(frozen=True)
class ReportSettings:
    """What a report does.

    Attributes
    ----------
    choices : tuple of Choice
        Ways to compress; the default of each image when empty.
    model : str
        Model, as for `astro_vq.compress`.
    effort : int
        1 to 9.
    tokens : bool
        Keep tokens beside pixels.
    devices : tuple of str
        Where networks run; what further ones write is compared with the first.
    peers : bool
        Run other codecs on the same pixels at the same bounds.
    sweep : bool
        Try bounds of `SWEEP_FACTORS` too, and recommend one.
    limits : dict of str to float
        Limits of the recommendation; see `astro_vq.report.limits`.
    hdu : int or None
        HDU to look at; the largest image otherwise.
    threshold : float
        Significance of a source.
    fwhm, radius : float or None
        Of point sources and the aperture, pixels; measured otherwise.
    """

    choices: tuple[Choice, ...] = ()
    model: str = "default"
    effort: int = 5
    tokens: bool = True
    devices: tuple[str, ...] = ("auto",)
    peers: bool = False
    sweep: bool = False
    limits: dict[str, float] = field(default_factory=lambda: parse_limits(()))
    hdu: int | None = None
    threshold: float = 5.0
    fwhm: float | None = None
    radius: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "choices": [choice._asdict() for choice in self.choices],
        }
