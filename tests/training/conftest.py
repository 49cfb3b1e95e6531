"""Small images to train on."""

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.figure import Figure

OPTIONS = {
    "cutout_size": 16,
    "validation_fraction": 0.3,
    "hidden_channels": 4,
    "latent_channels": 4,
    "codes": 8,
    "batch_size": 4,
    "steps": 20,
    "warmup": 2,
    "log_every": 4,
    "device": "cpu",
    "threads": 1,
}
"""A run of a moment."""


def make_image(seed, side=40, sources=6):
    """Return an image (side, side) of noise with stars, in some unit."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(100.0, 5.0, (side, side))
    for _ in range(sources):
        cy, cx = rng.uniform(0, side, 2)
        image += rng.uniform(50, 2000) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4.5)
    return image.astype(np.float32)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Folder of six images, a table and a constant image."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(6):
        fits.writeto(folder / f"field{seed}.fits", make_image(seed))
    fits.writeto(folder / "flat.fits", np.ones((40, 40), dtype=np.float32))
    column = fits.Column(name="A", format="J", array=[1, 2])
    fits.BinTableHDU.from_columns([column]).writeto(folder / "table.fits")
    return folder


@pytest.fixture
def brief(monkeypatch):
    """Draw empty figures, and validate on few cutouts: most of the time of a short run."""
    for name in ("draw_curves", "draw_reconstructions", "draw_usage"):
        monkeypatch.setattr(f"astro_vq.training.outputs.{name}", lambda *_, **__: Figure())
    monkeypatch.setattr("astro_vq.training.outputs.save_figure", lambda *_: None)
    monkeypatch.setattr("astro_vq.training.trainer.VALIDATION_CUTOUTS", 24)


@pytest.fixture
def options(images):
    """Options of a run of a moment on `images`."""
    return OPTIONS | {"fits_dir": [str(images)]}
