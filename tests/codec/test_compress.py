import errno
import io
import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import astro_vq
from astro_vq.codec import loaded_models
from astro_vq.codec.container import TileGrid
from astro_vq.codec.image_header import ImageHeader
from astro_vq.codec.paths import compressed_name
from astro_vq.codec.planning import MaxError, sample_plane
from astro_vq.errors import DataError, FormatError, ModelMismatchError

FIELDS = [
    "input", "output", "fidelity", "max_error", "input_bytes", "output_bytes", "pixel_bytes",
    "token_bytes", "model_bytes", "bits_per_pixel", "ratio", "seconds", "model",
    "model_hash", "verify_seconds", "hdus", "notes",
]  # fmt: skip


def file_of(data, **cards) -> bytes:
    """Return a FITS file with these stored values, whatever the cards say about them."""
    bits = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
    data = np.asarray(data)
    head = {"SIMPLE": True, "BITPIX": bits[data.dtype.str[1:]], "NAXIS": data.ndim}
    head |= {f"NAXIS{i + 1}": length for i, length in enumerate(data.shape[::-1])}
    text = b"".join(fits.Card(*card).image.encode() for card in (head | cards).items())
    text = (text + b"END").ljust(-(-(len(text) + 3) // 2880) * 2880)
    body = data.astype(data.dtype.newbyteorder(">")).tobytes()
    return text + body.ljust(-(-len(body) // 2880) * 2880, b"\0")


def special_floats(rng, shape, dtype):
    data = rng.normal(100, 3, shape).astype(dtype)
    bits = data.view(f"u{data.itemsize}").ravel()
    patterns = {
        4: [0x7FC00000, 0x7F800001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000, 0xFF800000],
        8: [0x7FF8 << 48, (0x7FF0 << 48) + 1, 0xFFFABCDEF0123456, 1 << 63, 1, 0x7FF0 << 48],
    }[data.itemsize]
    for pattern in patterns:
        if bits.size:
            bits[rng.integers(bits.size)] = pattern
    return data


@st.composite
def images(draw):
    """Draw a FITS file of one image: any type, shape and scaling."""
    kind = draw(st.sampled_from(["u1", "i2", "i4", "i8", "f4", "f8"]))
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 90)),
            st.tuples(st.integers(1, 45), st.integers(1, 45)),
            st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 20)),
            st.tuples(st.integers(1, 2), st.integers(1, 2), st.just(1), st.integers(1, 30)),
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cards = {}
    if kind[0] == "f":
        data = special_floats(rng, shape, np.dtype(kind))
    else:
        info = np.iinfo(kind)
        wide = draw(st.booleans())
        low, high = (info.min, info.max) if wide else (20, 60)
        data = rng.integers(low, high, shape, dtype=np.dtype(kind), endpoint=True)
        if draw(st.booleans()):
            cards["BLANK"] = int(draw(st.sampled_from([30, info.min, info.max, 10**6])))
    if draw(st.booleans()):
        cards["BSCALE"] = draw(st.sampled_from([1.0, 0.25, -3.0]))
        cards["BZERO"] = draw(st.sampled_from([0.0, 32768.0, 2.0**31, -128.0, 17.5]))
    if draw(st.booleans()):
        data[...] = data.ravel()[0] if data.size else 0
    return file_of(data, **cards), data, cards


QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(images())
@QUICK
def test_lossless_gives_the_same_file(roundtrip, image):
    assert roundtrip(image[0], fidelity="lossless", tile_size=16) == image[0]


@given(images(), st.sampled_from([0.3, 2.0, 40.0]))
@QUICK
def test_a_bound_holds_and_missing_pixels_stay(roundtrip, image, bound):
    original, data, cards = image
    back = roundtrip(original, max_error=bound, tile_size=16)
    start = original.index(b"END     ") // 2880 * 2880 + 2880
    assert back[:start] == original[:start]
    count = data.size * data.itemsize
    decoded = np.frombuffer(back[start : start + count], data.dtype.newbyteorder(">"))
    decoded = decoded.reshape(data.shape)
    finite = np.isfinite(data) if data.dtype.kind == "f" else data != cards.get("BLANK")
    assert decoded.astype(data.dtype)[~finite].tobytes() == data[~finite].tobytes()
    if data.dtype.kind == "f":
        assert np.isfinite(decoded[finite]).all()
    else:
        assert not (decoded[finite] == cards.get("BLANK")).any()
    scale = abs(cards.get("BSCALE", 1.0))
    error = np.abs(decoded[finite].astype(np.longdouble) - data[finite].astype(np.longdouble))
    assert (error * scale <= bound).all()


