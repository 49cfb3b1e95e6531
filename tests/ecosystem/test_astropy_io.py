"""astropy's unified reading and writing: what CCDData.write keeps for FITS is kept."""

import io

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDDataRef, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

import astro_vq
from astro_vq.errors import FormatError

astro_vq.register_astropy_io()


def frame() -> CCDData:
    rng = np.random.default_rng(0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10.7, 41.3]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-1e-4, 1e-4], [20.0, 30.0]
    return CCDData(
        rng.normal(100, 5, (60, 50)).astype("f4"),
        unit="adu",
        mask=rng.random((60, 50)) < 0.1,
        uncertainty=StdDevUncertainty(rng.uniform(4, 6, (60, 50)).astype("f4")),
        wcs=wcs,
        meta={"OBJECT": "M 31", "EXPTIME": 30.0},
    )


@pytest.mark.parametrize("fidelity", ["lossless", "max-error"])
def test_a_frame_comes_back_as_from_fits(fidelity, tmp_path):
    ccd = frame()
    bound = {} if fidelity == "lossless" else {"max_error": 0.25}
    ccd.write(tmp_path / "a.fits.avq", fidelity=fidelity, effort=1, **bound)
    ccd.write(tmp_path / "a.fits")
    again, plain = CCDData.read(tmp_path / "a.fits.avq"), CCDData.read(tmp_path / "a.fits")
    worst = 0.0 if fidelity == "lossless" else 0.25
    assert np.abs(again.data.astype("f8") - plain.data).max() <= worst
    assert np.array_equal(again.mask, plain.mask)
    assert type(again.uncertainty) is StdDevUncertainty
    error = np.abs(again.uncertainty.array.astype("f8") - plain.uncertainty.array)
    assert error.max() <= worst
    assert again.unit == plain.unit == u.adu
    assert again.wcs.wcs.compare(plain.wcs.wcs)
    assert again.header == plain.header
    assert again.data.dtype == plain.data.dtype


def test_names_do_not_matter_where_the_format_is_given(tmp_path):
    ccd = frame()
    ccd.write(tmp_path / "a.dat", format="avq", effort=1)
    assert CCDData.read(tmp_path / "a.dat").unit == u.adu  # told by its content
    assert CCDData.read(io.BytesIO((tmp_path / "a.dat").read_bytes())).unit == u.adu
    with fits.open(tmp_path / "a.dat") as hdus:
        assert "AVQVERS" in hdus[0].header
    with pytest.raises(OSError, match="overwrite"):
        ccd.write(tmp_path / "a.dat", format="avq")
    ccd.write(tmp_path / "a.dat", format="avq", overwrite=True, effort=1)


def test_plain_fits_is_still_read_as_fits(tmp_path):
    frame().write(tmp_path / "a.fits")
    assert CCDData.read(tmp_path / "a.fits").unit == u.adu
    with pytest.raises(FormatError, match=r"not an \.avq file"):
        CCDData.read(tmp_path / "a.fits", format="avq")


def test_nddata_keep_what_they_have(tmp_path):
    bare = NDDataRef(np.arange(600, dtype="i2").reshape(20, 30))
    bare.write(tmp_path / "bare.avq", effort=1)
    again = NDDataRef.read(tmp_path / "bare.avq")
    assert type(again) is NDDataRef
    assert np.array_equal(again.data, bare.data)
    assert again.unit is again.mask is again.uncertainty is None
    full = NDDataRef(
        bare.data.astype("f8"),
        unit="Jy",
        mask=bare.data > 500,
        uncertainty=VarianceUncertainty(bare.data.astype("f8")),
    )
    full.write(tmp_path / "full.avq", effort=1, fidelity="lossless")
    again = NDDataRef.read(tmp_path / "full.avq")
    assert again.unit == u.Jy
    assert np.array_equal(again.mask, full.mask)
    assert type(again.uncertainty) is VarianceUncertainty
    assert again.uncertainty.unit == u.Jy**2


def test_options_of_fits_reach_it(tmp_path):
    ccd = frame()
    ccd.write(tmp_path / "a.avq", effort=1, hdu_mask=None, hdu_uncertainty="ERR")
    assert CCDData.read(tmp_path / "a.avq").mask is None
    assert CCDData.read(tmp_path / "a.avq").uncertainty is None
    assert CCDData.read(tmp_path / "a.avq", hdu_uncertainty="ERR").uncertainty is not None
    assert CCDData.read(tmp_path / "a.avq", unit="electron").unit == u.electron


def test_registering_twice_changes_nothing():
    astro_vq.register_astropy_io()
    astro_vq.register_astropy_io()
