import pickle

import h5py
import numpy as np
import pytest
from astropy.io import fits

from astro_vq.config import DataConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.data.planes import PlaneReader
from astro_vq.errors import DataError


def sky(shape=(40, 50), seed=0, level=100.0, sigma=5.0):
    return np.random.default_rng(seed).normal(level, sigma, shape).astype(np.float32)


def write(path, data, **cards):
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def at(ra, dec, shape, scale=1 / 3600):
    """Cards of a TAN projection centred on a position."""
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec,
        "CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2,
        "CD1_1": -scale, "CD2_2": scale,
    }  # fmt: skip


def file_names(index):
    return [image.planes[0].address.path.name for image in index.images]


def test_index_holds_each_image_with_its_size_and_scaling(tmp_path):
    write(tmp_path / "a" / "one.fits", sky((40, 50), 1))
    write(tmp_path / "two.fits", sky((30, 20), 2, level=-3.0, sigma=0.5))
    index = CutoutIndex.build([tmp_path])
    assert file_names(index) == ["one.fits", "two.fits"]
    assert [image.shape for image in index.images] == [(40, 50), (30, 20)]
    assert index.channels == 1
    first, second = (image.planes[0].scaling for image in index.images)
    assert first.sky == pytest.approx(100, abs=0.7)
    assert first.sigma == pytest.approx(5, rel=0.1)
    assert second.sigma == pytest.approx(0.5, rel=0.15)
    assert not index.rejects
    assert pickle.loads(pickle.dumps(index)) == index
    assert "2 images of 2 files in 2 groups" in index.report()


def test_every_plane_of_cubes_and_extensions_counts(tmp_path):
    write(tmp_path / "cube.fits", np.stack([sky(seed=i) for i in range(3)]))
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(sky(seed=7)), fits.ImageHDU(sky(seed=8))])
    for name in ("WHT", "WGT"):
        hdus.append(fits.ImageHDU(sky(seed=9), name=name))
    hdus.writeto(tmp_path / "mef.fits")
    index = CutoutIndex.build([tmp_path])
    places = [(i.planes[0].address.part, i.planes[0].address.plane) for i in index.images]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
    assert [image.group for image in index.images] == [0, 0, 0, 1, 1]
    assert index.reject_counts == {"not the sky": 2}