def many_hdus() -> fits.HDUList:
    rng = np.random.default_rng(1)
    header = fits.Header()
    header["OBJECT"] = "M31"
    header["LONGSTRN"] = "OGIP 1.0"
    header["LONGTEXT"] = "all that is said about it " * 9
    header["HIERARCH ESO DET CHIP"] = "a chip"
    header["COMMENT"] = "by hand"
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("A", "1J", array=np.arange(5)),
            fits.Column("B", "PE()", array=np.array([np.ones(n, "f4") for n in range(5)], object)),
        ],
        name="CAT",
    )
    text = fits.TableHDU.from_columns([fits.Column("X", "I5", array=np.arange(4), ascii=True)])
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=header),
            fits.ImageHDU(rng.normal(10, 2, (40, 33)).astype("f4"), name="SCI"),
            fits.ImageHDU(rng.integers(0, 65536, (20, 20), dtype="u2"), name="RAW"),
            table,
            fits.ImageHDU(),
            text,
            fits.ImageHDU(rng.integers(0, 4, (40, 33)).astype("i2"), name="DQ"),
            fits.ImageHDU(rng.normal(0, 1, (2, 3, 12, 12)), name="CUBE"),
        ]
    )


@pytest.mark.parametrize("checksum", [False, True])
def test_every_kind_of_hdu_comes_back(roundtrip, checksum):
    original = fits_bytes(many_hdus(), checksum=checksum)
    assert roundtrip(original, fidelity="lossless") == original
    kinds = [hdu["kind"] for hdu in roundtrip.result.hdus]
    assert kinds == ["empty", "image", "image", "table", "empty", "table", "image", "image"]


def fits_bytes(hdus, **choices) -> bytes:
    file = io.BytesIO()
    hdus.writeto(file, **choices)
    return file.getvalue()


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("fidelity", ["lossless", "max-error"])
def test_the_compressed_file_is_valid_fits(roundtrip, tmp_path, fidelity, checksum):
    roundtrip(fits_bytes(many_hdus(), checksum=checksum), fidelity=fidelity)
    packed = tmp_path / "x.avq"
    packed.write_bytes(roundtrip.packed)
    assert len(roundtrip.packed) % 2880 == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # astropy warns of wrong checksums
        with fits.open(packed, checksum=True) as hdus:
            hdus.verify("exception")
            for hdu in hdus:
                assert "CHECKSUM" in hdu.header
                assert "DATASUM" in hdu.header
            assert hdus[1].header["OBJECT"] == "M31"
            assert hdus["SCI"].header["ZNAXIS1"] == 33
            assert hdus["CAT"].data["A"].tolist() == [0, 1, 2, 3, 4]
            assert hdus["SCI"].columns.names == ["TILE", "PIXELS", "CRC"]
    program = shutil.which("fitsverify")
    if program is not None:
        done = subprocess.run([program, "-q", packed], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_fitsio_reads_the_compressed_file(roundtrip, tmp_path):
    fitsio = pytest.importorskip("fitsio")
    roundtrip(many_hdus(), fidelity="lossless")
    packed = tmp_path / "x.avq"
    packed.write_bytes(roundtrip.packed)
    with fitsio.FITS(str(packed)) as hdus:
        assert len(hdus) == 9
        assert hdus["SCI"].read()["TILE"].tolist() == [[0, 0, 0, 40, 33]]
        assert hdus["CAT"].read()["A"].tolist() == [0, 1, 2, 3, 4]


def with_cards(*cards: bytes, data: bytes = b"\1\2\3\4") -> bytes:
    start = [b"SIMPLE  =                    T", b"BITPIX  =                    8"]
    start += [b"NAXIS   =                    2", b"NAXIS1  =                    2"]
    start += [b"NAXIS2  =                    2"]
    header = b"".join(card.ljust(80) for card in [*start, *cards, b"END"])
    return header.ljust(-(-len(header) // 2880) * 2880) + data.ljust(2880, b"\0")


@pytest.mark.parametrize(
    "original",
    [
        with_cards(b"OBJECT  = 'damaged", b"OBJECT  = 'twice'", b"BAD\xff\xfe  = \0\1"),
        with_cards(b"AVQFID  = 'tokens'", b"AVQORIG = 77", b"ZNAXIS1 = 5", b"TTYPE1  = 'X'"),
        with_cards(b"CONTINUE  'lost'", b"lowercase= 1", b"HIERARCH bad", b"CHECKSUM= 'no sum'"),
        with_cards(*[b"COMMENT %d" % i for i in range(200)]),
        with_cards(data=b"\1\2\3\4 padding that is no zeros"),
        with_cards()[: 2880 + 4],
        with_cards()[: 2880 + 100],
        with_cards() + b"something behind the end" * 200,
        with_cards(b"NAXIS1  =                    7"),
    ],
    ids=[
        "damaged and duplicate cards", "our own names", "odd cards", "many cards", "padding",
        "no padding", "part of the padding", "bytes behind", "duplicate axis",
    ],
)  # fmt: skip
@pytest.mark.parametrize("fidelity", ["lossless", "max-error"])
def test_odd_files_come_back_byte_for_byte(roundtrip, original, fidelity):
    assert roundtrip(original, fidelity=fidelity) == original
    with fits.open(io.BytesIO(roundtrip.packed), checksum=True) as hdus:
        hdus.verify("exception")


def random_groups() -> bytes:
    header = b"".join(
        f"{name:<8}= {value:>20}".ljust(80).encode()
        for name, value in [
            ("SIMPLE", "T"), ("BITPIX", -32), ("NAXIS", 3), ("NAXIS1", 0), ("NAXIS2", 3),
            ("NAXIS3", 2), ("GROUPS", "T"), ("PCOUNT", 1), ("GCOUNT", 4),
        ]
    )  # fmt: skip
    data = np.arange(28, dtype=">f4").tobytes()
    image = fits_bytes(fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((3, 3)))]))
    return (header + b"END").ljust(2880) + data.ljust(2880, b"\0") + image[2880:]


