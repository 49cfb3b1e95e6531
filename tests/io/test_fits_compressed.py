import numpy as np
import pytest
from astropy.io import fits

from astro_vq.errors import FormatError
from astro_vq.io.cards import (
    build_header,
    find_card,
    format_card,
    integer_value,
    keyword,
    split_cards,
)
from astro_vq.io.fits import open_fits

WHOLE = slice(None)
RNG = np.random.default_rng(5)
ROUGH = RNG.normal(100, 5, (37, 41))
BLANKED = np.where(ROUGH > 110, np.nan, ROUGH).astype("float32")
BLANKED[20] = 0
IMAGES = {
    "uint8": ROUGH.astype("uint8"),
    "int16": (ROUGH - 90).astype("int16"),
    "uint16": (ROUGH * 400).astype("uint16"),
    "int32": (ROUGH * 1000).astype("int32"),
    "float32": ROUGH.astype("float32"),
    "float64": ROUGH,
    "nan": BLANKED,
}


def compressed(tmp_path, image, **options):
    """Write a compressed image behind an empty primary HDU; return the path."""
    hdu = fits.CompImageHDU(image, name="SCI", **options)
    hdu.header["OBJECT"] = ("M 31", "galaxy")
    hdu.header["HISTORY"] = "made"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits.fz", checksum=True)
    return tmp_path / "a.fits.fz"


def edited(path, *changes, drop=()):
    """Change or add cards of the table's header in place; return the path."""
    data = path.read_bytes()
    with open_fits(path) as file:
        raw = file.hdus[1].raw_header
    new = {keyword(card): card for card in changes}
    cards = [new.pop(keyword(c), c) for c in split_cards(raw) if keyword(c) not in drop]
    path.write_bytes(data.replace(raw, build_header([*cards, *new.values()])))
    return path


def planes(hdu):
    return np.stack([hdu.read_stored(k, WHOLE, WHOLE) for k in range(hdu.n_planes)])


def same_bits(ours, theirs):
    theirs = np.asarray(theirs, dtype=theirs.dtype.newbyteorder("="))
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize(
    ("name", "method"),
    [(n, m) for n in IMAGES for m in (-1, 1, 2) if m == -1 or IMAGES[n].dtype.kind == "f"],
)
def test_pixels_of_all_compressions_are_those_of_astropy(tmp_path, name, kind, method):
    path = compressed(
        tmp_path,
        IMAGES[name],
        compression_type=kind,
        quantize_method=method,
        dither_seed=77,
        tile_shape=(16, 41) if kind == "HCOMPRESS_1" else (10, 17),
    )
    with open_fits(path) as file, fits.open(path, do_not_scale_image_data=True) as theirs:
        hdu = file.hdus[1]
        assert hdu.kind == "compressed-image"
        assert hdu.shape == (37, 41)
        assert same_bits(planes(hdu)[0], theirs[1].data)
        part = hdu.read_stored(0, slice(9, 21), slice(16, 19))
        assert same_bits(part, np.ascontiguousarray(theirs[1].data[9:21, 16:19]))
    with open_fits(path) as file, fits.open(path) as theirs:
        hdu = file.hdus[1]
        physical = hdu.to_physical(hdu.read_stored(0, WHOLE, WHOLE))
        np.testing.assert_array_equal(physical, theirs[1].data.astype(physical.dtype))


def test_lossless_floats_keep_every_bit(tmp_path):
    image = np.frombuffer(RNG.bytes(4 * 300), "float32").reshape(20, 15)
    path = compressed(tmp_path, image, compression_type="GZIP_2", quantize_level=0)
    with open_fits(path) as file:
        assert same_bits(planes(file.hdus[1])[0], image)


def test_raw_floats_beside_compressed_ones_are_read(tmp_path):
    image = IMAGES["float32"].copy()
    image[5] = 1e30 * RNG.normal(size=41)  # rows that cannot be quantised
    path = compressed(tmp_path, image, compression_type="RICE_1")
    with open_fits(path) as file, fits.open(path) as theirs:
        assert same_bits(planes(file.hdus[1])[0], theirs[1].data)
        assert same_bits(planes(file.hdus[1])[0, 5], theirs[1].data[5])


