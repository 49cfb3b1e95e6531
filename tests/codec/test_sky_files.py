"""Real files there and back: a sample; tests/benchmarks/check_roundtrip.py takes all of them."""

import io

import pytest

import astro_vq
from astro_vq.io.fits import open_fits

pytestmark = pytest.mark.sky

SAMPLE = [
    "formats/dss-photographic/m13.fits",  # 16-bit plate
    "formats/dss-photographic/m13real_rice.fits",  # tile-compressed floats
    "eval/lofar/tbdsf_process_image.in_fits.pybdsf.ch0_I.fits",  # four axes
    "eval/hst-wfc3-ir/abell_2744_group_of_galaxies_f105w.fits.gz",  # packed, long header
    "eval/wise-allwise/4bfb750b_2010ai__WISE__WISE_W2.fits",  # wild numbers, signalling NaN
    "eval/herschel-spire/s500_im.fits",
]


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("fidelity", ["lossless", "max-error"])
def test_a_real_file_comes_back(sky_dir, name, fidelity):
    path = sky_dir / name
    packed, back = io.BytesIO(), io.BytesIO()
    result = astro_vq.compress(path, packed, fidelity=fidelity, tokens=False, effort=1)
    astro_vq.decompress(packed, back)
    assert astro_vq.verify(packed, against=path).problems == ()
    with open_fits(path) as original:
        raw = b"".join(piece for hdu in original.hdus for piece in hdu.iter_raw())
        expanded = any(
            "tiles" in details and hdu.kind == "compressed-image"
            for hdu, details in zip(original.hdus, result.hdus, strict=True)
        )
    if not expanded:
        assert len(back.getvalue()) == len(raw)
        assert fidelity != "lossless" or back.getvalue() == raw