def unknown_extension(*cards: bytes) -> bytes:
    first = with_cards()
    header = [b"XTENSION= 'FOREIGN '", b"BITPIX  =                   16", b"NAXIS   =  1"]
    header += [b"NAXIS1  =                    3", b"PCOUNT  =  0", b"GCOUNT  =  2", *cards, b"END"]
    text = b"".join(card.ljust(80) for card in header)
    return first + text.ljust(-(-len(text) // 2880) * 2880) + b"abcdefghijkl".ljust(2880, b"\0")


@pytest.mark.parametrize(
    "original",
    [
        random_groups(),
        unknown_extension(),
        unknown_extension(b"CHECKSUM= 'wrong'", b"DATASUM = 'wrong'"),
        unknown_extension(b"AVQCHECK= 'our name'"),
        unknown_extension(b"damaged \xff card"),
        unknown_extension()[:-2868],
    ],
    ids=["groups", "unknown", "wrong checksum", "our name", "damaged", "no padding"],
)
def test_what_is_no_image_is_passed_through(roundtrip, original):
    assert roundtrip(original) == original
    if b"\xff" in original:  # astropy warns of it there as well as here
        return
    with fits.open(io.BytesIO(roundtrip.packed), checksum=True) as hdus:
        assert all("CHECKSUM" in hdu.header for hdu in hdus)


@pytest.mark.parametrize("suffix", ["gz", "bz2"])
def test_a_packed_file_comes_back_unpacked(tmp_path, suffix, sky_image):
    plain, packed = tmp_path / "a.fits", tmp_path / f"a.fits.{suffix}"
    for path in (plain, packed):
        fits.PrimaryHDU(sky_image).writeto(path)
    result = astro_vq.compress(packed, fidelity="lossless", tokens=False)
    assert result.output == str(tmp_path / "a.fits.avq")
    assert result.input_bytes == packed.stat().st_size
    back = tmp_path / "back.fits"
    astro_vq.decompress(result.output, back)
    assert back.read_bytes() == plain.read_bytes()


def compressed_image(data, **choices) -> bytes:
    hdu = fits.CompImageHDU(data, **choices)
    hdu.header["OBJECT"] = "M31"
    return fits_bytes(fits.HDUList([fits.PrimaryHDU(), hdu]))


def test_a_tile_compressed_image_becomes_the_image_when_that_is_smaller(roundtrip):
    rng = np.random.default_rng(0)
    data = np.cumsum(np.cumsum(rng.integers(-2, 3, (200, 200)), 0), 1).astype("i4")
    back = roundtrip(compressed_image(data, compression_type="GZIP_1"))
    with fits.open(io.BytesIO(back)) as hdus:
        assert type(hdus[1]) is fits.ImageHDU
        assert np.array_equal(hdus[1].data, data)
        assert hdus[1].header["OBJECT"] == "M31"
    assert roundtrip.result.notes == ()
    assert astro_vq.open(io.BytesIO(roundtrip.packed)).info()["original_bytes"] is None


def test_a_tile_compressed_image_stays_when_it_is_smaller(roundtrip):
    data = np.random.default_rng(0).integers(0, 5000, (100, 100)).astype("i4")
    choices = {"compression_type": "HCOMPRESS_1", "hcomp_scale": 20, "hcomp_smooth": 1}
    original = compressed_image(data, **choices)
    assert roundtrip(original, fidelity="lossless") == original
    assert "kept as it was: it is compressed" in roundtrip.result.notes[0]
    assert roundtrip.result.hdus[1]["fidelity"] == "lossless"


@pytest.mark.parametrize(
    "data",
    [
        np.full((70, 50), 3.5, "f4"),
        np.full((70, 50), np.nan, "f8"),
        np.zeros((40, 40), "i2"),
        np.ones((1, 300), "f4"),
        np.ones((300, 1), "i4"),
        np.ones((1, 1), "f8"),
        np.arange(5000, dtype="f4"),
        np.zeros((0, 7), "f4"),
        np.zeros((3, 0, 7), "i2"),
    ],
    ids=lambda data: f"{data.dtype}{data.shape}",
)
@pytest.mark.parametrize("fidelity", ["lossless", "max-error", "tokens"])
def test_images_of_extreme_shape_or_content(roundtrip, token_model, data, fidelity):
    original = file_of(data)
    back = roundtrip(original, fidelity=fidelity, tokens=True, model=token_model)
    assert len(back) == len(original)
    if fidelity == "lossless" or data.size == 0 or len(np.unique(data)) == 1:
        assert back == original


def test_the_default_is_lossless_for_integers_and_a_32nd_of_sigma_for_floats(roundtrip, sky_image):
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(sky_image),
            fits.ImageHDU(np.random.default_rng(0).integers(0, 99, (30, 30)).astype("i2")),
        ]
    )
    roundtrip(hdus)
    first, second = roundtrip.result.hdus
    assert first["fidelity"] == "max-error"
    assert first["max_error"] == first["sigma"] / 32
    assert first["sigma"] == pytest.approx(4, rel=0.05)
    assert (second["fidelity"], second["max_error"]) == ("lossless", 0)
    assert roundtrip.result.fidelity == "max-error"
    assert roundtrip.result.max_error == first["max_error"]


