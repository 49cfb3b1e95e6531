"""Models on disk and in bytes: safetensors and JSON, known by a hash of their content.

A saved model is a folder with ``model.safetensors`` (every tensor, and the JSON below in its
metadata, so that the file alone is enough) and ``model.json`` (the same for people and other
programs). Nothing is ever unpickled.
"""

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from astro_vq import __version__
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.errors import ConfigError, FormatError, ModelMismatchError
from astro_vq.models import MODELS, Model, build_model, zoo
from astro_vq.models.shapes import count_numbers

FORMAT = 1
"""Format number of a saved model; a number never changes its meaning."""

WEIGHTS_FILE = "model.safetensors"
ABOUT_FILE = "model.json"
CARD_FILE = "MODEL_CARD.md"
_METADATA_KEY = "astro_vq"
_MOST_CHANNELS = 2**10
_SLACK = 2**20  # numbers of a model that may be missing before it is built
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format itself


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to use, and where it comes from.

    Attributes
    ----------
    model : Model
        In evaluation mode.
    config : RunConfig
        Of the run that trained it.
    name : str
        What it was saved as.
    hash : str
        Content hash, 64 hexadecimal digits: two models with the same hash encode alike.
    extra : dict
        Figures of the run, as given to `save_model`.
    """

    model: Model
    config: RunConfig
    name: str
    hash: str
    extra: dict[str, Any]


def content_hash(model: Model, config: ModelConfig) -> str:
    """Return the SHA-256 of what a model is.

    It is over the canonical JSON of the channels and of the model part of the configuration
    (`ModelConfig.identity`: what differs from the defaults), then over every tensor in the
    order of its name: name, dtype, shape and little-endian bytes.

    Parameters
    ----------
    model : Model
        The model.
    config : ModelConfig
        What it was built from.
    """
    return _hash_tensors(model.state_dict(), model.channels, config)


def _hash_tensors(tensors: Mapping[str, Tensor], channels: int, config: ModelConfig) -> str:
    about = {"channels": channels, "model": config.identity()}
    digest = hashlib.sha256(_canonical(about))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(_canonical([name, dtype, list(tensor.shape)]))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def save_model(
    directory: str | Path,
    model: Model,
    config: RunConfig,
    *,
    name: str | None = None,
    card: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Write a model into a folder, each file under a temporary name first.

    Parameters
    ----------
    directory : str or Path
        Folder, made where it is missing; a model in it is replaced.
    model : Model
        The model, on any device.
    config : RunConfig
        What it was built and trained from.
    name : str, optional
        What to call it; the folder's name when left out.
    card : str, optional
        Text of ``MODEL_CARD.md``.
    extra : mapping, optional
        Figures to keep with it; JSON values.

    Returns
    -------
    str
        The content hash.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    name = name or folder.resolve().name
    data = _to_bytes(model, config, name, dict(extra or {}))
    about = json.loads(_read_metadata(data, name))
    _replace(folder / WEIGHTS_FILE, data)
    _replace(folder / ABOUT_FILE, (json.dumps(about, indent=2) + "\n").encode())
    if card is not None:
        _replace(folder / CARD_FILE, card.encode())
    return str(about["hash"])


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _to_bytes(model: Model, config: RunConfig, name: str, extra: dict[str, Any]) -> bytes:
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    about = {
        "format": FORMAT,
        "version": __version__,
        "name": name,
        "channels": model.channels,
        "hash": _hash_tensors(tensors, model.channels, config.model),
        "config": config.to_dict(),
        "extra": extra,
    }
    data: bytes = save_tensors(tensors, metadata={_METADATA_KEY: json.dumps(about, sort_keys=True)})
    return data


def model_to_bytes(loaded: LoadedModel) -> bytes:
    """Return a model as the bytes of a safetensors file that holds its configuration too.

    Parameters
    ----------
    loaded : LoadedModel
        The model; its name and figures are kept.
    """
    return _to_bytes(loaded.model, loaded.config, loaded.name, loaded.extra)


def model_from_bytes(
    data: bytes, *, device: str | torch.device = "cpu", name: str = "embedded model"
) -> LoadedModel:
    """Return the model of what `model_to_bytes` gave.

    Parameters
    ----------
    data : bytes
        A safetensors file with our metadata.
    device : str or torch.device
        Where to put the model.
    name : str
        What to call the bytes in error messages.

    Raises
    ------
    FormatError
        The bytes are damaged, foreign, or of a newer format.
    """
    try:
        about = json.loads(_read_metadata(data, name))
    except ValueError as err:
        if isinstance(err, FormatError):
            raise
        raise FormatError(f"{name}: damaged model: its description is not JSON") from err
    return _build(data, about, name, device)


def _read_metadata(data: bytes, name: str) -> str:
    """Return our JSON from the header of a safetensors file."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else _LARGEST_HEADER + 1
    if size > _LARGEST_HEADER or len(data) < 8 + size:
        raise FormatError(f"{name}: not a safetensors file, or cut off ({len(data)} bytes)")
    try:
        header = json.loads(data[8 : 8 + size])
        text = header["__metadata__"][_METADATA_KEY]
    except ValueError as err:
        raise FormatError(f"{name}: damaged model: its safetensors header is not JSON") from err
    except (KeyError, TypeError) as err:
        raise FormatError(f"{name}: a safetensors file, but not a model of astro-vq") from err
    return str(text)


