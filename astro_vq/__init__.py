"""Compress sky images with vector-quantised autoencoders, within a bound you choose.

Public names are loaded when first used, so that importing the package stays cheap.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AvqFile": "astro_vq.codec.reader",
    "TokenDataset": "astro_vq.codec.token_dataset",
    "compress": "astro_vq.codec.compress",
    "decompress": "astro_vq.codec.decompress",
    "load_model": "astro_vq.checkpoint",
    "open": "astro_vq.codec.reader",
    "register_astropy_io": "astro_vq.ecosystem.astropy_io",
    "sample": "astro_vq.codec.sample",
    "tokenize": "astro_vq.codec.tokenize",
    "train": "astro_vq.training.loop",
    "verify": "astro_vq.codec.verify",
}

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'astro_vq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
