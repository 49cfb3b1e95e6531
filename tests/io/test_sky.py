"""Every real file reads, and reads as astropy reads it."""

import bz2
import io

import numpy as np
import pytest
from astropy.io import fits

from astro_vq.io.fits import open_fits
from astro_vq.io.hdf5 import open_hdf5
from astro_vq.io.image import find_images, iter_planes

pytestmark = [
    pytest.mark.sky,
    pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning"),
]
WHOLE = slice(None)


def differences(path):
    """Return in what the pixels and headers of a file differ from those of astropy."""
    found: list[str] = []
    large = path.suffix == ".bz2" and path.stat().st_size > 1_000_000
    unpacked = bz2.decompress(path.read_bytes()) if large else None  # once, and not by each
    with (
        open_fits(path if unpacked is None else io.BytesIO(unpacked)) as ours,
        fits.open(
            path if unpacked is None else io.BytesIO(unpacked),
            do_not_scale_image_data=True,
            memmap=False,
        ) as theirs,
    ):
        if len(ours.hdus) != len(theirs):
            return [f"{path}: {len(ours.hdus)} HDUs, astropy finds {len(theirs)}"]
        for hdu, other in zip(ours.hdus, theirs, strict=True):
            is_image = other.is_image and other.data is not None and other.data.size > 0
            if bool(hdu.n_planes) != is_image:
                found.append(f"{hdu.where} is {hdu.kind}")
            elif is_image:
                data = np.asarray(other.data, dtype=other.data.dtype.newbyteorder("="))
                planes = [hdu.read_stored(k, WHOLE, WHOLE) for k in range(hdu.n_planes)]
                if hdu.shape != data.shape or np.stack(planes).tobytes() != data.tobytes():
                    found.append(f"{hdu.where}: pixels differ")
                if [hdu.header.get(n) for n in ("BUNIT", "OBJECT", "CRVAL1")] != [
                    other.header.get(n) for n in ("BUNIT", "OBJECT", "CRVAL1")
                ]:
                    found.append(f"{hdu.where}: headers differ")
    return found


def first_of_each_folder(paths):
    return list({path.parent: path for path in reversed(paths)}.values())


def test_real_files_of_each_instrument_hold_the_pixels_that_astropy_finds(sky_dir):
    small = [path for path in find_images(sky_dir / "eval") if path.stat().st_size < 500_000]
    paths = find_images(sky_dir / "formats") + first_of_each_folder(small)
    assert len(paths) > 10
    assert [line for path in paths for line in differences(path)] == []


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["eval", "train"])
def test_all_real_files_hold_the_pixels_that_astropy_finds(sky_dir, folder):
    paths = find_images(sky_dir / folder)
    assert paths
    assert [line for path in paths for line in differences(path)] == []


def test_every_byte_of_real_files_is_in_their_hdus(sky_dir):
    for path in find_images(sky_dir / "formats") + find_images(sky_dir / "eval" / "wise-allwise"):
        with open_fits(path) as file:
            parts = [piece for hdu in file.hdus for piece in hdu.iter_raw()]
            assert b"".join(parts) + file.trailing == path.read_bytes()


def test_real_files_have_planes_of_physical_values(sky_dir):
    for path in first_of_each_folder(find_images(sky_dir / "eval")):
        plane = next(iter_planes(path))
        assert plane.read(slice(2), slice(3)).dtype in (np.float32, np.float64)


def test_real_stacks_keep_units_and_attributes(sky_dir):
    stacks = open_hdf5(sky_dir / "eval" / "ztf" / "ztf_cutouts_eval.h5")
    assert [stack.dataset for stack in stacks] == ["difference", "reference", "science"]
    for stack in stacks:
        assert stack.shape == (80, 1, 63, 63)
        assert stack.unit == "DN"
        assert stack.attributes["instrument"].startswith("ZTF")
        assert stack.read(79).shape == (1, 63, 63)
