"""Damaged and hostile files: an error of ours or the right pixels, never wrong ones in silence."""

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import astro_vq
from astro_vq.codec.edit_header import update_checksums
from astro_vq.codec.stored import StoredFile
from astro_vq.errors import AstroVQError, FormatError
from astro_vq.io.byte_source import FileObject
from astro_vq.io.cards import format_card, keyword


def make_original() -> bytes:
    rng = np.random.default_rng(0)
    table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(50))])
    header = fits.Header()
    header["OBJECT"] = "M31"
    header["lowercas"] = 1
    hdus = [
        fits.PrimaryHDU(rng.normal(100, 4, (96, 60)).astype("f4"), header),
        fits.ImageHDU(rng.integers(0, 60, (2, 56, 56)).astype("i2"), name="CTS"),
        table,
    ]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file)
    groups = file.getvalue() + b"something behind"
    return groups.replace(b"LOWERCAS", b"lowercas")


ORIGINAL = make_original()


def pack(**choices) -> bytes:
    packed = io.BytesIO()
    choices = {"fidelity": "lossless", "tokens": False, "effort": 1, "tile_size": 32} | choices
    astro_vq.compress(io.BytesIO(ORIGINAL), packed, **choices)
    return packed.getvalue()


PACKED = pack()


def unpack(packed: bytes, **choices) -> tuple[bytes, astro_vq.codec.results.DecompressionResult]:
    target = io.BytesIO()
    result = astro_vq.decompress(io.BytesIO(packed), target, **choices)
    return target.getvalue(), result


def test_the_file_is_good():
    assert unpack(PACKED)[0] == ORIGINAL


def check_strict(packed: bytes) -> None:
    """Expect an error of ours, or everything right."""
    try:
        back, _ = unpack(packed)
    except AstroVQError:
        return
    assert back == ORIGINAL


def check_keep_going(packed: bytes) -> None:
    """Expect an error of ours, or that everything that is not right is named."""
    try:
        back, result = unpack(packed, keep_going=True)
    except AstroVQError:
        return
    assert back == ORIGINAL or result.damaged
    assert result.ok == (not result.damaged)


@given(
    st.lists(
        st.tuples(st.integers(0, len(PACKED) - 1), st.integers(1, 255)), min_size=1, max_size=4
    )
)
@settings(deadline=None, max_examples=250)
def test_changed_bytes_are_noticed(changes):
    content = bytearray(PACKED)
    for position, change in changes:
        content[position] ^= change
    check_strict(bytes(content))
    check_keep_going(bytes(content))


@given(st.integers(0, len(PACKED) - 1))
@settings(deadline=None, max_examples=60)
def test_a_file_that_is_cut_off_is_noticed(length):
    check_strict(PACKED[:length])
    check_keep_going(PACKED[:length])


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 3000), st.booleans())
@settings(deadline=None, max_examples=60)
def test_lost_or_doubled_bytes_are_noticed(position, length, lost):
    if lost:
        content = PACKED[:position] + PACKED[position + length :]
    else:
        content = PACKED[: position + length] + PACKED[position:]
    check_strict(content)
    check_keep_going(content)


def tables(packed: bytes) -> StoredFile:
    return StoredFile(FileObject(io.BytesIO(packed), "x.avq"))


def heap_of(packed: bytes, index: int) -> tuple[int, int]:
    """Return where the heap of an HDU begins, and the width of its rows."""
    hdu = tables(packed).hdus[index]
    width = hdu.keywords.integer("NAXIS1")
    return hdu.offset + width * hdu.keywords.integer("NAXIS2"), width


