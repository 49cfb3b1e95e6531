"""What compressing and decompressing report."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CompressionResult:
    """What came of compressing one file.

    Attributes
    ----------
    input, output : str
        Names of the files; of an array or a file object something like ``<array>``.
    fidelity : {'tokens', 'max-error', 'lossless'}
        The loosest of all images of the file.
    max_error : float or None
        Largest error that any pixel may have, in the unit of the image; 0 when lossless, None
        for tokens. With several lossy images that of the largest one; `hdus` has them all.
    input_bytes, output_bytes : int
        Sizes of the files.
    pixel_bytes, token_bytes, model_bytes : int
        What the pixel streams, the token streams and the embedded model take of the output.
    bits_per_pixel : float or None
        Of the whole output; None when no image has a pixel.
    ratio : float
        Input over output.
    seconds : float
        Wall-clock time, without that of `verify_seconds`.
    model, model_hash : str or None
        Name and content hash of the model that made the tokens; None without tokens.
    verify_seconds : float or None
        Time to decode the file again and compare it; None when that was not asked for.
    hdus : tuple of dict
        One for each HDU of the input.
    notes : tuple of str
        What the user should know: images that were not treated as asked for.
    """

    input: str
    output: str
    fidelity: str
    max_error: float | None
    input_bytes: int
    output_bytes: int
    pixel_bytes: int
    token_bytes: int
    model_bytes: int
    bits_per_pixel: float | None
    ratio: float
    seconds: float
    model: str | None = None
    model_hash: str | None = None
    verify_seconds: float | None = None
    hdus: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "input": self.input,
            "output": self.output,
            "fidelity": self.fidelity,
            "max_error": self.max_error,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "pixel_bytes": self.pixel_bytes,
            "token_bytes": self.token_bytes,
            "model_bytes": self.model_bytes,
            "bits_per_pixel": self.bits_per_pixel,
            "ratio": self.ratio,
            "seconds": self.seconds,
            "model": self.model,
            "model_hash": self.model_hash,
            "verify_seconds": self.verify_seconds,
            "hdus": [dict(hdu) for hdu in self.hdus],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class DecompressionResult:
    """What came of decompressing one file.

    Attributes
    ----------
    input, output : str
        Names of the files.
    input_bytes, output_bytes : int
        Their sizes.
    seconds : float
        Wall-clock time.
    damaged : tuple of str
        What could not be decoded, each with HDU, tile and rectangle; only with ``keep_going``.
    notes : tuple of str
        What the user should know.
    """

    input: str
    output: str
    input_bytes: int
    output_bytes: int
    seconds: float
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything came back."""
        return not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "input": self.input,
            "output": self.output,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "seconds": self.seconds,
            "damaged": list(self.damaged),
            "notes": list(self.notes),
        }