def test_flags_and_constants_are_kept_lossless_and_that_is_said(roundtrip, sky_image):
    flags = np.random.default_rng(0).integers(0, 2**14, (100, 90)).astype("i2")
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(sky_image),
            fits.ImageHDU(flags, name="DQ"),
            fits.ImageHDU(np.ones((20, 20), "f4"), name="FLAT"),
            fits.ImageHDU(flags, name="COUNTS"),
        ]
    )
    back = roundtrip(hdus, max_error="2sigma")
    assert [hdu["fidelity"] for hdu in roundtrip.result.hdus] == [
        "max-error", "lossless", "lossless", "max-error",
    ]  # fmt: skip
    notes = roundtrip.result.notes
    assert len(notes) == 2
    assert "HDU 1 (DQ) kept lossless" in notes[0]
    assert "HDU 2 (FLAT) kept lossless" in notes[1]
    assert np.array_equal(fits.getdata(io.BytesIO(back), "DQ"), flags)


def test_tiles_are_larger_where_a_coarse_bound_leaves_little_in_them():
    image = np.random.default_rng(0).normal(9, 1, (16, 8300)).astype("f4")

    def tile(**choices):
        done = astro_vq.compress(image, io.BytesIO(), tokens=False, effort=1, **choices)
        return done.hdus[0]["tile"]

    assert tile(max_error=4.0) == [16, 8300]
    assert tile(max_error="2.5sigma") == [16, 4096]
    assert tile(max_error=4.0, tile_size=256) == [16, 4096]