def test_a_damaged_tile_is_named_and_the_others_decode():
    content = bytearray(PACKED)
    content[heap_of(PACKED, 0)[0] + 2] ^= 0x10
    message = (
        r"HDU 0: tile 0 is damaged \(plane 0, rows 0:32, columns 0:32\): the CRC of its pixels"
    )
    with pytest.raises(FormatError, match=message):
        unpack(bytes(content))
    back, result = unpack(bytes(content), keep_going=True)
    (damage,) = result.damaged
    assert damage.startswith("HDU 0: tile 0 is damaged (plane 0, rows 0:32, columns 0:32)")
    assert not result.ok
    assert len(back) == len(ORIGINAL)
    with fits.open(io.BytesIO(back)) as found, fits.open(io.BytesIO(ORIGINAL)) as due:
        assert np.isnan(found[0].data[:32, :32]).all()
        found[0].data[:32, :32] = due[0].data[:32, :32]
        assert np.array_equal(found[0].data, due[0].data)
        assert np.array_equal(found[1].data, due[1].data)


def test_a_damaged_tile_of_integers_becomes_zero():
    start, _ = heap_of(PACKED, 1)
    rows = np.frombuffer(
        PACKED[tables(PACKED).hdus[1].offset : start],
        [("tile", ">i4", 5), ("stream", ">i4", 2), ("crc", ">i4")],
    )
    content = bytearray(PACKED)
    content[start + int(rows["stream"][5][1]) + 1] ^= 0x10
    back, result = unpack(bytes(content), keep_going=True)
    assert result.damaged[0].startswith(
        "HDU 1 (CTS): tile 5 is damaged (plane 1, rows 0:32, columns 32:56)"
    )
    with fits.open(io.BytesIO(back)) as found, fits.open(io.BytesIO(ORIGINAL)) as due:
        assert (found[1].data[1, :32, 32:] == 0).all()
        found[1].data[1, :32, 32:] = due[1].data[1, :32, 32:]
        assert np.array_equal(found[1].data, due[1].data)


@pytest.mark.parametrize("byte", range(0, 32, 3))
def test_a_damaged_row_of_the_table_costs_that_tile_alone(byte):
    start, width = heap_of(PACKED, 0)
    content = bytearray(PACKED)
    content[start - width * 7 + 2 * width + byte] ^= 0x81
    with pytest.raises(FormatError, match="tile 2 is damaged"):
        unpack(bytes(content))
    _, result = unpack(bytes(content), keep_going=True)
    assert len(result.damaged) == 1
    assert "tile 2 is damaged (plane 0, rows 32:64, columns 0:32)" in result.damaged[0]


def test_damaged_side_information_costs_the_tiles_but_not_the_file():
    content = bytearray(PACKED)
    content[heap_of(PACKED, 0)[0] - 1] ^= 1  # the CRC of the side information
    with pytest.raises(FormatError, match="side information is damaged"):
        unpack(bytes(content))
    back, result = unpack(bytes(content), keep_going=True)
    assert any("side information" in text for text in result.damaged)
    with fits.open(io.BytesIO(back)) as found:
        assert np.isnan(found[0].data).all()
        assert np.isfinite(found[1].data).all()


def test_a_damaged_table_hdu_is_named():
    content = bytearray(PACKED)
    content[tables(PACKED).hdus[2].offset + 5] ^= 1
    with pytest.raises(FormatError, match="HDU 2: its data are damaged"):
        unpack(bytes(content))
    _, result = unpack(bytes(content), keep_going=True)
    assert result.damaged == ("<file object>: HDU 2: its data are damaged (DATASUM is wrong)",)


def test_damaged_bytes_behind_the_end_are_named():
    content = bytearray(PACKED)
    position = PACKED.index(b"something behind")
    content[position] ^= 1
    with pytest.raises(FormatError, match="chunk 0 is damaged"):
        unpack(bytes(content))
    _, result = unpack(bytes(content), keep_going=True)
    assert "chunk 0 is damaged" in result.damaged[0]


