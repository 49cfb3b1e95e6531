"""Small files, models and helpers for the tests of compressed files."""

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_vq


class Roundtrip:
    """Compresses a FITS file in memory and gets it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.original = b""
        self.packed = b""
        self.result = None

    def __call__(self, source, **choices) -> bytes:
        """Return the bytes that come back; `source` is bytes, an HDUList, or an HDU."""
        self.original = source if isinstance(source, bytes) else fits_bytes(source)
        path = self.folder / "original.fits"
        path.write_bytes(self.original)
        choices = {"tokens": False, "effort": 1} | choices
        packed = io.BytesIO()
        self.result = astro_vq.compress(path, packed, **choices)
        self.packed = packed.getvalue()
        return self.unpack(model=choices.get("model"))

    def unpack(self, **choices) -> bytes:
        """Decompress again, with other choices."""
        target = io.BytesIO()
        astro_vq.decompress(io.BytesIO(self.packed), target, **choices)
        return target.getvalue()


def fits_bytes(hdus, **choices) -> bytes:
    if isinstance(hdus, fits.PrimaryHDU):
        hdus = fits.HDUList([hdus])
    elif not isinstance(hdus, fits.HDUList):
        hdus = fits.HDUList([fits.PrimaryHDU(), hdus])
    file = io.BytesIO()
    hdus.writeto(file, **choices)
    return file.getvalue()


@pytest.fixture
def roundtrip(tmp_path) -> Roundtrip:
    """Function that compresses and decompresses; remembers what was between."""
    return Roundtrip(tmp_path)


@pytest.fixture(scope="session")
def sky_image() -> np.ndarray:
    """Noise, a gradient, a star, NaN and inf: float32 (100, 90)."""
    rng = np.random.default_rng(7)
    ys, xs = np.mgrid[:100, :90]
    image = 100 + 0.01 * xs + 500 * np.exp(-((ys - 30) ** 2 + (xs - 70) ** 2) / 8)
    image = (image + rng.normal(0, 4, image.shape)).astype(np.float32)
    image[5, 7] = np.nan
    image[80:85, 40:50] = np.nan
    image[9, 9], image[9, 10] = np.inf, -np.inf
    return image


@pytest.fixture(scope="session")
def token_model(tmp_path_factory) -> Path:
    """Folder of a small model whose codes are spread over what a sky image gives."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny", channels=1)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory) -> Path:
    """Folder of a model like `token_model`, of the same name, with other weights."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny", channels=1, seed=5)


@pytest.fixture(scope="session")
def three_band_model(tmp_path_factory) -> Path:
    """Folder of a small model of three bands."""
    return make_model(tmp_path_factory.mktemp("model") / "bands", channels=3)


def make_model(folder: Path, *, channels: int, seed: int = 0) -> Path:
    import torch

    from astro_vq.checkpoint import save_model
    from astro_vq.config import ModelConfig, RunConfig
    from astro_vq.models import build_model
    from astro_vq.models.base import PlainBatch

    torch.manual_seed(seed)
    config = RunConfig(
        model=ModelConfig(hidden_channels=4, latent_channels=2, codes=16, restart=False)
    )
    model = build_model(config.model, channels)
    model.train()
    model.loss(PlainBatch(torch.randn(2, channels, 32, 32)))  # puts the codes among the latents
    model.eval()
    save_model(folder, model, config)
    return folder