def test_an_integer_bound_below_one_step_is_lossless_and_that_is_said(roundtrip):
    data = np.arange(900, dtype="i4").reshape(30, 30)
    original = file_of(data, BSCALE=2.0)
    assert roundtrip(original, max_error=1.9) == original
    assert "below one integer step" in roundtrip.result.notes[0]
    assert roundtrip.result.fidelity == "lossless"


def test_the_result_has_the_fields_of_the_json(roundtrip, sky_image):
    roundtrip(fits.PrimaryHDU(sky_image), max_error=0.5)
    result = roundtrip.result.to_dict()
    assert list(result) == FIELDS
    json.dumps(result, allow_nan=False)
    assert result["max_error"] == 0.5
    assert result["output_bytes"] == len(roundtrip.packed)
    assert result["input_bytes"] == len(roundtrip.original)
    assert result["bits_per_pixel"] == 8 * len(roundtrip.packed) / sky_image.size
    assert result["ratio"] == len(roundtrip.original) / len(roundtrip.packed)
    assert 0 < result["pixel_bytes"] < result["output_bytes"]
    assert result["token_bytes"] == result["model_bytes"] == 0


def test_tokens_are_counted_and_measured(roundtrip, sky_image, token_model):
    roundtrip(fits.PrimaryHDU(sky_image), fidelity="tokens", tokens=True, model=token_model)
    result = roundtrip.result
    assert result.fidelity == "tokens"
    assert result.max_error is None
    assert 0 < result.token_bytes <= 25 * 23 // 2 + 100
    (details,) = result.hdus
    with astro_vq.open(io.BytesIO(roundtrip.packed), model=token_model) as file:
        finite = np.isfinite(sky_image)
        error = file.data[finite].astype("f8") - sky_image[finite]
        about = file.info()["hdus"][0]
    rms = np.sqrt(np.mean(error**2)) / details["sigma"]
    assert details["rms_error_sigma"] == pytest.approx(rms, rel=1e-6)
    assert details["largest_error"] == pytest.approx(np.abs(error).max(), rel=1e-6)
    assert about["rms_error_sigma"] == details["rms_error_sigma"]


def test_the_same_input_gives_the_same_bytes(roundtrip, sky_image, token_model):
    choices = {"tokens": True, "model": token_model, "embed_model": True}
    roundtrip(fits.PrimaryHDU(sky_image), **choices)
    first = roundtrip.packed
    roundtrip(fits.PrimaryHDU(sky_image), **choices)
    assert roundtrip.packed == first


def test_arrays_and_hdus_of_astropy_are_taken(sky_image):
    image = fits.ImageHDU(sky_image, name="SCI")
    for source, index in [
        (sky_image, 0),
        (sky_image.astype(">f4"), 0),
        (fits.PrimaryHDU(sky_image), 0),
        (image, 1),
        (fits.HDUList([fits.PrimaryHDU(), image]), 1),
    ]:
        packed = io.BytesIO()
        astro_vq.compress(source, packed, fidelity="lossless", tokens=False, effort=1)
        with astro_vq.open(packed) as file:
            assert np.array_equal(file[index].data, sky_image, equal_nan=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ma.masked_array([1.0, 2.0], [True, False]), "mask"),
        (np.ones(3, bool), "bool"),
        (np.ones(3, complex), "complex128"),
        (np.ones(3, np.float16), "float16"),
        (np.float64(3), "float64"),
        (np.array(3.0), "single number"),
        ([1, 2, 3], "list"),
    ],
)
def test_what_cannot_be_compressed_is_refused(source, message):
    with pytest.raises(TypeError, match=message):
        astro_vq.compress(source, io.BytesIO(), tokens=False)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"fidelity": "best"}, "fidelity must be one of tokens, max-error, lossless, got 'best'"),
        ({"fidelity": "lossless", "max_error": 1}, "goes with fidelity 'max-error'"),
        ({"fidelity": "tokens", "tokens": False}, "would store nothing"),
        ({"max_error": 0}, "above 0 and finite"),
        ({"max_error": "nan"}, "above 0 and finite"),
        ({"max_error": "3 adu"}, "a number such as"),
        ({"tokens": False, "embed_model": True}, "no model to embed"),
        ({"effort": 0}, "effort must be 1 to 9"),
        ({"tile_size": 100}, "multiple of 8"),
        ({"tile_size": 4096}, "from 16 to 2048"),
        ({"output": None}, "name the output"),
    ],
)
def test_impossible_options_are_refused(choices, message):
    choices = {"output": io.BytesIO()} | choices
    with pytest.raises(ValueError, match=message):
        astro_vq.compress(np.ones((4, 4)), **choices)


