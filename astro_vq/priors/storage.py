"""Priors on disk: safetensors and JSON beside the model, which they name by its content hash."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from astro_vq import __version__
from astro_vq.config import PriorConfig
from astro_vq.errors import ConfigError, FormatError, ModelMismatchError
from astro_vq.io.atomic import atomic_writer
from astro_vq.priors.pixelcnn import MapShape
from astro_vq.priors.token_prior import TokenPrior

FORMAT = 1
"""Format number of a saved prior; a number never changes its meaning."""

PRIOR_FILE = "prior.safetensors"
ABOUT_FILE = "prior.json"
_METADATA_KEY = "astro_vq_prior"


@dataclass(frozen=True)
class LoadedPrior:
    """A prior that is ready to use, and the model that it is for.

    Attributes
    ----------
    prior : TokenPrior
        In evaluation mode.
    model_name, model_hash : str
        Of the model whose tokens it knows.
    extra : dict
        Figures of its training.
    """

    prior: TokenPrior
    model_name: str
    model_hash: str
    extra: dict[str, Any]


def save_prior(
    directory: str | Path,
    prior: TokenPrior,
    *,
    model_name: str,
    model_hash: str,
    extra: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write ``prior.safetensors`` and ``prior.json`` into a folder.

    Parameters
    ----------
    directory : str or Path
        Folder, made where it is missing: that of the model, so that it is found.
    prior : TokenPrior
        The prior, on any device.
    model_name, model_hash : str
        Of the model whose tokens it knows.
    extra : mapping, optional
        Figures to keep with it; JSON values.
    overwrite : bool
        Replace a prior that is there.

    Returns
    -------
    Path
        Of ``prior.safetensors``.

    Raises
    ------
    FileExistsError
        There is a prior, and `overwrite` is false.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "format": FORMAT,
        "version": __version__,
        "model": model_name,
        "model_hash": model_hash,
        "codes": prior.shape.codes,
        "depth": prior.shape.depth,
        "levels": prior.levels,
        "config": prior.config.to_dict(),
        "extra": dict(extra or {}),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in prior.state_dict().items()}
    text = json.dumps(about, sort_keys=True)
    path = folder / PRIOR_FILE
    with atomic_writer(path, overwrite=overwrite) as file:
        file.write(save_tensors(tensors, metadata={_METADATA_KEY: text}))
    with atomic_writer(folder / ABOUT_FILE, overwrite=True) as file:
        file.write((json.dumps(about, indent=2) + "\n").encode())
    return path


def load_prior(
    directory: str | Path, *, model_hash: str | None = None, device: str | torch.device = "cpu"
) -> LoadedPrior:
    """Load a saved prior.

    Parameters
    ----------
    directory : str or Path
        Folder with ``prior.safetensors``, or that file.
    model_hash : str, optional
        Content hash of the model that it must be for.
    device : str or torch.device
        Where to put it.

    Raises
    ------
    FileNotFoundError
        There is none.
    ModelMismatchError
        It is for another model.
    FormatError
        It is damaged, foreign, or of a newer format.
    """
    path = Path(directory)
    path = path / PRIOR_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no prior here")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as err:
        raise FormatError(f"{path}: damaged prior: {err}") from err
    if text is None:
        raise FormatError(f"{path}: a safetensors file, but not a prior of astro-vq")
    loaded = _build(json.loads(text), tensors, path)
    if model_hash is not None and loaded.model_hash != model_hash:
        raise ModelMismatchError(
            f"{path}: this prior is for model {loaded.model_name!r} of hash {loaded.model_hash}, "
            f"not for {model_hash}; train one for it: astro-vq train --prior MODEL"
        )
    loaded.prior.to(device).eval()
    return loaded


def _build(about: Any, tensors: dict[str, torch.Tensor], path: Path) -> LoadedPrior:  # noqa: ANN401
    try:
        number = int(about["format"])
        if number > FORMAT:
            raise FormatError(
                f"{path}: written by astro-vq {about.get('version', '?')} in prior format "
                f"{number}; this version ({__version__}) reads up to {FORMAT}: upgrade astro-vq"
            )
        shape = MapShape(int(about["codes"]), int(about["depth"]))
        config = PriorConfig.from_dict(about["config"])
        levels, extra = int(about["levels"]), dict(about["extra"])
        name, model_hash = str(about["model"]), str(about["model_hash"])
    except ConfigError as err:
        raise FormatError(f"{path}: its configuration cannot be used: {err}") from err
    except (KeyError, TypeError) as err:
        raise FormatError(f"{path}: damaged prior: its description lacks {err}") from err
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, only to be replaced
        prior = TokenPrior(shape, levels=levels, config=config)
    try:
        prior.load_state_dict(tensors, strict=True)
    except RuntimeError as err:
        raise FormatError(f"{path}: tensors do not fit the prior: {err}") from err
    return LoadedPrior(prior, name, model_hash, extra)
