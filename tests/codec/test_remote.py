"""Files behind URLs: few bytes, few requests, clear errors; lazy arrays; coordinates."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from range_server import serving

import astro_vq
from astro_vq.errors import AstroVQWarning, DataError, FormatError
from astro_vq.io.remote import READ_AHEAD, merge_ranges

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections are fsspec's

SHAPE = (640, 600)


def sky_header() -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRPIX1"], header["CRPIX2"] = 300.5, 320.0
    header["CRVAL1"], header["CRVAL2"] = 10.7, 41.3
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -1e-4, 2e-5, 2e-5, 1e-4
    return header


PIXELS = np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)


@pytest.fixture(scope="module")
def packed() -> bytes:
    out = io.BytesIO()
    source = fits.HDUList([fits.PrimaryHDU(PIXELS, sky_header()), fits.ImageHDU(PIXELS[:50, :50])])
    astro_vq.compress(source, out, tokens=False, effort=1, tile_size=128)
    return out.getvalue()


@pytest.fixture(scope="module")
def server(packed):
    with serving({"a.fits.avq": packed, "b.avq": packed[:5000]}) as running:
        yield running


def test_a_section_of_a_url_reads_few_bytes_in_few_requests(server, packed):
    server.reset()
    with astro_vq.open(server.url("a.fits.avq")) as file:
        opening = len(server.requests)
        part = file.section[100:164, 200:264]
        assert np.array_equal(part, PIXELS[100:164, 200:264])
        assert opening <= 3  # the start, and the header of the second image
        assert len(server.requests) - opening <= 3  # side information; tiles of two strips
        assert server.bytes_sent < 3 * READ_AHEAD + 2 * 2 * 128 * 128 * 2 + 2**14 < len(packed) / 2
        sent = server.bytes_sent
        assert np.array_equal(file.section[101:150, 201:250], PIXELS[101:150, 201:250])
        assert server.bytes_sent == sent  # kept


def test_the_whole_of_a_url_is_read_once(server, packed):
    server.reset()
    with astro_vq.open(server.url("a.fits.avq")) as file:
        assert np.array_equal(file.data, PIXELS)
    assert server.bytes_sent < 1.1 * len(packed)
    assert len(server.requests) < 8


def test_decompress_and_verify_take_a_url(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = server.url("a.fits.avq")
    result = astro_vq.decompress(url, section=(slice(10, 20), slice(5, 9)))
    assert (result.input, result.output) == (url, "a.fits")
    assert np.array_equal(fits.getdata("a.fits"), PIXELS[10:20, 5:9])
    assert astro_vq.verify(url).ok


def test_a_server_without_ranges_works_with_a_warning(packed):
    with serving({"a.avq": packed}, ranges=False) as whole:
        with pytest.warns(AstroVQWarning, match="whole files only"):
            file = astro_vq.open(whole.url("a.avq"))
        assert np.array_equal(file.section[300:310, 7:9], PIXELS[300:310, 7:9])
        assert len(whole.requests) == 1


def test_a_url_that_fails_is_named(server, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.avq: there is no such file"):
        astro_vq.open(server.url("none.avq"))
    with pytest.raises(FormatError, match=r"b\.avq: HDU 0.*cut off"):
        astro_vq.open(server.url("b.avq"))
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:1/x\.avq: cannot be read"):
        astro_vq.open("http://127.0.0.1:1/x.avq")
    with pytest.raises(DataError, match="nonsense://x: this kind of URL is not known"):
        astro_vq.open("nonsense://x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DataError, match=r'pip install "astro-vq\[remote\]"'):
        astro_vq.open("memory://a.avq")


def test_a_file_that_changes_is_an_error_and_no_wrong_pixel(packed):
    with serving({"a.avq": packed}) as changing:
        file = astro_vq.open(changing.url("a.avq"))
        changing.files["a.avq"] = packed[:-7000]
        with pytest.raises(OSError, match=r"a\.avq: .*"):
            file.data  # noqa: B018
        changing.files["a.avq"] = packed[:200_000] + bytes(len(packed) - 200_000)
        with pytest.raises(FormatError, match="damaged"):
            astro_vq.open(changing.url("a.avq"))


def test_an_open_file_goes_through_pickle(server, packed, tmp_path):
    path = tmp_path / "a.avq"
    path.write_bytes(packed)
    server.reset()
    for source in (path, server.url("a.fits.avq"), io.BytesIO(packed)):
        with astro_vq.open(source) as file:
            copy = pickle.loads(pickle.dumps(file))
            section = pickle.loads(pickle.dumps(file.section))
        assert np.array_equal(copy.section[7:9, 11:13], PIXELS[7:9, 11:13])
        assert np.array_equal(section[639, 590:], PIXELS[639, 590:])
    with path.open("rb") as opened, pytest.raises(TypeError, match="open it by its name"):
        pickle.dumps(astro_vq.open(opened))


def test_another_process_reads_what_was_pickled(server, tmp_path):
    code = "import pickle, sys; file = pickle.load(sys.stdin.buffer); print(file.section[7, 11])"
    with astro_vq.open(server.url("a.fits.avq")) as file:
        given = pickle.dumps(file)
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, check=True
    )
    assert int(done.stdout) == PIXELS[7, 11]


def test_dask_decodes_chunk_by_chunk(server, packed):
    dask = pytest.importorskip("dask")
    with astro_vq.open(server.url("a.fits.avq")) as file:
        lazy = file.to_dask()
        server.reset()
        again = file.to_dask()
        assert lazy.name == again.name
        assert lazy.shape == SHAPE
        assert lazy.dtype == np.uint16
        assert lazy.chunks[0][:2] == (128, 128)
        assert not server.requests  # nothing read so far
        assert int(lazy[130:140, 70:90].sum().compute()) == int(PIXELS[130:140, 70:90].sum())
        assert server.bytes_sent < len(packed) / 4
        with dask.config.set(scheduler="threads", num_workers=4):
            assert np.array_equal(file.to_dask(chunks=(256, 128)).compute(), PIXELS)


def test_dask_takes_cubes_and_lines():
    pytest.importorskip("dask")
    for data in (np.arange(3 * 40 * 30).reshape(3, 40, 30), np.arange(700)):
        out = io.BytesIO()
        astro_vq.compress(data, out, tokens=False, effort=1, tile_size=16)
        lazy = astro_vq.open(out).to_dask()
        assert set(map(len, lazy.chunks[:-2])) <= {3}
        assert np.array_equal(lazy.compute(scheduler="sync"), data)


def test_to_dask_names_the_extra(monkeypatch, packed):
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(DataError, match=r"astro-vq\[dask\]"):
        astro_vq.open(io.BytesIO(packed)).to_dask()


def test_a_cutout_reads_its_own_tiles_only(server):
    with astro_vq.open(server.url("a.fits.avq")) as file:
        server.reset()
        centre = file.wcs.pixel_to_world(320, 400)
        cutout = Cutout2D(file.section, centre, (20, 30))
        assert server.bytes_sent < 2**17 + 2**14
    expected = Cutout2D(PIXELS, centre, (20, 30), wcs=WCS(sky_header()))
    assert np.array_equal(cutout.data, expected.data)
    assert np.allclose(cutout.wcs.wcs.crpix, expected.wcs.wcs.crpix)


def test_ranges_are_joined_where_the_gap_is_small():
    assert merge_ranges([(10, 5), (0, 4), (15, 5), (40, 1)], 6) == [(0, 20), (40, 1)]
    assert merge_ranges([(0, 100), (10, 5)], 0) == [(0, 100)]
    assert merge_ranges([], 5) == []
