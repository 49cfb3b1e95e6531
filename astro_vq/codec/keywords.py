"""Typed, checked access to the cards of headers that this package has written itself."""

import math
from collections.abc import Sequence

from astro_vq.errors import FormatError
from astro_vq.io import cards as card_io

_PIECE = 60
_LARGEST = 2**62


def long_string(name: str, value: str) -> list[bytes]:
    """Return one card of a string, or several joined by CONTINUE when it is long.

    Parameters
    ----------
    name : str
        Keyword.
    value : str
        Printable ASCII without quotation marks, any length.

    Raises
    ------
    ValueError
        The value cannot stand in a header.
    """
    if not all(" " <= letter <= "~" and letter != "'" for letter in value):
        raise ValueError(f"{name}: not printable ASCII without quotation marks: {value!r}")
    if len(value) <= card_io.CARD_BYTES - 12:
        return [card_io.format_card(name, value)]
    pieces = [value[i : i + _PIECE] for i in range(0, len(value), _PIECE)]
    cards = []
    for number, piece in enumerate(pieces):
        start = f"{name:<8}= " if number == 0 else "CONTINUE  "
        more = "&" if number + 1 < len(pieces) else ""
        cards.append(f"{start}'{piece}{more}'".encode("ascii").ljust(card_io.CARD_BYTES))
    return cards


class Keywords:
    """The values of a header's cards; the first card of a name counts.

    Parameters
    ----------
    cards : sequence of bytes
        Cards of 80 bytes.
    where : str
        File and HDU, for error messages.
    """

    def __init__(self, cards: Sequence[bytes], where: str) -> None:
        self.where = where
        self._cards = cards
        self._positions: dict[str, int] = {}
        for position, card in enumerate(cards):
            self._positions.setdefault(card_io.keyword(card), position)

    def __contains__(self, name: str) -> bool:
        return name in self._positions

    def position(self, name: str) -> int | None:
        """Return where the first card of this name stands, or None."""
        return self._positions.get(name)

    def integer(
        self, name: str, *, least: int = 0, most: int = _LARGEST, default: int | None = None
    ) -> int:
        """Return an integer within limits.

        Raises
        ------
        FormatError
            It is missing and has no default, is no integer, or out of its limits.
        """
        value = default
        if name in self:
            value = card_io.integer_value(self._cards[self._positions[name]])
        if value is None or not least <= value <= most:
            raise FormatError(
                f"{self.where}: damaged header: {name} must be an integer from {least} to {most}, "
                f"got {self._shown(name)}"
            )
        return value

    def number(self, name: str, *, default: float | None = None) -> float:
        """Return a finite number.

        Raises
        ------
        FormatError
            It is missing and has no default, or is no finite number.
        """
        value = default
        if name in self:
            value = card_io.float_value(self._cards[self._positions[name]])
        if value is None or not math.isfinite(value):
            raise FormatError(
                f"{self.where}: damaged header: {name} must be a number, got {self._shown(name)}"
            )
        return value

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return a string, joined with what follows in CONTINUE cards.

        Raises
        ------
        FormatError
            It is missing and has no default, or is no string.
        """
        if name not in self:
            value = default
        else:
            position = self._positions[name]
            value = card_io.string_value(self._cards[position])
            for card in self._cards[position + 1 :]:
                if value is None or not value.endswith("&") or card[:10] != b"CONTINUE  ":
                    break
                piece = card_io.string_value(b"CONTENTS= " + card[10:])
                value = value[:-1] + (piece or "")
        if value is None:
            raise FormatError(
                f"{self.where}: damaged header: {name} must be text, got {self._shown(name)}"
            )
        return value

    def flag(self, name: str) -> bool:
        """Whether a logical keyword is there and true."""
        return name in self and bool(card_io.logical_value(self._cards[self._positions[name]]))

    def data_size(self) -> int:
        """Return the bytes of the data unit that the header announces, without padding.

        Raises
        ------
        FormatError
            A structural keyword is missing or impossible.
        """
        bits = abs(self.integer("BITPIX", least=-64, most=64))
        if bits not in (8, 16, 32, 64):
            raise FormatError(f"{self.where}: damaged header: BITPIX is {bits}")
        axes = self.integer("NAXIS", most=999)
        if axes == 0:
            return 0
        lengths = [self.integer(f"NAXIS{axis + 1}") for axis in range(axes)]
        if self.flag("GROUPS") and lengths[0] == 0:
            lengths = lengths[1:]
        parameters = self.integer("PCOUNT", default=0)
        return bits // 8 * self.integer("GCOUNT", default=1) * (parameters + math.prod(lengths))

    def _shown(self, name: str) -> str:
        if name not in self:
            return "nothing"
        return repr(self._cards[self._positions[name]][10:30].strip().decode("latin-1"))
