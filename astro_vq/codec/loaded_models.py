"""Models that are loaded once for all the files of a process."""

import functools
import os
from pathlib import Path

from astro_vq.checkpoint import WEIGHTS_FILE, load_model
from astro_vq.codec.sparse_windows import wrap_model
from astro_vq.codec.windows import WindowedModel, choose_device

_Stamp = tuple[int, int] | None


def load_once(
    name: str | os.PathLike[str], *, device: str, expected_hash: str | None = None
) -> WindowedModel:
    """Load a model, or return the one that is loaded; see `load_model`.

    A model whose file has changed since is loaded anew. It is shared: nobody may change it.
    """
    label = str(name)
    return _load(label, choose_device(device), expected_hash, _stamp(label))


@functools.lru_cache(maxsize=4)
def _load(label: str, device: str, expected_hash: str | None, stamp: _Stamp) -> WindowedModel:
    return wrap_model(load_model(label, device=device, expected_hash=expected_hash))


def _stamp(label: str) -> _Stamp:
    """Return time and size of a model's file; None for the name of a shipped model."""
    path = Path(label)
    try:
        stat = (path / WEIGHTS_FILE if path.is_dir() else path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
