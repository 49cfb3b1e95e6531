"""Single bits, for the few numbers of an image that are worth packing tightly."""

from astro_vq.errors import FormatError

_LONGEST_UNARY = 64


class BitWriter:
    """Collects bits, most significant first."""

    def __init__(self) -> None:
        self._value = 1
        self._count = 0

    def put(self, value: int, bits: int) -> None:
        """Append an integer in `[0, 2**bits)`."""
        self._value = self._value << bits | value
        self._count += bits

    def put_rice(self, value: int, parameter: int) -> None:
        """Append a non-negative integer: its high part in unary, `parameter` low bits as they are.

        A high part of 64 or more is marked by 64 ones and followed by the integer in 32 bits.
        """
        high = value >> parameter
        if high >= _LONGEST_UNARY:
            self.put((1 << _LONGEST_UNARY) - 1, _LONGEST_UNARY)
            self.put(value, 32)
            return
        self.put((1 << high + 1) - 2, high + 1)
        self.put(value & ((1 << parameter) - 1), parameter)

    def to_bytes(self) -> bytes:
        """Return the bits, filled up with zeros to whole bytes."""
        spare = -self._count % 8
        length = (self._count + spare) // 8
        value = (self._value << spare) - (1 << self._count + spare)
        return value.to_bytes(length, "big")


class BitReader:
    """Takes out what `BitWriter` put in."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, bits: int) -> int:
        """Return the next `bits` bits as an integer.

        Raises
        ------
        FormatError
            If fewer are left.
        """
        if bits > self._left:
            raise FormatError("damaged pixel stream: its bits end too early")
        self._left -= bits
        return self._value >> self._left & ((1 << bits) - 1)

    def take_rice(self, parameter: int, limit: int) -> int:
        """Return the integer that `put_rice` put.

        Raises
        ------
        FormatError
            If it is above `limit` or the bits end too early.
        """
        high = 0
        while high < _LONGEST_UNARY and self.take(1):
            high += 1
        value = (
            self.take(32) if high == _LONGEST_UNARY else high << parameter | self.take(parameter)
        )
        if value > limit:
            raise FormatError("damaged pixel stream: a number is out of range")
        return value
