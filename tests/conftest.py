"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no clock: a busy machine must not fail a test. To look for
# new examples: pytest --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def sky_dir() -> Path:
    """Folder of real sky images with `train`, `eval` and `formats` below it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "sky"
    folder = Path(os.environ.get("ASTRO_VQ_SKY", default))
    if not (folder / "eval").is_dir():
        pytest.skip("the folder of real sky images is not here (set ASTRO_VQ_SKY)")
    return folder
