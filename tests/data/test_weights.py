"""Weight maps: where they are found, what they say, and what becomes of it in network units."""

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.config import DataConfig, RunConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.datasets import CutoutDataset, collate
from astro_vq.data.planes import PlaneAddress, WeightMap
from astro_vq.data.scaling import Scaling
from astro_vq.data.weights import WeightSource, network_noise, noise_of
from astro_vq.training.noise import measure_noise

SIGMA = 5.0


def noise_map(shape=(48, 48)):
    """Return standard deviations that double from left to right, and where there are none."""
    sigma = np.full(shape, SIGMA)
    sigma[:, shape[1] // 2 :] = 2 * SIGMA
    return sigma


def make_image(seed, sigma):
    rng = np.random.default_rng(seed)
    return (100 + sigma * rng.standard_normal(sigma.shape)).astype(np.float32)


def as_weights(sigma, kind):
    values = {
        "inverse-variance": sigma**-2.0,
        "relative": 7e5 * sigma**-2.0,
        "variance": sigma**2,
        "sigma": sigma.copy(),
    }[kind]
    values[:4] = 0  # no data in the first rows
    return values.astype(np.float32)


def check(index, sigma):
    """Check the noise of a whole image against the map, and that zero weights are masked."""
    batch = collate([CutoutDataset(index, size=48).item(0, epoch=0)])
    scaling = index.images[0].planes[0].scaling
    assert not batch.mask[0, 0, :4].any()
    assert batch.mask[0, 0, 4:].all()
    assert (batch.scale[0, 0, :4] == 1).all()
    relative = sigma[4:] / scaling.sigma
    draws = np.random.default_rng(1).standard_normal(400_000)
    expected = torch.zeros(relative.shape, dtype=torch.float64)
    for s in np.unique(relative):  # what asinh makes of such noise
        expected[relative == s] = np.arcsinh(s * draws).std()
    near = batch.pixels[0, 0, 4:].sinh().abs() < 3 * torch.from_numpy(relative)
    assert near.float().mean() > 0.99  # the others have a slope
    found = batch.scale[0, 0, 4:][near].double()
    torch.testing.assert_close(found, expected[near], rtol=0.004, atol=0)


@pytest.mark.parametrize("kind", ["inverse-variance", "variance", "sigma"])
def test_the_scale_is_the_noise_over_that_of_the_sky(tmp_path, kind):
    sigma = noise_map()
    hdus = [fits.PrimaryHDU(make_image(0, sigma)), fits.ImageHDU(as_weights(sigma, kind))]
    hdus[1].name = "Noise"
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    index = CutoutIndex.build([tmp_path], weights=WeightSource("noise", kind))
    assert len(index.images) == 1
    check(index, sigma)


def test_relative_weights_get_the_factor_that_the_sky_asks_for(tmp_path):
    sigma = np.full((48, 48), SIGMA)
    fits.writeto(tmp_path / "a.fits", make_image(0, sigma))
    fits.writeto(tmp_path / "a.weight.fits", as_weights(sigma, "relative"))
    index = CutoutIndex.build([tmp_path], weights=WeightSource("*.weight.fits", "relative"))
    scaling = index.images[0].planes[0].scaling
    check(index, np.full_like(sigma, scaling.sigma))


def test_extensions_are_matched_by_version_and_files_by_hdu(tmp_path):
    sigmas = [np.full((48, 48), s) for s in (2.0, 4.0)]
    hdus, maps = [fits.PrimaryHDU()], [fits.PrimaryHDU()]
    for version, sigma in enumerate(sigmas, 1):
        hdus.append(fits.ImageHDU(make_image(version, sigma), name="SCI", ver=version))
        hdus.append(fits.ImageHDU(sigma**-2, name="WHT", ver=version))
        maps.append(fits.CompImageHDU(sigma.astype(np.float32), name=f"CCD{version}"))
    (tmp_path / "one").mkdir()
    fits.HDUList(hdus).writeto(tmp_path / "one" / "a.fits")
    index = CutoutIndex.build([tmp_path / "one"], weights=WeightSource("WHT"))
    assert [i.planes[0].weights.address.part for i in index.images] == [2, 4]
    (tmp_path / "two").mkdir()
    fits.HDUList([hdus[0], hdus[1], hdus[3]]).writeto(tmp_path / "two" / "b_sci.fits.gz")
    fits.HDUList(maps).writeto(tmp_path / "two" / "b_sci_rms.fits.fz")
    index = CutoutIndex.build([tmp_path / "two"], weights=WeightSource("*_rms.fits", "sigma"))
    assert [i.planes[0].weights.address.part for i in index.images] == [1, 2]
    assert {i.planes[0].weights.address.path.name for i in index.images} == {"b_sci_rms.fits.fz"}
    assert index.rejects == ()


def test_data_sets_of_hdf5_have_maps_beside_them(tmp_path):
    sigma = noise_map((48, 48))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["set/science"] = make_image(0, sigma)[None]
        file["set/ivar"] = as_weights(sigma, "inverse-variance")[None]
    index = CutoutIndex.build((), [tmp_path / "c.h5"], weights=WeightSource("ivar"))
    assert [i.planes[0].address.part for i in index.images] == ["set/science"]
    check(index, sigma)


def test_an_image_without_a_fitting_map_is_left_out_with_the_reason(tmp_path):
    sigma = np.full((48, 48), SIGMA)
    for name in "abc":
        fits.writeto(tmp_path / f"{name}.fits", make_image(ord(name), sigma))
    fits.writeto(tmp_path / "a.weight.fits", sigma)
    fits.writeto(tmp_path / "b.weight.fits", sigma[:40])
    index = CutoutIndex.build([tmp_path], weights=WeightSource("*.weight.fits"))
    assert [i.planes[0].address.path.name for i in index.images] == ["a.fits"]
    assert {r.reason for r in index.rejects} == {"no weight map"}
    details = " ".join(r.detail for r in index.rejects)
    assert "image in b.weight.fits is of shape (40, 48), the image (48, 48)" in details
    assert "there is no file c.weight.fits" in details


def test_noise_is_what_the_scaling_makes_of_it():
    scaling = Scaling(sky=10.0, sigma=2.0)
    draws = np.random.default_rng(0).standard_normal(400_000)
    values = np.array([10.0, 14.0, 4.0, 10.0, 10.0 + 2e4])
    noise = np.array([2.0, 2.0, 3.0, 0.02, 6.0])
    true = np.array([10.0, 10.0, 10.0, 10.0, 10.0 + 2e4])  # up to 3 sigma are sky
    expected = [
        scaling.forward(t + s * draws, dtype=float).std() for t, s in zip(true, noise, strict=True)
    ]
    np.testing.assert_allclose(network_noise(values, noise, scaling), expected, rtol=0.004)


def test_numbers_that_are_no_weights_give_no_noise():
    address = PlaneAddress("a.fits", 0)
    values = np.array([4.0, 0.0, -1.0, np.nan, np.inf])
    for kind, expected in (("inverse-variance", 0.5), ("variance", 2.0), ("sigma", 4.0)):
        noise = noise_of(values, WeightMap(address, kind))
        assert noise[0] == expected
        assert np.isnan(noise[1:]).all()
    assert noise_of(values, WeightMap(address, "relative", 3.0))[0] == 1.5


def test_the_noise_covariance_is_measured_in_units_of_the_noise(tmp_path):
    sigma = noise_map((96, 96))
    fits.writeto(tmp_path / "a.fits", make_image(3, sigma))
    fits.writeto(tmp_path / "a.rms.fits", sigma)
    index = CutoutIndex.build([tmp_path], weights=WeightSource("*.rms.fits", "sigma"))
    plain = measure_noise(index, 2, is_turned=False).values[0, 2, 2]
    scaled = measure_noise(index, 2, is_turned=False, is_scaled=True).values[0, 2, 2]
    relative = np.unique(sigma) / index.images[0].planes[0].scaling.sigma
    draws = np.arcsinh(relative[:, None] * np.random.default_rng(0).standard_normal(10_000))
    assert plain == pytest.approx(np.mean(draws**2), rel=0.06)
    assert scaled == pytest.approx(1.0, rel=0.04)


def test_a_source_must_be_of_a_known_kind_and_named():
    with pytest.raises(ValueError, match="weights must be one of inverse-variance"):
        WeightSource("WHT", "weight")
    with pytest.raises(ValueError, match="name of the weight maps is empty"):
        WeightSource(" ")
    with pytest.raises(ValueError, match="weights must be a name"):
        DataConfig(weights="")
    assert RunConfig.from_dict({"data": {"weights": "WHT"}}).data.weight_kind == "inverse-variance"