@pytest.mark.parametrize("shape", [(50,), (4, 9, 11), (2, 3, 8, 7)])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_planes_of_lines_and_cubes_are_those_of_astropy(tmp_path, shape, dtype):
    image = RNG.normal(0, 300, shape).astype(dtype)
    path = compressed(tmp_path, image, compression_type="GZIP_1")
    with open_fits(path) as file, fits.open(path) as theirs:
        hdu = file.hdus[1]
        assert hdu.shape == shape
        assert same_bits(planes(hdu).reshape(shape), theirs[1].data)


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_pixel_lists_are_read(tmp_path, dtype):
    mask = (RNG.random((30, 31)) > 0.8).astype(dtype) * 5
    path = compressed(tmp_path, mask, compression_type="PLIO_1")
    with open_fits(path) as file:
        assert same_bits(planes(file.hdus[1])[0], mask)


def test_unsigned_pixel_lists_are_stored_as_cfitsio_means_them(tmp_path):
    # astropy cannot write these; CFITSIO codes 16-bit unsigned numbers without their offset
    coded = np.repeat(np.array([0, 7, 300, 30_000], "int16"), 31 * 8).reshape(32, 31)
    path = compressed(tmp_path, coded, compression_type="PLIO_1")
    path = edited(path, format_card("BZERO", 32768), format_card("BSCALE", 1))
    with open_fits(path) as file:
        hdu = file.hdus[1]
        stored = hdu.read_stored(0, WHOLE, WHOLE)
        np.testing.assert_array_equal(stored, coded.astype("int32") - 32768)
        np.testing.assert_array_equal(hdu.to_physical(stored), coded)


def test_the_header_is_that_of_an_image_extension(tmp_path):
    path = compressed(tmp_path, IMAGES["int16"])
    with open_fits(path) as file, fits.open(path) as theirs:
        hdu = file.hdus[1]
        names = [keyword(card) for card in split_cards(hdu.header_bytes)]
        assert names[:8] == [
            "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "EXTNAME",
        ]  # fmt: skip
        assert not any(name.startswith(("Z", "TFORM", "TTYPE", "TFIELDS")) for name in names)
        image = fits.ImageHDU.fromstring(hdu.header_bytes + planes(hdu).astype(">i2").tobytes())
        image.verify("exception")
        np.testing.assert_array_equal(image.data, IMAGES["int16"])
        kept = {"OBJECT": "M 31", "EXTNAME": "SCI", "BITPIX": 16, "NAXIS1": 41, "NAXIS2": 37}
        assert {name: hdu.header[name] for name in kept} == kept
        assert {name: theirs[1].header[name] for name in kept} == kept
        assert hdu.header["HISTORY"] == theirs[1].header["HISTORY"]
        assert hdu.name == "SCI"


def test_the_table_is_still_there_byte_for_byte(tmp_path):
    path = compressed(tmp_path, IMAGES["int16"])
    with open_fits(path) as file:
        assert b"".join(b"".join(hdu.iter_raw()) for hdu in file.hdus) == path.read_bytes()
        assert file.hdus[1].raw_header.startswith(b"XTENSION= 'BINTABLE'")


def test_a_compressed_primary_becomes_a_valid_extension(tmp_path):
    path = compressed(tmp_path, IMAGES["float32"])
    path = edited(
        path,
        format_card("ZSIMPLE", value=True),
        format_card("ZEXTEND", value=True),
        format_card("EXTNAME", "COMPRESSED_IMAGE"),
        format_card("ZHECKSUM", "abcdefghijklmnop"),
        format_card("ZDATASUM", "123"),
        drop=("ZTENSION", "ZPCOUNT", "ZGCOUNT"),
    )
    with open_fits(path) as file:
        header = file.hdus[1].header
        assert file.hdus[1].name == ""
        assert header["XTENSION"] == "IMAGE"
        assert (header["PCOUNT"], header["GCOUNT"]) == (0, 1)
        assert (header["CHECKSUM"], header["DATASUM"]) == ("abcdefghijklmnop", "123")
        assert not {"SIMPLE", "EXTEND", "EXTNAME", "ZHECKSUM"} & set(header)


