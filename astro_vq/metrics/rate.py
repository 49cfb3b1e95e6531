"""Bytes and bits per pixel of a compressed file, by layer, from the sizes of the files."""

from typing import Any, NamedTuple


class Rate(NamedTuple):
    """Size of a compressed file.

    Attributes
    ----------
    input_bytes, output_bytes : int
        Sizes of the files on disk.
    pixel_bytes, token_bytes, model_bytes : int
        Of the output: streams of pixels, of tokens, and an embedded model.
    header_bytes : int
        Everything else in the output: headers, tables of tiles, HDUs passed through, padding.
    pixels : int
        Pixels of all image HDUs.
    image_bytes : int
        What the images take uncompressed.
    """

    input_bytes: int
    output_bytes: int
    pixel_bytes: int
    token_bytes: int
    model_bytes: int
    header_bytes: int
    pixels: int
    image_bytes: int

    @property
    def ratio(self) -> float:
        """Size of the input file over that of the output file."""
        return self.input_bytes / self.output_bytes

    @property
    def image_ratio(self) -> float:
        """Size of the uncompressed images over that of the output; differs for .gz and .fz."""
        return self.image_bytes / self.output_bytes

    def bits_per_pixel(self, layer: str = "output") -> float:
        """Return bits per pixel of a layer.

        Parameters
        ----------
        layer : {'output', 'pixel', 'token', 'model', 'header', 'input', 'image'}
            Which bytes to count.
        """
        return 8 * float(getattr(self, f"{layer}_bytes")) / max(self.pixels, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {
            **self._asdict(),
            "ratio": self.ratio,
            "image_ratio": self.image_ratio,
            "bits_per_pixel": self.bits_per_pixel(),
            "layer_bits_per_pixel": {
                layer: self.bits_per_pixel(layer) for layer in ("header", "token", "pixel", "model")
            },
        }


def measure_rate(
    input_bytes: int,
    output_bytes: int,
    *,
    pixels: int,
    image_bytes: int,
    pixel_bytes: int = 0,
    token_bytes: int = 0,
    model_bytes: int = 0,
) -> Rate:
    """Split the size of a compressed file into its layers.

    Parameters
    ----------
    input_bytes, output_bytes : int
        Sizes of the files on disk.
    pixels, image_bytes : int
        Pixels of all images and what they take uncompressed.
    pixel_bytes, token_bytes, model_bytes : int
        Layers of the output.

    Raises
    ------
    ValueError
        When the output is empty, or its layers are together larger than it is.
    """
    layers = pixel_bytes + token_bytes + model_bytes
    if output_bytes <= 0 or layers > output_bytes:
        raise ValueError(f"layers of {layers} bytes in a file of {output_bytes} bytes")
    return Rate(
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        pixel_bytes=pixel_bytes,
        token_bytes=token_bytes,
        model_bytes=model_bytes,
        header_bytes=output_bytes - layers,
        pixels=pixels,
        image_bytes=image_bytes,
    )
