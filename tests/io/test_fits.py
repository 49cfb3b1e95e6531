import io

import numpy as np
import pytest
from astropy.io import fits

from astro_vq.errors import FormatError
from astro_vq.io.fits import FitsFile, open_fits

ODD_CARDS = [
    "LONG    = 'a string that goes on &'",
    "CONTINUE  'in the next card'",
    "HIERARCH ESO DET CHIP1 ID = 'ccd   ' / long names",
    "COMMENT a comment",
    "",
    "DUPE    =                    1",
    "DUPE    =                    2",
    "no value here, no equals sign",
    "BROKEN  = 'no closing quote",
    "CAF\xc9    = '\xe9' / not ASCII",
    "BITPIX  =                   64 / a duplicate counts once",
    "EXTNAME = 'odd     '",
]


def pixels(hdu):
    return np.stack([hdu.read_stored(k, slice(None), slice(None)) for k in range(hdu.n_planes)])


def test_every_byte_of_a_file_is_in_its_hdus(tmp_path):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(13, 17)).astype("float32")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "PB()", array=[[1], [2, 3]])])
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), table])
    hdus.writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        assert [hdu.kind for hdu in file.hdus] == ["empty", "image", "table"]
        assert [hdu.name for hdu in file.hdus] == ["PRIMARY", "SCI", ""]
        assert [hdu.index for hdu in file.hdus] == [0, 1, 2]
        whole = b"".join(b"".join(hdu.iter_raw(1000)) for hdu in file.hdus)
        assert whole == (tmp_path / "a.fits").read_bytes()
        assert file.size == len(whole)
        assert file.trailing == b""
        assert file.name == "a.fits"
        assert "empty, image, table" in repr(file)
        assert file.hdus[1].read_raw(100, 50) == file.hdus[1].raw_header[100:150]
        assert file.hdus[1].read_raw(file.hdus[1].raw_size - 3, 50) == b"\0\0\0"


def test_odd_cards_do_no_harm_and_are_kept_byte_for_byte(write_hdus, primary):
    path = write_hdus((primary(16, 3, 2) + ODD_CARDS, bytes(range(12))))
    with open_fits(path) as file:
        (hdu,) = file.hdus
        assert hdu.header_bytes == path.read_bytes()[:2880]
        assert hdu.name == "odd"
        assert hdu.shape == (2, 3)
        assert hdu.header["DUPE"] == 1
        assert hdu.header["LONG"] == "a string that goes on in the next card"
        assert hdu.header["ESO DET CHIP1 ID"] == "ccd"
        np.testing.assert_array_equal(pixels(hdu)[0], [[1, 515, 1029], [1543, 2057, 2571]])


def test_a_header_of_an_ordinary_file_is_that_of_astropy(tmp_path):
    hdu = fits.PrimaryHDU(np.zeros((2, 2), "int16"))
    hdu.header["OBJECT"] = ("M 31", "galaxy")
    hdu.header["HISTORY"] = "made"
    hdu.header["HIERARCH a long name"] = 3.5
    hdu.header["LONG"] = "x" * 100
    hdu.writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        assert file.hdus[0].header == fits.getheader(tmp_path / "a.fits")


def test_cards_in_free_format_are_understood(write_hdus):
    lines = ["SIMPLE  = T", "BITPIX  =16", "NAXIS   = 2/axes", "NAXIS1=3", "NAXIS2  = 2.0"]
    with open_fits(write_hdus((lines, bytes(12)))) as file:
        assert file.hdus[0].shape == (2, 3)


def test_header_padding_that_is_not_blank_is_kept(write_hdus, primary):
    data = bytearray(write_hdus((primary(8), b"")).read_bytes())
    data[-20:] = b"\0garbage\xff" + b"\n" * 11
    with open_fits(write_hdus(bytes(data))) as file:
        assert file.hdus[0].kind == "empty"
        assert file.hdus[0].raw_header == bytes(data)


