"""Records of images: plain JSON values, kept so that a report can go on where it stopped."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from astro_vq.report.settings import RECORD_FORMAT, ReportSettings


def settings_key(settings: ReportSettings, path: Path) -> str:
    """Return a hash of what a record depends on: settings, and size and time of the file."""
    stat = path.stat()
    about = [RECORD_FORMAT, settings.to_dict(), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """Return a record that was written earlier, None when it is missing, damaged or outdated."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(saved, dict) or saved.get("key") != key:
        return None
    record = saved.get("record")
    return record if isinstance(record, dict) else None


def write_record(path: Path, key: str, record: Mapping[str, Any]) -> None:
    """Write a record with the key that it belongs to, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps({"key": key, "record": record}, allow_nan=False)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def clean_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with numpy scalars made plain and numbers that JSON cannot hold as None."""
    if isinstance(value, dict):
        return {str(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_json(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
