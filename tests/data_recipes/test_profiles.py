import numpy as np
import pytest
from astro_vq.data_recipes.profiles import PointSpread, Sersic
from scipy import integrate


@pytest.mark.parametrize("kind", ["gaussian", "moffat"])
def test_psf_stamps_add_up_to_one_and_match_pixel_integrals(kind):
    psf = PointSpread(3.0, kind, 3.0)
    stamp = psf.stamp(0.3, -0.2, 40)
    assert stamp.sum() == pytest.approx(1, abs=1e-12)

    def profile(y, x):
        squared = (x - 0.3) ** 2 + (y + 0.2) ** 2
        if kind == "gaussian":
            return psf.peak * np.exp(-squared * 4 * np.log(2) / 9)
        alpha = 1.5 / np.sqrt(2 ** (1 / 3) - 1)
        return psf.peak * (1 + squared / alpha**2) ** -3

    for row, column in [(0, 0), (1, 0), (-2, 3)]:
        exact, _ = integrate.dblquad(profile, column - 0.5, column + 0.5, row - 0.5, row + 0.5)
        assert stamp[40 + row, 40 + column] == pytest.approx(exact, rel=5e-4)


def test_half_of_the_peak_is_at_half_of_the_fwhm():
    for kind in ("gaussian", "moffat"):
        stamp = PointSpread(20.0, kind).stamp(0, 0, 60)
        assert stamp[60, 70] / stamp[60, 60] == pytest.approx(0.5, abs=0.005)
        assert PointSpread(20.0, kind).radius(1e-9) <= 250


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_half_of_the_light_of_a_galaxy_is_within_its_half_light_radius(index):
    """A galaxy much larger than the PSF, so that its blur changes nothing."""
    size = 20.0
    stamp = Sersic(size, index, 1.0, 0.0).stamp(0.0, 0.0, 250, PointSpread(1.0, "gaussian"))
    y, x = np.mgrid[-250:251, -250:251]
    inside = stamp[np.hypot(x, y) < size].sum()
    assert stamp.sum() == pytest.approx(1)
    outside = 0.025 if index == 4 else 0.0  # light of n = 4 beyond 12.5 half-light radii
    assert inside == pytest.approx(0.5 / (1 - outside), abs=0.006)


def test_galaxies_are_as_flat_and_turned_as_asked():
    stamp = Sersic(6.0, 1.0, 0.5, np.pi / 6).stamp(0.0, 0.0, 80, PointSpread(0.5, "gaussian"))
    y, x = np.mgrid[-80:81, -80:81]
    xx, yy, xy = ((stamp * m).sum() for m in (x * x, y * y, x * y))
    assert 0.5 * np.arctan2(2 * xy, xx - yy) == pytest.approx(np.pi / 6, abs=0.01)
    root = np.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2
    assert np.sqrt((mean - root) / (mean + root)) == pytest.approx(0.5, abs=0.02)


def test_the_psf_widens_a_galaxy_by_its_variance():
    y, x = np.mgrid[-40:41, -40:41]

    def variance(psf):
        stamp = Sersic(1.5, 0.5, 1.0, 0.0).stamp(0.2, 0.1, 40, psf)
        assert (stamp * x).sum() == pytest.approx(0.2, abs=1e-3)
        assert (stamp * y).sum() == pytest.approx(0.1, abs=1e-3)
        return (stamp * x**2).sum()

    sigma = 4 / 2.3548
    narrow = variance(PointSpread(0.3, "gaussian"))
    assert variance(PointSpread(4.0, "gaussian")) - narrow == pytest.approx(sigma**2, rel=0.02)