def test_a_damaged_token_tile_costs_its_reach_alone(token_model, sky_image):
    packed = io.BytesIO()
    image = np.random.default_rng(0).normal(size=(96, 96)).astype("f4")
    astro_vq.compress(image, packed, model=token_model, fidelity="tokens", tile_size=32)
    content = bytearray(packed.getvalue())
    clean = astro_vq.open(packed, model=token_model).data
    content[heap_of(packed.getvalue(), 0)[0] + 3] ^= 1  # tokens of tile 0
    back, result = unpack(bytes(content), keep_going=True, model=token_model)
    assert len(result.damaged) == 1
    assert "tile 0 is damaged" in result.damaged[0]
    decoded = fits.getdata(io.BytesIO(back))
    reach = 32 + 4
    assert np.isnan(decoded[:reach, :reach]).all()
    good = np.ones(decoded.shape, bool)
    good[:reach, :reach] = False
    assert np.allclose(decoded[good], clean[good], atol=1e-5)


def resealed(packed: bytes, index: int, name: str, value) -> bytes:
    """Change a keyword of an HDU (-1: primary) and make its checksum right again."""
    file = tables(packed)
    if index < 0:
        start, header, data_sum = 0, packed[: file.hdus[0].offset], 0
        header = packed[: packed.index(b"XTENSION")]
    else:
        hdu = file.hdus[index]
        start, header = hdu.offset - len(hdu.header), hdu.header
        data_sum = int(hdu.keywords.text("DATASUM"))
    cards = [header[i : i + 80] for i in range(0, len(header), 80)]
    place = next(i for i, card in enumerate(cards) if keyword(card) == name)
    cards[place] = format_card(name, value)
    new = update_checksums(b"".join(cards), data_sum)
    return packed[:start] + new + packed[start + len(header) :]


@pytest.mark.parametrize(
    ("index", "name", "value"),
    [
        (-1, "AVQVERS", 2),
        (-1, "AVQVERS", "one"),
        (-1, "AVQHDUS", "IIIIIIIIIIII"),
        (-1, "AVQHDUS", "XYZ"),
        (-1, "AVQHDUS", "PPPT"),
        (-1, "AVQSIZE", 5),
        (0, "NAXIS2", 2**40),
        (0, "NAXIS1", 2**40),
        (0, "PCOUNT", 2**50),
        (0, "TFIELDS", 10**9),
        (0, "ZNAXIS1", 2**40),
        (0, "ZNAXIS2", 2**20),
        (0, "ZNAXIS", 999),
        (0, "ZBITPIX", 64),
        (0, "ZBITPIX", 17),
        (0, "AVQTILE", "4096 4096"),
        (0, "AVQTILE", "0 32"),
        (0, "AVQTILE", "16 32"),
        (0, "AVQORIG", 10**6),
        (0, "AVQORIG", -1),
        (0, "AVQFID", "perfect"),
        (1, "ZNAXIS3", 2**31),
    ],
)
def test_a_hostile_header_is_an_error_and_takes_no_memory(index, name, value):
    hostile = resealed(PACKED, index, name, value)
    tracemalloc.start()
    try:
        with pytest.raises(AstroVQError):
            unpack(hostile)
        check_keep_going(hostile)
        with contextlib.suppress(AstroVQError), astro_vq.open(io.BytesIO(hostile)) as file:
            for hdu in file:
                _ = hdu.is_image and hdu.data
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_newer_version_says_what_to_do():
    with pytest.raises(FormatError, match=r"format version 2.*upgrade astro-vq"):
        unpack(resealed(PACKED, -1, "AVQVERS", 2))


def test_more_pixels_than_allowed_are_refused_before_memory_is_asked_for():
    pixels = 96 * 60 + 2 * 56 * 56
    assert unpack(PACKED, max_pixels=pixels)[0] == ORIGINAL
    message = rf"HDU 1: an image of 6272 pixels, which makes {pixels}.*--max-pixels"
    with pytest.raises(FormatError, match=message):
        unpack(PACKED, max_pixels=pixels - 1)
    with (
        astro_vq.open(io.BytesIO(PACKED), max_pixels=96 * 60 - 1) as file,
        pytest.raises(FormatError, match=r"the limit is 5759"),
    ):
        _ = file[0].shape
    report = astro_vq.verify(io.BytesIO(PACKED), max_pixels=100)
    assert any("the limit is 100" in problem for problem in report.problems)
