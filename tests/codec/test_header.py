import contextlib
import struct

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astro_vq.codec.header import LARGEST_HEADER, restore_header, store_header
from astro_vq.errors import FormatError


def header_of(*cards: bytes, end: bytes = b"END", fill: bytes = b" ") -> bytes:
    header = b"".join(card.ljust(80) for card in (*cards, end))
    return header.ljust(-(-len(header) // 2880) * 2880, fill)


def test_a_plain_header_needs_no_patch_and_keeps_its_order():
    header = fits.PrimaryHDU().header
    header["OBJECT"] = ("M31", "what it is")
    header["HISTORY"] = "made by hand"
    header["HIERARCH ESO DET ID"] = 7
    header["LONGTEXT"] = "x" * 200
    raw = header.tostring().encode()
    stored = store_header(raw)
    assert stored.patch == b""
    assert restore_header(stored.cards, stored.patch) == raw
    names = [card[:8].rstrip() for card in stored.cards]
    assert names[:4] == [b"ZSIMPLE", b"ZBITPIX", b"ZNAXIS", b"ZEXTEND"]
    assert names[4:7] == [b"OBJECT", b"HIERARCH", b"LONGTEXT"]
    assert names.count(b"CONTINUE") == 2


def test_renaming_touches_the_name_alone():
    raw = header_of(b"BZERO   = 3.276800000E+04 / data = x * BSCALE + BZERO")
    (card,) = store_header(raw).cards
    assert card == b"ZBZERO  = 3.276800000E+04 / data = x * BSCALE + BZERO".ljust(80)


@pytest.mark.parametrize(
    "card",
    [
        b"AVQFID  = 'tokens'",
        b"ZBITPIX =                   16",
        b"ZIMAGE  =                    T",
        b"TTYPE1  = 'PLANE'",
        b"TFIELDS =                    3",
        b"lower   = 1",
        b"BAD KEY = 1",
        b"OBJECT  = 'no closing quote",
        b"OBJECT  = what is this",
        b"CAF\xc9    = 'coffee'",
        b"TAB     = 'a\tb'",
        b"BITPIX",
        b"JUSTTEXT without a value",
        b"CONTINUE  'of nothing'",
    ],
)
def test_cards_that_cannot_stand_in_a_table_come_back_by_the_patch(card):
    raw = header_of(b"SIMPLE  =                    T", card, b"OBJECT  = 'M31'")
    stored = store_header(raw)
    assert len(stored.cards) == 2
    assert restore_header(stored.cards, stored.patch) == raw


def test_a_continuation_goes_with_the_card_that_it_continues():
    raw = header_of(
        b"lower   = 'first&'", b"CONTINUE  'second&'", b"CONTINUE  'third'", b"A       = 1"
    )
    stored = store_header(raw)
    assert [card[:8] for card in stored.cards] == [b"A       "]
    assert restore_header(stored.cards, stored.patch) == raw


@pytest.mark.parametrize(
    "raw",
    [
        header_of(b"A       = 1", fill=b"\0"),
        header_of(b"A       = 1") + b" " * 2880,
        header_of(b"A       = 1", end=b"END     = 5"),
        header_of(b"A       = 1")[:-1] + b"x",
    ],
    ids=["NULs", "another block", "END with a value", "rubbish at the end"],
)
def test_odd_ends_come_back(raw):
    stored = store_header(raw)
    assert restore_header(stored.cards, stored.patch) == raw


CARDS = st.one_of(
    st.binary(min_size=80, max_size=80),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=80, max_size=80).map(
        lambda text: text.encode()
    ),
    st.sampled_from(
        [b"BITPIX  = 16", b"ZBITPIX = 16", b"NAXIS1  = 3", b"COMMENT x", b"END", b"CONTINUE  'a&'"]
    ).map(lambda card: card.ljust(80)),
    st.builds(
        lambda name, value: f"{name:<8}= {value}".ljust(80)[:80].encode(),
        st.text("ABCXYZ019_-", min_size=1, max_size=8),
        st.one_of(st.integers(), st.floats(), st.text("abc'/ &", max_size=30).map(repr)),
    ),
)


@given(st.lists(CARDS, max_size=40), st.sampled_from([b" ", b"\0"]))
def test_any_header_comes_back_and_only_valid_cards_are_kept(cards, fill):
    raw = header_of(*cards, fill=fill)
    stored = store_header(raw)
    assert restore_header(stored.cards, stored.patch) == raw
    groups = []  # a card with those that continue it
    for card in stored.cards:
        assert len(card) == 80
        assert card.isascii()
        groups = [*groups[:-1], groups[-1] + card] if card[:8] == b"CONTINUE" else [*groups, card]
    for group in groups:
        fits.Card.fromstring(group).verify("exception")


PATCHED = store_header(header_of(b"SIMPLE  = T", b"lower = 1", b"OBJECT  = 'M31'", fill=b"\0"))


def test_a_patch_that_is_cut_off_is_an_error():
    for length in range(1, len(PATCHED.patch)):
        with pytest.raises(FormatError, match="damaged header patch"):
            restore_header(PATCHED.cards, PATCHED.patch[:length])


@given(st.data())
def test_a_damaged_patch_is_an_error_or_a_header(data):
    patch = bytearray(PATCHED.patch)
    for _ in range(data.draw(st.integers(1, 4))):
        patch[data.draw(st.integers(0, len(patch) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        restore_header(PATCHED.cards, bytes(patch))


def test_a_patch_cannot_ask_for_endless_memory():
    count = 2**20
    patch = struct.pack(">I", count) + struct.pack(">iI", 0, 1000) * count
    with pytest.raises(FormatError, match="endless"):
        restore_header([b"A       = 1".ljust(80)] * 1000, patch)


def test_a_patch_that_refers_to_other_cards_is_an_error():
    patch = struct.pack(">I", 1) + struct.pack(">iI", 5, 1)
    with pytest.raises(FormatError, match="not there"):
        restore_header([b"A       = 1".ljust(80)], patch)


def test_an_unreasonable_header_is_refused():
    with pytest.raises(FormatError, match="not supported"):
        store_header(b" " * (LARGEST_HEADER + 80))
