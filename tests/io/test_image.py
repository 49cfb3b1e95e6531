import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_vq.errors import DataError
from astro_vq.io.image import find_images, is_fits_name, iter_planes


def test_all_planes_of_all_images_come_in_order(tmp_path):
    cube = np.arange(24, dtype="int16").reshape(2, 3, 4)
    image = np.full((5, 6), 7.5, "float32")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    hdus = [fits.PrimaryHDU(cube), table, fits.CompImageHDU(image), fits.ImageHDU()]
    hdus[0].header["BUNIT"] = "ct"
    hdus[0].header["BLANK"] = 5
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    planes = list(iter_planes(tmp_path / "a.fits"))
    assert [(p.hdu, p.plane, p.shape, p.unit) for p in planes] == [
        (0, 0, (3, 4), "ct"),
        (0, 1, (3, 4), "ct"),
        (2, 0, (5, 6), ""),
    ]
    expected = cube.astype("float32")
    expected[0, 1, 1] = np.nan
    np.testing.assert_array_equal(planes[0].read(), expected[0])
    np.testing.assert_array_equal(planes[1].read(slice(1, 3), slice(2)), expected[1, 1:3, :2])
    np.testing.assert_array_equal(planes[2].read(), image)
    assert planes[0].header["BUNIT"] == "ct"
    assert planes[0].path == tmp_path / "a.fits"


def test_a_file_without_images_is_refused(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"a.fits: no image; its HDUs are: empty"):
        list(iter_planes(tmp_path / "a.fits"))


@pytest.mark.parametrize(
    "name",
    ["a.fits", "a.fit", "a.fts", "A.FIT", "a.fits.fz", "a.fits.gz", "a.FITS.bz2", "x/y.b.fits"],
)
def test_names_of_fits_are_told(name):
    assert is_fits_name(name)
    assert is_fits_name(Path(name))


@pytest.mark.parametrize("name", ["a.h5", "a.gz", "fits", ".fits", "a.fits.avq", "a.fits.part"])
def test_other_names_are_told(name):
    assert not is_fits_name(name)


def test_images_are_found_below_a_folder_sorted_and_hidden_ones_left_out(tmp_path):
    names = ["b.fits", "a/z.fit", "a/b/c.fits.gz", ".hidden/d.fits", ".e.fits", "f.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b""))
    (tmp_path / "folder.fits").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/b/c.fits.gz", "a/z.fit", "b.fits"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="none is no folder"):
        find_images(tmp_path / "none")