def test_rejects_are_counted_with_their_reasons(tmp_path):
    write(tmp_path / "good.fits", sky())
    write(tmp_path / "small.fits", sky((5, 90)))
    write(tmp_path / "blank.fits", np.full((20, 20), np.nan, np.float32))
    write(tmp_path / "flat.fits", np.full((20, 20), 3, np.int16))
    few = np.full((40, 40), np.nan, np.float32)
    few[0, :9] = np.arange(9)
    write(tmp_path / "few.fits", few)
    damaged = sky()
    damaged[3, 3], damaged[4, 4] = 3e38, 1e35
    write(tmp_path / "damaged.fits", damaged)
    (tmp_path / "text.fits").write_text("hello")
    cut = tmp_path / "cut.fits"
    write(cut, sky(seed=3))
    cut.write_bytes(cut.read_bytes()[:4000])
    table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    index = CutoutIndex.build([tmp_path])
    assert file_names(index) == ["good.fits"]
    assert index.reject_counts == {
        "unreadable": 2,
        "no finite pixel": 1,
        "implausible values": 1,
        "too few valid pixels": 1,
        "constant": 1,
        "too small": 1,
        "no image": 1,
    }
    report = index.report()
    assert "left out 8" in report
    assert "1 too small (such as" in report
    assert "5 x 90, the least is 8" in report


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    write(tmp_path / "flat.fits", np.zeros((20, 20), np.float32))
    with pytest.raises(DataError, match="1 constant"):
        CutoutIndex.build([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CutoutIndex.build([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        CutoutIndex.build(hdf5=[f"{tmp_path}/none.h5::a"])
    with pytest.raises(ValueError, match="no data"):
        CutoutIndex.build()


def test_saturation_comes_from_the_card_or_the_option(tmp_path):
    data = sky()
    data[:10, :10] = 60000
    write(tmp_path / "card.fits", data, SATURATE=50000.0)
    write(tmp_path / "plain.fits", data + 1)
    write(tmp_path / "wrong.fits", data + 2, SATURATE=1.5)
    found = {
        image.planes[0].address.path.name: image.planes[0].saturation
        for image in CutoutIndex.build([tmp_path]).images
    }
    assert found == {"card.fits": 50000.0, "plain.fits": None, "wrong.fits": None}
    plane = CutoutIndex.build([tmp_path], saturation=1000.0).images[1].planes[0]
    assert plane.saturation == 1000.0
    np.testing.assert_array_equal(
        plane.mask(np.array([999.0, 1000.0, 1001.0, np.nan, -np.inf])),
        [True, False, False, False, False],
    )


def test_a_huge_value_that_stands_for_missing_pixels_is_masked(tmp_path):
    data = sky()
    data[:, :20] = -3.4028235e38
    data[0, 30] = 3.4028235e38
    write(tmp_path / "a.fits", data)
    plane = CutoutIndex.build([tmp_path]).images[0].planes[0]
    assert plane.scaling.sigma == pytest.approx(5, rel=0.1)
    np.testing.assert_array_equal(plane.mask(data), np.abs(data) < 1e38)


def test_equal_pixels_are_one_group_whatever_name_type_and_unit(tmp_path):
    data = sky(seed=5)
    write(tmp_path / "a.fits", data)
    write(tmp_path / "copy_of_a.fits", data.astype(np.float64))
    write(tmp_path / "rounded.fits", (1e-12 * data).round(16))
    write(tmp_path / "b.fits", sky(seed=6))
    groups = {i.planes[0].address.path.name: i.group for i in CutoutIndex.build([tmp_path]).images}
    assert groups["a.fits"] == groups["copy_of_a.fits"] == groups["rounded.fits"]
    assert groups["b.fits"] != groups["a.fits"]


def test_sparse_counts_of_different_skies_are_different_groups(tmp_path):
    for number in range(6):
        counts = np.random.default_rng(number).poisson(0.02, (50, 50)).astype(np.int16)
        write(tmp_path / f"{number}.fits", counts)
    assert len(CutoutIndex.build([tmp_path]).groups) == 6


def test_overlap_on_the_sky_makes_one_group(tmp_path):
    shape = (40, 50)
    write(tmp_path / "first.fits", sky(shape, 1), **at(150.0, 2.0, shape))
    near = at(150.0 + 10 / 3600, 2.0 - 8 / 3600, shape)
    write(tmp_path / "again.fits", sky(shape, 2), OBJECT="x", **near)
    write(tmp_path / "beside.fits", sky(shape, 3), OBJECT="x", **at(150.0, 2.0 + 30 / 3600, shape))
    write(tmp_path / "far.fits", sky(shape, 4), **at(210.0, -2.0, shape))
    groups = {i.planes[0].address.path.name: i.group for i in CutoutIndex.build([tmp_path]).images}
    assert groups["first.fits"] == groups["again.fits"]
    assert len(set(groups.values())) == 3


def test_one_object_without_coordinates_is_one_group(tmp_path):
    for number, name in enumerate(("M 13", "M 13", "M 92")):
        write(tmp_path / f"{number}.fits", sky(seed=number), OBJECT=name)
    assert [i.group for i in CutoutIndex.build([tmp_path]).images] == [0, 0, 1]


@pytest.fixture
def stack_file(tmp_path):
    path = tmp_path / "stack.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["science"] = rng.normal(10, 2, (6, 16, 16)).astype("f4")
        file["reference"] = rng.normal(20, 1, (6, 16, 16)).astype("f4")
        file["object"] = np.array([b"A", b"B", b"C", b"A", b"D", b"E"])
    return path


def test_hdf5_cutouts_are_grouped_by_object_id(stack_file):
    index = CutoutIndex.build(hdf5=[stack_file])
    assert len(index.images) == 12
    assert len(index.groups) == 5
    by_row = {}
    for image in index.images:
        by_row.setdefault(image.planes[0].address.plane, set()).add(image.group)
    assert by_row[0] == by_row[3]
    assert all(len(groups) == 1 for groups in by_row.values())


def test_split_keeps_groups_whole_and_is_the_same_for_one_seed(tmp_path, stack_file):
    for number in range(12):
        data = sky((20, 20), number // 2)
        write(tmp_path / "files" / f"{number:02d}.fits", data)
    index = CutoutIndex.build([tmp_path / "files"], [stack_file])
    train, validation = index.split(0.3, seed=4)
    assert set(train.groups).isdisjoint(validation.groups)
    assert set(train.images) | set(validation.images) == set(index.images)
    share = sum(i.area for i in validation.images) / sum(i.area for i in index.images)
    assert 0.1 < share <= 0.3
    assert index.split(0.3, seed=4) == (train, validation)
    assert any(index.split(0.3, seed=s)[1] != validation for s in range(5))


def test_split_always_leaves_something_on_both_sides(tmp_path):
    write(tmp_path / "large.fits", sky((200, 200), 1))
    write(tmp_path / "small.fits", sky((20, 20), 2))
    index = CutoutIndex.build([tmp_path])
    for fraction in (0.001, 0.999):
        for seed in range(4):
            train, validation = index.split(fraction, seed=seed)
            assert len(train.images) == len(validation.images) == 1
    assert file_names(index.split(0.1)[1]) == ["small.fits"]
    with pytest.raises(ValueError, match="between 0 and 1"):
        index.split(1.0)


def test_split_refuses_a_single_field(tmp_path):
    write(tmp_path / "only.fits", np.stack([sky(seed=1), sky(seed=2)]))
    with pytest.raises(DataError, match="second file"):
        CutoutIndex.build([tmp_path]).split(0.1)


@pytest.mark.sky
def test_real_images_are_indexed_and_split_without_shared_sky(sky_dir):
    folders = [sky_dir / "train" / name for name in ("decam", "sdss-2-5m", "wise-allwise")]
    index = CutoutIndex.build(folders, [sky_dir / "train" / "ztf" / "ztf_cutouts_train.h5"])
    assert len(index.images) > 600
    assert index.reject_counts["implausible values"] >= 3
    train, validation = index.split(0.1, seed=1)
    assert set(train.groups).isdisjoint(validation.groups)
    groups = {}
    for image in index.images:
        groups.setdefault(image.planes[0].address.path.name, set()).add(image.group)
    same = [
        ["c4d_140818_232043_ooi_z_ls9.N12.fits", "c4d_140818_232043_ooi_z_v2-N12.fits"],
        ["c4d_140818_232043_ooi_z_v2.fits.fz", "c4d_180518_044138_ooi_r_ls9.N12.fits"],
        ["15b6eadf_extdata__SDSS__G266035fitim.fits", "4b449b19_extdata__SDSS__G266035fitim.fits"],
    ]
    for first, second in same:
        assert groups[first] == groups[second]
    assert len(index.groups) > 100


def test_large_planes_are_measured_in_bands_of_rows(tmp_path, monkeypatch):
    write(tmp_path / "large.fits", sky((900, 120), 3))
    whole = CutoutIndex.build([tmp_path]).images[0].planes[0].scaling
    monkeypatch.setattr("astro_vq.data.scan.SAMPLE_PIXELS", 20_000)
    part = CutoutIndex.build([tmp_path]).images[0].planes[0].scaling
    assert part != whole
    assert part.sigma == pytest.approx(whole.sigma, rel=0.05)
    assert part.sky == pytest.approx(whole.sky, abs=0.2)


def test_pixels_that_cannot_be_read_are_a_reject(tmp_path, monkeypatch):
    write(tmp_path / "a.fits", sky(seed=1))
    write(tmp_path / "b.fits", sky(seed=2))
    plain = PlaneReader.read

    def broken(self, address, *place):
        if address.path.name == "a.fits":
            raise OSError("bad sector")
        return plain(self, address, *place)

    monkeypatch.setattr(PlaneReader, "read", broken)
    index = CutoutIndex.build([tmp_path])
    assert file_names(index) == ["b.fits"]
    assert index.rejects[0].reason == "unreadable"
    assert index.rejects[0].detail == "bad sector"


def test_damaged_coordinates_are_no_position(tmp_path):
    cards = at(10.0, 0.0, (40, 50)) | {"CD1_1": 0.0, "CD2_2": 0.0}
    write(tmp_path / "a.fits", sky(seed=1), **cards)
    write(tmp_path / "b.fits", sky(seed=2), **cards)
    write(tmp_path / "c.fits", sky(seed=3), CTYPE1="RA---TAN", CTYPE2="nonsense")
    assert len(CutoutIndex.build([tmp_path]).groups) == 3


def test_files_are_told_to_who_waits_and_listed_twice_count_once(tmp_path):
    path = write(tmp_path / "a.fits", sky(seed=1))
    names = []
    index = CutoutIndex.build([tmp_path, path], progress=names.append)
    assert names == [str(path)]
    assert len(index.images) == 1
    config = DataConfig(fits_dir=(str(tmp_path),), saturation=500.0)
    assert CutoutIndex.from_config(config).images[0].planes[0].saturation == 500.0