def test_a_header_of_many_blocks_is_read(write_hdus, primary):
    lines = primary(8, 5) + [f"KEY{i:05d}=                    1" for i in range(3000)]
    with open_fits(write_hdus((lines, b"abcde"))) as file:
        assert len(file.hdus[0].raw_header) % 2880 == 0
        np.testing.assert_array_equal(pixels(file.hdus[0])[0, 0], list(b"abcde"))


@pytest.mark.parametrize(
    ("lines", "kind", "size"),
    [
        (["XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 7"], "image", 7),
        (["XTENSION= 'IUEIMAGE'", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 7"], "image", 7),
        (["XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 0"], "empty", 0),
        (
            ["XTENSION= 'IMAGE'", "BITPIX  = 8", "NAXIS = 2", "NAXIS1  = 0", "NAXIS2 = 4"],
            "empty",
            0,
        ),
        (
            ["XTENSION= 'IMAGE'", "BITPIX  = 16", "NAXIS = 1", "NAXIS1  = 5", "PCOUNT = 2"],
            "table",
            14,
        ),
        (
            ["XTENSION= 'IMAGE'", "BITPIX  = 16", "NAXIS = 1", "NAXIS1  = 5", "GCOUNT = 3"],
            "table",
            30,
        ),
        (["XTENSION= 'DUMP    '", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 9"], "table", 9),
        (["XTENSION=", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 9"], "table", 9),
        (
            ["XTENSION= 'TABLE'", "BITPIX = 8", "NAXIS = 2", "NAXIS1 = 4", "NAXIS2 = 3"],
            "table",
            12,
        ),
    ],
)
def test_extensions_of_all_kinds_are_told_and_measured(write_hdus, primary, lines, kind, size):
    with open_fits(write_hdus((primary(8), b""), (lines, bytes(size)), (lines, bytes(size)))) as f:
        assert [hdu.kind for hdu in f.hdus] == ["empty", kind, kind]
        assert f.hdus[1].data_bytes == size


def test_random_groups_are_passed_on(write_hdus, primary):
    lines = [*primary(-32, 0, 3, 2), "GROUPS  = T", "PCOUNT  = 4", "GCOUNT  = 5"]
    with open_fits(write_hdus((lines, bytes(200)))) as file:
        assert file.hdus[0].kind == "table"
        assert file.hdus[0].data_bytes == 4 * 5 * (4 + 6)
        assert file.hdus[0].n_planes == 0


def test_many_hdus_are_walked(write_hdus, primary):
    lines = ["XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 1"]
    with open_fits(write_hdus((primary(8), b""), *[(lines, bytes([i])) for i in range(200)])) as f:
        assert [int(pixels(hdu)[0, 0, 0]) for hdu in f.hdus[1:]] == list(range(200))


@pytest.mark.parametrize("tail", [b"\n", b"\0" * 2880, b"something else", b"XTENSIO"])
def test_trailing_bytes_are_kept(write_hdus, primary, tail):
    path = write_hdus((primary(8, 4), b"abcd"), tail)
    with open_fits(path) as file:
        assert file.trailing == tail
        assert file.size == path.stat().st_size


def test_too_many_trailing_bytes_are_refused(write_hdus, primary, monkeypatch):
    monkeypatch.setattr("astro_vq.io.fits.LARGEST_TRAILING", 10)
    path = write_hdus((primary(8, 4), b"abcd"), b"12345678901")
    with pytest.raises(FormatError, match=r"made.fits: 11 bytes after HDU 0"):
        open_fits(path)


def test_padding_that_is_not_zero_or_not_there_is_known(write_hdus, primary):
    whole = write_hdus((primary(8, 4), b"abcd")).read_bytes()
    with open_fits(write_hdus(whole)) as file:
        assert file.hdus[0].padding == b""
        assert file.hdus[0].missing_padding == 0
    with open_fits(write_hdus(whole[:-3] + b"xyz")) as file:
        assert file.hdus[0].padding == bytes(2873) + b"xyz"
    with open_fits(write_hdus(whole[:2884])) as file:
        assert file.hdus[0].padding == b""
        assert file.hdus[0].missing_padding == 2876
        assert file.hdus[0].raw_size == 2884
        assert file.size == 5760
        assert b"".join(file.hdus[0].iter_raw()) == whole[:2884]


def test_a_file_cut_off_anywhere_is_refused_unless_only_padding_is_missing(write_hdus, primary):
    extension = ["XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 9"]
    whole = write_hdus((primary(8), b""), (extension, b"123456789")).read_bytes()
    for size in [*range(1, 2880, 97), 2879]:
        with pytest.raises(FormatError, match=r"made.fits.*(END|cut off|not a FITS)"):
            open_fits(write_hdus(whole[:size]))
    for size in [2880, 2887]:  # a lone primary HDU, and bytes after it
        with open_fits(write_hdus(whole[:size])) as file:
            assert len(file.hdus) == 1
    for size in [2888, 3000, 5000, 5759]:
        with pytest.raises(FormatError, match=r"made.fits: HDU 1: .*(END|cut off)"):
            open_fits(write_hdus(whole[:size]))
    for size in range(5760, 5769):
        with pytest.raises(FormatError, match=f"HDU 1: .* {5769 - size} of 9 bytes .* fetch"):
            open_fits(write_hdus(whole[:size]))
    with open_fits(write_hdus(whole[:5769])) as file:
        assert bytes(pixels(file.hdus[1])[0, 0]) == b"123456789"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["SIMPLE  = T", "NAXIS   = 0"], "HDU 0: the header has no BITPIX"),
        (["SIMPLE  = T", "BITPIX  = 12", "NAXIS   = 0"], "BITPIX is 12, not one of 8, 16"),
        (["SIMPLE  = T", "BITPIX  = 'x'", "NAXIS   = 0"], "BITPIX must be an integer .* 'x'"),
        (["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 3"], "no NAXIS2"),
        (["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = -3"], "NAXIS1 must be"),
        (["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1000"], "NAXIS must be .* to 999"),
        (["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 999999999999"], "cut off"),
    ],
)
def test_damaged_structure_is_refused_by_name(write_hdus, lines, message):
    with pytest.raises(FormatError, match=message):
        open_fits(write_hdus((lines, b"")))


@pytest.mark.parametrize("content", [b"hello", b"SIMPLE", b"XTENSION= 'IMAGE   '", b"\0" * 9000])
def test_what_is_not_fits_is_refused(write_hdus, content):
    with pytest.raises(FormatError, match=r"made.fits is not a FITS file: it begins with"):
        open_fits(write_hdus(content))


def test_a_header_without_end_is_refused(write_hdus):
    with pytest.raises(FormatError, match="no END card within 28800 bytes"):
        open_fits(write_hdus(b"SIMPLE  = T".ljust(80) * 360))


def test_files_are_opened_from_memory_and_closed(tmp_path):
    memory = io.BytesIO()
    fits.PrimaryHDU(np.arange(4, dtype="float64")).writeto(memory)
    memory.seek(0)
    file = open_fits(memory)
    assert isinstance(file, FitsFile)
    hdu = file.hdus[0]
    np.testing.assert_array_equal(pixels(hdu), [[[0, 1, 2, 3]]])
    file.close()
    with pytest.raises(ValueError, match="closed"):
        pixels(hdu)


def test_an_hdu_keeps_its_file_open(tmp_path):
    fits.PrimaryHDU(np.arange(4, dtype="float64")).writeto(tmp_path / "a.fits")
    hdu = open_fits(tmp_path / "a.fits").hdus[0]
    np.testing.assert_array_equal(pixels(hdu), [[[0, 1, 2, 3]]])