def test_bounds_are_read():
    assert MaxError.parse(0.5) == (0.5, False)
    assert MaxError.parse(" 0.125Sigma ") == (0.125, True)
    assert MaxError.parse("1e-3") == (1e-3, False)


def test_a_file_without_an_image_is_refused(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(5))])
    for hdus in [[fits.PrimaryHDU()], [fits.PrimaryHDU(), table]]:
        with pytest.raises(DataError, match="no image"):
            astro_vq.compress(fits.HDUList(hdus), tmp_path / "x.avq", tokens=False)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_fits_or_cut_off_are_refused(tmp_path, sky_image):
    (tmp_path / "text.fits").write_text("no FITS" * 1000)
    original = fits_bytes(fits.HDUList([fits.PrimaryHDU(sky_image)]))
    (tmp_path / "short.fits").write_bytes(original[:20_000])
    for name in ("text.fits", "short.fits"):
        with pytest.raises(FormatError, match=name):
            astro_vq.compress(tmp_path / name, tokens=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_output_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((4, 4))).writeto(path)
    result = astro_vq.compress(path, tokens=False)
    (tmp_path / "a.fits.avq").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        astro_vq.compress(path, tokens=False)
    assert (tmp_path / "a.fits.avq").read_bytes() == b"mine"
    again = astro_vq.compress(path, tokens=False, overwrite=True)
    assert again.output_bytes == result.output_bytes


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no room"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, error, sky_image):
    def fail(*_):
        raise error

    monkeypatch.setattr("astro_vq.codec.table_writer.ImageWriter.finish", fail)
    with pytest.raises(type(error)):
        astro_vq.compress(sky_image, tmp_path / "x.avq", tokens=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_is_named_with_the_ways_to_get_it(tmp_path):
    with pytest.raises(ModelMismatchError, match=r"no-such-model.*--embed-model"):
        astro_vq.compress(np.ones((4, 4)), tmp_path / "x.avq", model="no-such-model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_other_bands_is_refused(tmp_path, three_band_model, sky_image):
    message = r"takes 3 bands.*\(100, 90\).*--no-tokens"
    with pytest.raises(ModelMismatchError, match=message):
        astro_vq.compress(sky_image, tmp_path / "x.avq", model=three_band_model)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_three_bands_takes_cubes_of_three_planes(three_band_model, sky_image):
    cube = np.stack([sky_image, sky_image * 2, sky_image + 7])
    packed = io.BytesIO()
    astro_vq.compress(cube, packed, max_error=0.5, model=three_band_model)
    with astro_vq.open(packed, model=three_band_model) as file:
        assert file.tokens.shape == (1, 1, 25, 23)
        assert file.preview.shape == cube.shape
        finite = np.isfinite(cube)
        assert np.abs(file.data[finite] - cube[finite]).max() <= 0.5


def test_a_model_whose_tokens_tiles_would_cut_is_refused(token_model, sky_image, monkeypatch):
    loaded_models._load.cache_clear()
    monkeypatch.setattr("astro_vq.codec.windows._ALIGNMENT", 6)
    with pytest.raises(ModelMismatchError, match="stride of 4 pixels"):
        astro_vq.compress(sky_image, io.BytesIO(), model=token_model)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("a.fits", "a.fits.avq"),
        ("a.fits.gz", "a.fits.avq"),
        ("a.FITS.BZ2", "a.FITS.avq"),
        ("a.fits.fz", "a.fits.avq"),
        ("frame.0001", "frame.0001.avq"),
    ],
)
def test_the_name_of_the_output(name, output):
    assert compressed_name(Path("folder") / name) == Path("folder") / output


