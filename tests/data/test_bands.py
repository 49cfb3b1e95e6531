import h5py
import numpy as np
import pytest
from astropy.io import fits

from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import DataError

BANDS = ("g", "r", "i")


def sky(seed, shape=(20, 24)):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def write(path, data, **cards):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    hdu.writeto(path)


def names(index):
    return [[plane.address.path.name for plane in image.planes] for image in index.images]


def test_bands_in_file_names_stack_in_the_order_asked_for(tmp_path):
    for number in range(2):
        for k, band in enumerate(BANDS):
            write(tmp_path / f"field{number}_{band}.fits", sky(10 * number + k))
    index = CutoutIndex.build([tmp_path], bands=("r", "g"))
    assert names(index) == [[f"field{n}_r.fits", f"field{n}_g.fits"] for n in range(2)]
    assert index.channels == 2
    assert index.bands == ("r", "g")
    assert index.reject_counts == {"no such band": 2}


def test_case_counts_unless_nothing_else_matches(tmp_path):
    write(tmp_path / "a-G.fits", sky(1))
    write(tmp_path / "a-R.fits", sky(2))
    assert names(CutoutIndex.build([tmp_path], bands=("g", "r"))) == [["a-G.fits", "a-R.fits"]]
    write(tmp_path / "b_g_G.fits", sky(3))
    write(tmp_path / "b_r_G.fits", sky(4))
    index = CutoutIndex.build([tmp_path], bands=("g", "r"))
    assert ["b_g_G.fits", "b_r_G.fits"] in names(index)


def test_bands_by_filter_and_object_cards(tmp_path):
    write(tmp_path / "001.fits", sky(1), OBJECT="M 51", FILTER="g.MP9401")
    write(tmp_path / "002.fits", sky(2), OBJECT="M 51", FILTER="r DECam SDSS c0002 6415.0 1480.0")
    write(tmp_path / "003.fits", sky(3), OBJECT="M 82", FILTER="g")
    index = CutoutIndex.build([tmp_path], bands=("g", "r"))
    assert names(index) == [["001.fits", "002.fits"]]
    (reject,) = index.rejects
    assert reject.reason == "missing band"
    assert reject.source.startswith("OBJECT M 82")
    assert reject.detail == "no r; there is g"


def test_bands_as_planes_of_a_cube_and_as_extensions(tmp_path):
    write(tmp_path / "cube.fits", np.stack([sky(1), sky(2), sky(3)]))
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(sky(9 + k), name=b) for k, b in enumerate("igr"))]
    fits.HDUList(hdus).writeto(tmp_path / "mef.fits")
    index = CutoutIndex.build([tmp_path], bands=("G", "R", "I"))
    cube, mef = index.images
    assert [plane.address.plane for plane in cube.planes] == [0, 1, 2]
    assert [plane.address.part for plane in mef.planes] == [2, 3, 1]


def test_bands_of_hdf5_stacks(tmp_path):
    data = np.stack([[sky(10 * i + c, (16, 16)) for c in range(3)] for i in range(4)])
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["images"] = data
    with h5py.File(tmp_path / "named.h5", "w") as file:
        file["images"] = data + 1
        file["images"].attrs["bands"] = ["i", "r", "g"]
    with h5py.File(tmp_path / "apart.h5", "w") as file:
        for c, band in enumerate(BANDS):
            file[f"cutouts/{band}"] = data[:, c] + 2
    channels = {}
    for name in ("plain", "named"):
        index = CutoutIndex.build(hdf5=[tmp_path / f"{name}.h5"], bands=BANDS)
        assert len(index.images) == 4
        channels[name] = [plane.address.channel for plane in index.images[0].planes]
    assert channels == {"plain": [0, 1, 2], "named": [2, 1, 0]}
    index = CutoutIndex.build(hdf5=[tmp_path / "apart.h5"], bands=BANDS)
    assert len(index.images) == 4
    parts = [str(plane.address.part).rpartition("/")[2] for plane in index.images[2].planes]
    assert parts == ["g", "r", "i"]
    assert {plane.address.plane for plane in index.images[2].planes} == {2}
    two = CutoutIndex.build(hdf5=[tmp_path / "named.h5"], bands=("g", "i"))
    assert [plane.address.channel for plane in two.images[0].planes] == [2, 0]
    assert CutoutIndex.build(hdf5=[tmp_path / "plain.h5"]).channels == 1


def test_objects_that_do_not_make_a_stack_are_refused_with_the_reason(tmp_path):
    write(tmp_path / "a_g.fits", sky(1))
    write(tmp_path / "b_g.fits", sky(2))
    write(tmp_path / "b_r.fits", sky(3, (20, 20)))
    write(tmp_path / "c_g.fits", sky(4))
    write(tmp_path / "c_g.fit", sky(5))
    write(tmp_path / "c_r.fits", sky(6))
    write(tmp_path / "d.fits", sky(7))
    with pytest.raises(DataError, match="no image can be used") as caught:
        CutoutIndex.build([tmp_path], bands=("g", "r"))
    for reason in ("missing band", "sizes differ between bands", "band twice", "no such band"):
        assert f"1 {reason}" in str(caught.value)
    assert "g 20 x 24, r 20 x 20" in str(caught.value)
    with pytest.raises(ValueError, match="once"):
        CutoutIndex.build([tmp_path], bands=("g", "g"))
