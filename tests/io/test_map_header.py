"""Coordinates of token maps against those of the pixels that a position covers."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_vq.io.fits import open_fits
from astro_vq.io.image import find_images
from astro_vq.io.map_header import has_coordinates, map_header


def header_of(**cards):
    header = fits.Header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, 400, 300
    for axis, kind in enumerate(("RA---TAN", "DEC--TAN"), 1):
        header[f"CTYPE{axis}"] = kind
        header[f"CRPIX{axis}"] = (120.25, 77.5)[axis - 1]
        header[f"CRVAL{axis}"] = (150.1, 40.2)[axis - 1]
    header.update(cards)
    return header


MATRIX = {"CD1_1": -1e-4, "CD1_2": 3e-5, "CD2_1": 2e-5, "CD2_2": 1.1e-4}
SIP = {
    **{"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 2},
    **{"A_2_0": 3e-5, "A_1_1": -1e-5, "A_1_2": 2e-7, "B_0_2": 4e-5, "B_2_0": 1e-5},
    **{"AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": -3e-5, "AP_1_0": 1e-4, "BP_0_2": -4e-5},
}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV1_4": 0.3, "PV2_1": 1.0}


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize(
    "cards",
    [
        MATRIX,
        {"CDELT1": -1e-4, "CDELT2": 1e-4},
        {"CDELT1": -1e-4, "CDELT2": 2e-4, "CROTA2": 30.0},
        {"CDELT1": -1e-4, "CDELT2": 2e-4, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"CDELT1": -1e-4, "CDELT2": 2e-4, "PC001001": -0.8, "PC001002": 0.6, "PC002002": 0.8},
        {},
        MATRIX | SIP,
        MATRIX | TPV,
    ],
    ids=["CD", "CDELT", "CROTA", "PC", "old-PC", "bare", "SIP", "TPV"],
)
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_a_position_lies_where_the_centre_of_its_pixels_lies(cards, stride):
    image = header_of(**cards)
    small = map_header(image, stride, (300 // stride, 400 // stride))
    y, x = np.array([0, 3, 17, 36]), np.array([0, 5, 48, 20])
    centre = stride * x + (stride - 1) / 2, stride * y + (stride - 1) / 2
    expected = WCS(image).all_pix2world(*centre, 0)
    found = WCS(small).all_pix2world(x, y, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * stride)
    assert (small["NAXIS1"], small["NAXIS2"]) == (400 // stride, 300 // stride)
    if "AP_2_0" in cards:
        there = np.array(WCS(image).sip_foc2pix(40.0 * x, 20.0 * y, 1))  # from CRPIX to pixels
        back = np.array(WCS(small).sip_foc2pix(40.0 * x / stride, 20.0 * y / stride, 1))
        np.testing.assert_allclose((back - 0.5) * stride + 0.5, there, atol=1e-9)


def test_images_without_coordinates_have_maps_without():
    for cards in ({"CTYPE1": ""}, {"CTYPE1": "RA---TAB"}, {"CRPIX2": "odd"}, {"CPDIS1": "Lookup"}):
        assert [*map_header(header_of(**cards), 4, (5, 6))] == ["NAXIS", "NAXIS1", "NAXIS2"]
    assert "OBJECT" not in map_header(header_of(OBJECT="M31", **MATRIX), 4, (5, 6))


def test_further_axes_and_doubled_cards_play_no_part():
    header = header_of(**MATRIX)
    header["CTYPE3"], header["CRPIX3"], header["CDELT3"] = "FREQ", 1.0, 1e6
    header.append(("CRPIX1", 9.0), end=True)
    small = map_header(header, 2, (5, 6))
    assert "CTYPE3" not in small
    assert small["CRPIX1"] == (120.25 - 0.5) / 2 + 0.5


@pytest.mark.sky
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize(
    "folder", ["eval/pan-starrs1", "eval/palomar-48in-schmidt", "eval/galex", "eval/hst-nicmos"]
)
def test_maps_of_real_files_lie_where_their_images_lie(sky_dir, folder):
    checked = 0
    for path in find_images(sky_dir / folder):
        with open_fits(path) as file:
            for hdu in file.hdus:
                if not hdu.n_planes or not has_coordinates(hdu.header):
                    continue
                rows, columns = (-(-side // 4) for side in hdu.plane_shape)
                small = WCS(map_header(hdu.header, 4, (rows, columns)))
                x, y = np.array([0, columns // 2, columns - 1]), np.array([0, rows // 2, rows - 1])
                expected = WCS(hdu.header, naxis=2).all_pix2world(4 * x + 1.5, 4 * y + 1.5, 0)
                np.testing.assert_allclose(small.all_pix2world(x, y, 0), expected, atol=1e-7)
                checked += 1
    assert checked
