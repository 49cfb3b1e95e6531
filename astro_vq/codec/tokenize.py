"""Token maps of the images of a file, as arrays with their coordinates."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_vq.codec.compress import compress
from astro_vq.codec.decompress import decompress
from astro_vq.codec.reader import AvqFile
from astro_vq.codec.reader import open as open_avq
from astro_vq.codec.reader_hdu import AvqHDU
from astro_vq.errors import DataError, FormatError, ModelMismatchError
from astro_vq.io.map_header import map_header
from astro_vq.io.token_file import ImageTokens, TokenFormat

_OBJECTS = ("OBJECT", "OBJNAME", "TARGNAME", "OBJECTID", "OBJID", "TILEID", "FIELD")
"""Keywords that name what an image shows; the first that is there counts."""


@dataclass(frozen=True)
class TokenizedFile:
    """What `tokenize` found in a file.

    Attributes
    ----------
    format : TokenFormat
        What the tokens are.
    maps : tuple of ImageTokens
        One for each image, or for each plane (each stack of bands) of a cube.
    notes : tuple of str
        What was left out.
    """

    format: TokenFormat
    maps: tuple[ImageTokens, ...]
    notes: tuple[str, ...] = ()


def tokenize(
    source: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "default",
    device: str = "auto",
) -> TokenizedFile:
    """Return the token maps of all images of a file: those that its `.avq` file would hold.

    Parameters
    ----------
    source : path
        FITS file, also packed, or an `.avq` file: the tokens in it are taken as they are if they
        are of this model, else they are made anew from its pixels.
    model : str or path
        Name of a shipped model or folder of a run.
    device : str
        Where the model runs.

    Returns
    -------
    TokenizedFile

    Raises
    ------
    FormatError
        The file is damaged or foreign.
    DataError
        It holds no image.
    ModelMismatchError
        The model is missing, has no tokens or takes other bands, or the file holds nothing but
        tokens of another model.
    """
    path = Path(source)
    if is_avq(path):
        from astro_vq.checkpoint import load_model

        with open_avq(path) as file:
            found = file.info()["model"]
            if found and found["hash"] == load_model(str(model)).hash:
                return _read(file, str(source))
            if file.fidelity == "tokens":
                raise ModelMismatchError(
                    f"{source}: holds nothing but tokens of model {found and found['name']!r}; "
                    f"take that model (-m), or the original image"
                )
        unpacked = io.BytesIO()
        decompress(path, unpacked)
        unpacked.seek(0)
        return _encode(unpacked, str(source), model, device)
    return _encode(path, str(source), model, device)


def read_tokens(source: str | os.PathLike[str]) -> TokenizedFile:
    """Return the token maps that an `.avq` file holds; no model is needed.

    Raises
    ------
    FormatError
        It is no `.avq` file, or damaged.
    DataError
        It has no tokens.
    """
    with open_avq(source) as file:
        return _read(file, str(source))


def is_avq(path: Path) -> bool:
    """Whether a name is that of an `.avq` file."""
    return path.suffix.lower() == ".avq"


def _encode(
    given: Path | io.BytesIO, label: str, model: str | os.PathLike[str], device: str
) -> TokenizedFile:
    packed = io.BytesIO()
    compress(given, packed, model=model, fidelity="tokens", device=device)
    packed.seek(0)
    with open_avq(packed) as file:
        return _read(file, label)


def _read(file: AvqFile, label: str) -> TokenizedFile:
    about = file.info()
    maps: list[ImageTokens] = []
    notes: list[str] = []
    layer: dict[str, int] = {}
    for hdu, known in zip(file, about["hdus"], strict=True):
        if not hdu.is_image:
            continue
        if not hdu.has_tokens or 0 in hdu.shape:
            reason = "no pixels" if 0 in hdu.shape else "the model does not take its bands"
            notes.append(f"HDU {hdu.index} left out: {reason}")
            continue
        layer = {name: int(known["tokens"][name]) for name in TokenFormat._fields[2:]}
        maps.extend(_maps_of(hdu, layer, label, _object_of(file, hdu)))
    if not maps:
        raise DataError(f"{label}: no image with tokens; {'; '.join(notes) or 'no image at all'}")
    model = about["model"]
    return TokenizedFile(
        TokenFormat(model=model["name"], hash=model["hash"], **layer), tuple(maps), tuple(notes)
    )


def _maps_of(hdu: AvqHDU, layer: dict[str, int], label: str, name: str) -> list[ImageTokens]:
    """Return the maps of one image."""
    scalings = hdu.token_scalings
    tokens: NDArray[np.int32] = hdu.tokens
    stacks = tokens[None] if tokens.ndim == 3 else tokens
    height, width = (1, *hdu.shape)[-2:]
    header = map_header(hdu.header, layer["stride"], stacks.shape[-2:])
    text = header.tostring(sep="", endcard=False, padding=False)
    dtype = np.uint8 if layer["codes"] <= 2**8 else np.uint16
    bands = layer["channels"]
    return [
        ImageTokens(
            indices=indices.astype(dtype),
            source=label,
            hdu=hdu.index,
            plane=number * bands,
            name=hdu.name,
            object=name,
            size=(height, width),
            sky=tuple(scalings[number * bands : (number + 1) * bands, 0].tolist()),
            sigma=tuple(scalings[number * bands : (number + 1) * bands, 1].tolist()),
            header=text,
        )
        for number, indices in enumerate(stacks)
    ]


def _object_of(file: AvqFile, hdu: AvqHDU) -> str:
    """Return what an image shows, from its own header or else from the primary one."""
    for header in (hdu.header, file[0].header):
        for name in _OBJECTS:
            try:
                value = header.get(name)
            except ValueError as err:  # a card that astropy cannot read
                raise FormatError(f"HDU {hdu.index}: card {name} is damaged") from err
            if isinstance(value, str | int) and str(value).strip():
                return str(value).strip()
    return ""
