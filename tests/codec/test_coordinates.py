"""Coordinates of sections: pixels of a section lie where they lie in the image."""

import io
import pickle

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

import astro_vq
from astro_vq.codec.coordinates import section_wcs

SHAPE = (120, 90)
PLAIN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 40.5, "CRPIX2": 60.0,
         "CRVAL1": 10.7, "CRVAL2": 41.3}  # fmt: skip
CD = PLAIN | {"CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 1e-4}
PC = PLAIN | {"CDELT1": -1e-4, "CDELT2": 1e-4, "PC1_1": 0.9, "PC1_2": -0.4, "PC2_1": 0.4,
              "PC2_2": 0.9}  # fmt: skip
CROTA = PLAIN | {"CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 20.0}


def opened(data: np.ndarray, header: dict) -> astro_vq.AvqFile:
    out = io.BytesIO()
    hdu = fits.PrimaryHDU(data, fits.Header(header))
    astro_vq.compress(hdu, out, tokens=False, effort=1)
    return astro_vq.open(out)


KEYS = [
    np.s_[10:20, 50:80],
    np.s_[7:, ...],
    np.s_[..., -20:],
    np.s_[10:100:3, 5::7],
    np.s_[-1:, :],
    np.s_[42, 10:50],
    np.s_[10:50, 42],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("header", [CD, PC], ids=["cd", "pc"])
def test_pixels_of_a_section_lie_where_they_lie_in_the_image(key, header):
    whole = WCS(fits.Header(header))
    rows, columns = np.indices(SHAPE)
    expected = whole.pixel_to_world_values(columns[key], rows[key])
    part = section_wcs(whole, SHAPE, key)
    pixels = np.indices(rows[key].shape)[::-1]
    for found, due in zip(part.pixel_to_world_values(*pixels), expected, strict=True):
        assert np.allclose(found, due, rtol=0, atol=1e-9)
    if rows[key].ndim == 2:
        assert part.array_shape == rows[key].shape


def test_coordinates_of_a_file_are_those_of_its_header():
    file = opened(np.zeros(SHAPE, "u1"), CD)
    assert file.wcs.wcs.compare(WCS(fits.Header(CD)).wcs)
    part = file.section_wcs(np.s_[5:, 7:])
    assert part.wcs.crpix.tolist() == [40.5 - 7, 60 - 5]


def test_coordinates_of_a_plane_of_a_cube():
    third = {"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1e9, "CRPIX3": 1.0, "CD3_3": 1e6}
    file = opened(np.zeros((4, 30, 20), "f4"), CD | third)
    part = file.section_wcs(np.s_[2, 5:, 3:10])
    assert part.pixel_n_dim == 2
    due = file.wcs.pixel_to_world_values(3 + 1, 5 + 2, 2)
    assert np.allclose(part.pixel_to_world_values(1, 2), due[:2], rtol=0, atol=1e-9)
    assert file.section_wcs(np.s_[1:3]).pixel_to_world_values(0, 0, 0)[2] == pytest.approx(1.001e9)


def test_a_plane_of_a_radio_map_is_lazy_and_lies_on_the_sky():
    more = {"WCSAXES": 4, "CTYPE3": "FREQ", "CRVAL3": 1e9, "CRPIX3": 1.0, "CD3_3": 1e6}
    more |= {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": 1.0, "CD4_4": 1.0}
    maps = np.random.default_rng(0).normal(size=(1, 3, 40, 30)).astype("f4")
    file = opened(maps, CD | more)
    plane = pickle.loads(pickle.dumps(file.section.plane(0, 2)))
    assert plane.shape == (40, 30)
    assert np.array_equal(plane[3:9, ::-2], file.data[0, 2, 3:9, ::-2])
    cutout = Cutout2D(plane, plane.wcs.pixel_to_world(12, 20), (6, 5))
    assert np.array_equal(cutout.data, file.data[0, 2][cutout.slices_original])
    single = opened(maps[0, 0], CD)
    assert np.array_equal(single.section.plane()[:], single.data)
    for index in [(), (0,), (0, 0, 0), (0, 3)]:
        with pytest.raises(IndexError):
            file.section.plane(*index)


def test_an_axis_that_the_image_lacks_stays():
    third = {"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1e9, "CRPIX3": 1.0, "CD3_3": 1e6}
    part = section_wcs(WCS(fits.Header(CD | third)), SHAPE, np.s_[5:, 3:10])
    assert part.wcs.crpix.tolist() == [40.5 - 3, 60 - 5, 1]


def test_impossible_coordinates_are_refused():
    plain = WCS(fits.Header(CD))
    with pytest.raises(ValueError, match="positive step"):
        section_wcs(plain, SHAPE, np.s_[::-1])
    with pytest.raises(ValueError, match="CROTA"):
        section_wcs(WCS(fits.Header(CROTA)), SHAPE, np.s_[::2])
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    sip |= {"A_ORDER": 2, "A_2_0": 1e-7, "B_ORDER": 2, "B_0_2": 1e-7}
    curved = WCS(fits.Header(CD | sip))
    with pytest.raises(ValueError, match="distortions"):
        section_wcs(curved, SHAPE, np.s_[::2])
    found = section_wcs(curved, SHAPE, np.s_[100:, 50:]).all_pix2world([[3, 4]], 0)
    due = curved.all_pix2world([[53, 104]], 0)
    assert np.allclose(found, due, rtol=0, atol=1e-9)
