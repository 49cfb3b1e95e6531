from pathlib import Path

from astro_vq.data.planes import PlaneAddress


def test_addresses_read_as_people_write_them():
    assert str(PlaneAddress(Path("a.fits"), 1, 2)) == "a.fits[1] plane 2"
    assert str(PlaneAddress(Path("a.h5"), "sci/g", 3, 1)) == "a.h5::sci/g[3, 1]"
