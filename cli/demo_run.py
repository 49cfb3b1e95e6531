"""The work of ``astro-vq demo``: simulate, compress, decompress, measure, draw."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astro_vq.data_recipes.simulated import write_simulated_fits
from astropy.io import fits
from numpy.typing import NDArray

import astro_vq
from astro_vq.data.noise import sky_statistics
from astro_vq.plotting import save_figure
from astro_vq.types import FIDELITIES

from .demo_figure import Panel, draw_demo

if TYPE_CHECKING:
    from astro_vq.codec.compress import CompressionResult

ORIGINAL = "sky.fits"
PICTURE = "demo.png"
ENDINGS = (".fits.avq", ".fits")
"""Of the compressed and the decompressed file of a fidelity."""
SHOWN = 256
"""Pixels along each side of the part of the frame that the picture shows."""


def run_demo(
    folder: Path,
    *,
    size: int,
    model: str,
    seed: int,
    device: str,
    overwrite: bool,
    report: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Put a simulated frame through the three fidelities and write everything into a folder.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    size : int
        Width and height of the frame, pixels.
    model : str
        Name of a shipped model or the folder of a run.
    seed : int
        Seed of the frame.
    device : str
        Where the networks run.
    overwrite : bool
        Replace files of an earlier demo.
    report : callable
        Takes a line about each step before it begins.

    Returns
    -------
    list of dict
        For each fidelity the JSON object of its compression, and what was measured:
        ``sigma`` (noise of the sky, unit of the image), ``promised_error_sigma`` (None without a
        bound), ``max_error_sigma``, ``rms_error_sigma`` and ``median_error_sigma`` (of absolute
        errors), and ``identical`` (whether every bit
        of the pixels came back).

    Raises
    ------
    FileExistsError
        When a file of an earlier demo is there and `overwrite` is false.
    """
    names = [ORIGINAL, PICTURE, *(f"{name}{end}" for name in FIDELITIES for end in ENDINGS)]
    present = [name for name in names if (folder / name).exists()]
    if present and not overwrite:
        raise FileExistsError(
            f"{folder / present[0]} is already there; use --overwrite to replace the files of an "
            "earlier demo, or another folder with -o"
        )
    folder.mkdir(parents=True, exist_ok=True)
    report(f"simulating {size} x {size} pixels: {folder / ORIGINAL}")
    write_simulated_fits(
        folder / ORIGINAL, (size, size), seed=seed, with_truth=False, overwrite=overwrite
    )
    original = _read_pixels(folder / ORIGINAL)
    sky = sky_statistics(original)
    window = _busiest_window(original > sky.level + 5 * sky.sigma)
    rows, panels = [], []
    for fidelity in FIDELITIES:
        report(f"compressing and decompressing: {fidelity}")
        packed, unpacked = (folder / f"{fidelity}{ending}" for ending in ENDINGS)
        result: CompressionResult = astro_vq.compress(
            folder / ORIGINAL,
            packed,
            model=model,
            fidelity=fidelity,
            device=device,
            overwrite=overwrite,
        )
        astro_vq.decompress(packed, unpacked, model=model, device=device, overwrite=overwrite)
        decoded = _read_pixels(unpacked)
        measured = measure_error(original, decoded, sky.sigma, result.max_error)
        rows.append(result.to_dict() | measured)
        panels.append(Panel(fidelity, decoded[window], 8 * result.output_bytes / original.size))
    figure = draw_demo(
        original[window],
        panels,
        level=sky.level,
        sigma=sky.sigma,
        original_bits=8 * original.dtype.itemsize,
    )
    save_figure(figure, folder / PICTURE)
    return rows


def measure_error(
    original: NDArray[Any], decoded: NDArray[Any], sigma: float, promised: float | None
) -> dict[str, Any]:
    """Return the errors of decoded pixels in units of the noise of the sky.

    Parameters
    ----------
    original, decoded : ndarray (H, W)
        Pixels of the same type, without NaN.
    sigma : float
        Noise of the sky, in the unit of the image.
    promised : float or None
        The bound in the unit of the image; None when there is none.
    """
    error = decoded.astype(np.float64) - original.astype(np.float64)
    return {
        "sigma": sigma,
        "promised_error_sigma": None if promised is None else promised / sigma,
        "max_error_sigma": float(np.abs(error).max()) / sigma,
        "median_error_sigma": float(np.median(np.abs(error))) / sigma,
        "rms_error_sigma": float(np.sqrt(np.mean(error**2))) / sigma,
        "identical": original.tobytes() == decoded.tobytes(),
    }


def _read_pixels(path: Path) -> NDArray[Any]:
    """Read the primary image in native byte order."""
    with fits.open(path) as hdus:
        data = np.asarray(hdus[0].data)
    return data.astype(data.dtype.newbyteorder("="))


def _busiest_window(bright: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the window, of those of a coarse grid, with the most bright pixels."""
    side = min(SHOWN, *bright.shape)
    starts = [range(0, length - side + 1, max(side // 4, 1)) for length in bright.shape]
    windows = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]
    return max(windows, key=lambda window: int(bright[window].sum()))
