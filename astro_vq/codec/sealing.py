"""Headers with valid checksums at their end, and how long they are."""

from collections.abc import Sequence

from astro_vq.io.cards import build_header, format_card, padded_size
from astro_vq.io.checksum import ZERO_CHECKSUM, encode_checksum, sum_bytes

NEXT_IS_ORIGINAL = "cards of the original header follow"
BEFORE_IS_ORIGINAL = "the cards before are the original's"


def announce_originals(originals: Sequence[bytes]) -> list[bytes]:
    """Return the cards of an original header behind one that says how many they are."""
    return [format_card("AVQORIG", len(originals), NEXT_IS_ORIGINAL), *originals]


def sealed_header(cards: Sequence[bytes], data_sum: int) -> bytes:
    """Return a header with valid CHECKSUM and DATASUM at its end.

    Parameters
    ----------
    cards : sequence of bytes
        The other cards.
    data_sum : int
        Ones' complement sum of the data unit.
    """
    datasum = format_card("DATASUM", str(data_sum), "checksum of the data unit")

    def seal(text: str) -> bytes:
        return build_header([*cards, format_card("CHECKSUM", text, "checksum of the HDU"), datasum])

    return seal(encode_checksum(sum_bytes(seal(ZERO_CHECKSUM), data_sum)))


def sealed_size(n_cards: int) -> int:
    """Return the bytes of `sealed_header` for a number of cards."""
    return padded_size((n_cards + 3) * 80)