def test_the_name_of_the_original_is_kept_whatever_it_is(tmp_path):
    path = tmp_path / ("möglich & 'gut'" + "x" * 100 + ".fits")
    fits.PrimaryHDU(np.ones((4, 4))).writeto(path)
    result = astro_vq.compress(path, tokens=False)
    with astro_vq.open(result.output) as file:
        name = file.info()["original"]
    assert name.startswith("m%C3%B6glich%20%26%20%27gut%27xxx")
    assert name.endswith("xxx.fits")


@pytest.mark.parametrize("complete", [True, False])
def test_coordinates_of_a_cube_are_valid_in_the_table(roundtrip, tmp_path, complete):
    header = fits.Header()
    for axis in (1, 2, 3):
        header[f"CTYPE{axis}"] = ["RA---TAN", "DEC--TAN", "FREQ"][axis - 1]
        for name in ["CRPIX", "CRVAL", "CDELT"][: 3 if complete or axis < 3 else 0]:
            header[f"{name}{axis}"] = 1.5
    original = fits.PrimaryHDU(np.ones((2, 5, 5), "f4"), header)
    assert roundtrip(original) == roundtrip.original
    packed = tmp_path / "x.avq"
    packed.write_bytes(roundtrip.packed)
    assert fits.getheader(packed, 1).get("WCSAXES") == (3 if complete else None)
    assert ("CTYPE3" in fits.getheader(packed, 1)) == complete
    program = shutil.which("fitsverify")
    if program is not None:
        assert subprocess.run([program, "-q", packed], check=False).returncode == 0


@pytest.mark.parametrize("complete", [True, False])
def test_coordinates_of_a_header_without_data_are_valid(roundtrip, tmp_path, complete):
    header = fits.Header({"CTYPE1": "RA---TAN", "CRPIX1": 1.5, "CD1_1": 0.5})
    if complete:
        header["CRVAL1"] = 3.5
    hdus = fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.ones((5, 5)))])
    assert roundtrip(hdus) == roundtrip.original
    packed = tmp_path / "x.avq"
    packed.write_bytes(roundtrip.packed)
    assert fits.getheader(packed, 1).get("WCSAXES") == (1 if complete else None)
    program = shutil.which("fitsverify")
    if program is not None:
        assert subprocess.run([program, "-q", packed], check=False).returncode == 0


@pytest.mark.parametrize("fidelity", ["lossless", "tokens"])
def test_batches_and_temporary_files_change_nothing(
    roundtrip, sky_image, token_model, monkeypatch, fidelity
):
    choices = {"fidelity": fidelity, "tokens": True, "model": token_model, "tile_size": 16}
    cube = np.stack([sky_image, sky_image[::-1]])
    expected = roundtrip(fits.PrimaryHDU(cube), **choices)
    packed = roundtrip.packed
    for pixels in (16 * 16 * 2, 16 * 16 * 7):
        monkeypatch.setattr("astro_vq.codec.stored_image.BATCH_PIXELS", pixels)
        monkeypatch.setattr("astro_vq.codec.encode_image.BATCH_PIXELS", pixels)
        monkeypatch.setattr("astro_vq.codec.token_layer._IN_MEMORY", 0)
        assert roundtrip(fits.PrimaryHDU(cube), **choices) == expected
        assert roundtrip.packed == packed


def test_a_large_plane_is_sampled(sky_image):
    class Large:
        pixels_read = 0

        def read_stored(self, plane, ys, xs):
            values = np.full((ys.stop - ys.start, xs.stop - xs.start), plane, "f4")
            self.pixels_read += values.size
            return values

    image = Large()
    grid = TileGrid.for_shape((3, 10_000, 9_000), 256)
    info = ImageHeader((3, 10_000, 9_000), "float32", 1.0, 0.0, None, "", "")
    sample = sample_plane(image, info, grid, 2)
    assert (sample == 2).all()
    assert 2**19 < image.pixels_read == sample.size <= 2**20


def test_small_images_cost_little_more_than_their_streams(roundtrip):
    data = np.random.default_rng(0).normal(0, 1, (50, 50)).astype("f4")
    roundtrip(fits.PrimaryHDU(data), max_error="0.125sigma")
    # the primary header, one header block, and the streams in whole blocks
    streams = -(-(roundtrip.result.pixel_bytes + 400) // 2880) * 2880
    assert len(roundtrip.packed) <= 2880 + 2880 + streams