def _build(data: bytes, about: object, name: str, device: str | torch.device) -> LoadedModel:
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise FormatError(f"{name}: damaged model: its description has no format number")
    if about["format"] > FORMAT:
        raise FormatError(
            f"{name}: written by astro-vq {about.get('version', '?')} in model format "
            f"{about['format']}; this version ({__version__}) reads up to {FORMAT}: upgrade "
            "astro-vq"
        )
    try:
        stated, channels = str(about["hash"]), int(about["channels"])
        config = RunConfig.from_dict(about["config"])
        label, extra = str(about["name"]), dict(about["extra"])
    except ConfigError as err:
        raise FormatError(f"{name}: its configuration cannot be used: {err}") from err
    except (KeyError, TypeError, ValueError) as err:
        raise FormatError(f"{name}: damaged model: its description lacks {err}") from err
    if config.model.model not in MODELS:
        raise FormatError(f"{name}: model kind {config.model.model!r} is not known here")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise FormatError(f"{name}: damaged model: {channels} channels")
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError) as err:
        raise FormatError(f"{name}: damaged model (hash {stated}): {err}") from err
    found = _hash_tensors(tensors, channels, config.model)
    if found != stated:
        raise FormatError(
            f"{name}: damaged model: its content hash is {found}, its description says {stated}"
        )
    _check_shapes(tensors, config.model, channels, name)
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, only to be replaced
        model = build_model(config.model, channels)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as err:
        raise FormatError(f"{name}: tensors do not fit the model (hash {stated}): {err}") from err
    model = model.to(device).eval()
    if next(iter(model.parameters())).device.type != "mps":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedModel(model, config, label, stated, extra)


def _check_shapes(
    tensors: Mapping[str, Tensor], config: ModelConfig, channels: int, name: str
) -> None:
    """Check that the tensors are those of the model before memory is asked for on its word."""
    plain = dataclasses.replace(config, likelihood="normal")  # others may not do without memory
    try:
        wanted = count_numbers(plain, channels)
    except (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError) as err:
        first = str(err).partition("\n")[0]
        raise FormatError(f"{name}: its configuration makes no model: {first}") from err
    given = sum(tensor.numel() for tensor in tensors.values())
    if wanted > 2 * given + _SLACK:
        raise FormatError(
            f"{name}: tensors do not fit the model: {given} numbers, but about {wanted} are due"
        )


def load_model(
    name: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    expected_hash: str | None = None,
) -> LoadedModel:
    """Load a saved or shipped model.

    Parameters
    ----------
    name : str or Path, optional
        A run folder, a ``model.safetensors`` file, or the name of a shipped model; ``'default'``
        when left out.
    device : str or torch.device
        Where to put the model.
    expected_hash : str, optional
        Content hash that the model must have; a shipped model with it is taken when `name` is
        not to be found.

    Returns
    -------
    LoadedModel
        In evaluation mode.

    Raises
    ------
    ModelMismatchError
        There is no such model (the message names the ways to get it), or its hash is another.
    FormatError
        The model is damaged or of a newer format.
    """
    label = zoo.DEFAULT if name is None else str(name)
    path = _find(label)
    if path is None and expected_hash is not None:
        same = zoo.find_by_hash(expected_hash)
        path = None if same is None else _find(same)
    if path is None:
        raise ModelMismatchError(_explain_missing(label, expected_hash))
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ModelMismatchError(f"model {label!r} cannot be read: {err}") from err
    loaded = model_from_bytes(data, device=device, name=str(path))
    if expected_hash is not None and loaded.hash != expected_hash:
        raise ModelMismatchError(
            f"model {label!r} has hash {loaded.hash}, but {expected_hash} is needed; "
            + _ways(expected_hash)
        )
    return loaded


def _find(label: str) -> Path | None:
    """Return the safetensors file that a name stands for: shipped models come first."""
    shipped = zoo.find(label)
    if shipped is not None:
        return shipped / WEIGHTS_FILE
    path = Path(label)
    if path.is_dir():
        path = path / WEIGHTS_FILE
    return path if path.is_file() else None


def _explain_missing(label: str, expected_hash: str | None) -> str:
    path = Path(label)
    what = f"model {label!r}" + (f" (hash {expected_hash})" if expected_hash else "")
    why = f"the folder has no {WEIGHTS_FILE}" if path.is_dir() else "there is no such model here"
    return f"{what} is missing: {why}; " + _ways(expected_hash)


def _ways(expected_hash: str | None) -> str:
    names = ", ".join(zoo.list_names()) or "none"
    same = "the model with that hash" if expected_hash else "a model"
    return (
        f"give the run folder of {same} (-m RUN), or the name of a shipped one ({names}), or "
        "another version of astro-vq that ships it, or ask for the file with the model embedded "
        "(--embed-model)"
    )