def test_a_blank_of_the_compression_alone_is_a_blank_of_the_image(tmp_path):
    image = IMAGES["int16"].copy()
    image[3, 4] = -999
    path = edited(compressed(tmp_path, image), format_card("ZBLANK", -999))
    with open_fits(path) as file:
        hdu = file.hdus[1]
        stored = hdu.read_stored(0, WHOLE, WHOLE)
        np.testing.assert_array_equal(stored, image)
        assert hdu.blank == hdu.header["BLANK"] == -999
        assert np.argwhere(np.isnan(hdu.to_physical(stored))).tolist() == [[3, 4]]


def test_damaged_cards_in_the_header_do_no_harm(tmp_path):
    path = edited(
        compressed(tmp_path, IMAGES["int16"]),
        b"BROKEN  = 'no end of this string".ljust(80),
        "\xc9TOILE = 1".encode("latin-1").ljust(80),
        b"CONTINUE  without a start".ljust(80),
    )
    with open_fits(path) as file:
        np.testing.assert_array_equal(planes(file.hdus[1])[0], IMAGES["int16"])
        assert b"BROKEN  = 'no end" in file.hdus[1].header_bytes


@pytest.mark.parametrize(
    "card",
    [
        format_card("ZCMPTYPE", "BROTLI"),
        format_card("ZIMAGE", value=False),
        format_card("ZSCALE", 0.5),
        format_card("TTYPE1", "OTHER"),
    ],
)
def test_compressions_that_cannot_be_undone_are_passed_on_as_tables(tmp_path, card):
    with open_fits(edited(compressed(tmp_path, IMAGES["int16"]), card)) as file:
        assert file.hdus[1].kind == "table"
        assert file.hdus[1].header_bytes == file.hdus[1].raw_header


def test_damaged_compressed_data_are_refused_by_file_and_hdu(tmp_path):
    path = compressed(tmp_path, IMAGES["int16"], compression_type="GZIP_1")
    with open_fits(path) as file:
        hdu = file.hdus[1]
        rows = integer_value(find_card(split_cards(hdu.raw_header), "NAXIS2"))
        start = hdu.data_offset + rows * 8
    data = bytearray(path.read_bytes())
    data[start + 20 : start + 400] = bytes(380)
    path.write_bytes(data)
    with (
        open_fits(path) as file,
        pytest.raises(FormatError, match=r"a.fits.fz: HDU 1: the compressed image is damaged"),
    ):
        planes(file.hdus[1])


def test_a_table_with_another_number_of_tiles_is_refused(tmp_path):
    path = edited(compressed(tmp_path, IMAGES["int16"]), format_card("ZTILE2", 5))
    with open_fits(path) as file, pytest.raises(FormatError, match=r"has 8 tiles, .* has 37 rows"):
        planes(file.hdus[1])
    path = edited(path, format_card("ZTILE2", 0))
    with open_fits(path) as file, pytest.raises(FormatError, match="ZTILE2 must be 1 or more"):
        planes(file.hdus[1])


def test_bands_larger_than_what_is_kept_are_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("astro_vq.io.fits_compressed._BAND_BYTES", 100)
    path = compressed(tmp_path, IMAGES["nan"], tile_shape=(8, 13))
    with open_fits(path) as file, fits.open(path) as theirs:
        assert same_bits(planes(file.hdus[1])[0], theirs[1].data)
        part = file.hdus[1].read_stored(0, slice(3, 9), slice(11, 30))
        assert same_bits(part, np.ascontiguousarray(theirs[1].data[3:9, 11:30]))
        assert file.hdus[1].read_stored(0, slice(3, 3), slice(5, 9)).shape == (0, 4)


def test_a_closed_file_is_not_read(tmp_path):
    path = compressed(tmp_path, IMAGES["int16"])
    file = open_fits(path)
    planes(file.hdus[1])
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.hdus[1]._compressed._decompress(0, slice(0, 1), slice(0, 41))
