"""Models that are shipped with the package: names, files, content hashes."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "pretrained"
"""Where shipped models lie: one folder a model."""

DEFAULT = "default"
"""Name of the model that is taken when none is named."""


def list_names() -> list[str]:
    """Return the names of the shipped models, sorted."""
    return sorted(p.parent.name for p in FOLDER.glob("*/model.json"))


def find(name: str) -> Path | None:
    """Return the folder of a shipped model, or None where there is none of that name."""
    return FOLDER / name if name in list_names() else None


def find_by_hash(content_hash: str) -> str | None:
    """Return the name of the shipped model with a content hash, or None.

    Parameters
    ----------
    content_hash : str
        The hash, or at least its first eight digits.
    """
    if len(content_hash) < 8:
        raise ValueError(f"a content hash needs at least 8 digits, got {content_hash!r}")
    for name in list_names():
        about = json.loads((FOLDER / name / "model.json").read_text(encoding="utf-8"))
        if str(about.get("hash", "")).startswith(content_hash):
            return name
    return None
