"""Runs with the covariance between all pixels of a cutout, from a file."""

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.checkpoint import load_model
from astro_vq.errors import ConfigError, DataError
from astro_vq.training.loop import train
from astro_vq.training.noise_matrix import read_noise_matrix
from astro_vq.training.reports import Note

pytestmark = pytest.mark.usefixtures("brief")

SIZE = 8
N = SIZE**2


def make_covariance(width_y=2.0, width_x=2.0):
    """Noise that is correlated along both axes, its variance larger in the middle."""
    lags = np.abs(np.subtract.outer(np.arange(SIZE), np.arange(SIZE)))
    matrix = np.kron(np.exp(-lags / width_y), np.exp(-lags / width_x))
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    sigma = 0.5 + np.exp(-(y**2 + x**2) / 20).ravel()
    return matrix * sigma[:, None] * sigma


def write_matrix(path, matrix, name=None):
    header = fits.Header({} if name is None else {"EXTNAME": name})
    fits.PrimaryHDU(matrix, header).writeto(path)
    return str(path)


@pytest.fixture
def full_options(options):
    full = {"likelihood": "multivariate-normal", "likelihood_covariance": "full"}
    return options | full | {"cutout_size": SIZE, "steps": 2}


def test_a_matrix_is_read_used_and_kept(full_options, tmp_path):
    matrix = make_covariance()
    path = write_matrix(tmp_path / "noise.fits", matrix)
    notes = []
    run = tmp_path / "run"
    result = train(
        full_options | {"noise_covariance": path},
        run,
        progress=lambda report: notes.append(report.text) if isinstance(report, Note) else None,
    )
    assert any(note.startswith("noise covariance from noise.fits: 64 pixels") for note in notes)
    assert result.validation.terms["loss"] > 0
    card = (run / "MODEL_CARD.md").read_text()
    assert "covariance between all 64 pixels of a cutout given in the file `noise.fits`" in card
    likelihood = load_model(run).model.likelihood
    x = torch.randn(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()
    found = likelihood.log_prob(x, likelihood(torch.zeros_like(x)))
    known = torch.distributions.MultivariateNormal(
        torch.zeros(N, dtype=torch.float64), torch.from_numpy(matrix)
    )
    torch.testing.assert_close(found, known.log_prob(x.flatten(1)), rtol=1e-6, atol=0)


def test_a_factor_and_a_precision_are_told_by_name(tmp_path):
    matrix = make_covariance()
    for name, values in (
        ("CHOLESKY", np.linalg.cholesky(matrix)),
        ("PRECISION", np.linalg.inv(matrix)),
        ("NOISE", matrix),
    ):
        path = write_matrix(tmp_path / f"{name}.fits", values, name)
        found = read_noise_matrix(path, 1, SIZE, is_turned=True)
        assert found.kind == (name.lower() if name != "NOISE" else "covariance")
        np.testing.assert_array_equal(found.values, values)


def test_a_matrix_that_does_not_fit_is_refused(full_options, tmp_path):
    with pytest.raises(ConfigError, match="give it with --noise-covariance FILE"):
        train(full_options, tmp_path / "run")
    path = write_matrix(tmp_path / "noise.fits", make_covariance())
    with pytest.raises(DataError, match=r"noise of 2 x 8 x 8 pixels is a matrix of 128 x 128"):
        read_noise_matrix(path, 2, SIZE, is_turned=True)
    path = write_matrix(tmp_path / "long.fits", make_covariance(4.0, 1.0))
    with pytest.raises(DataError, match="use --no-augment"):
        read_noise_matrix(path, 1, SIZE, is_turned=True)
    read_noise_matrix(path, 1, SIZE, is_turned=False)
    path = write_matrix(tmp_path / "adu.fits", 1e6 * make_covariance())
    with pytest.raises(DataError, match="not in network units"):
        read_noise_matrix(path, 1, SIZE, is_turned=True)
    path = write_matrix(tmp_path / "nan.fits", np.full((N, N), np.nan))
    with pytest.raises(DataError, match="not finite"):
        read_noise_matrix(path, 1, SIZE, is_turned=True)
