"""Avro binary primitives that our own codecs share: numbers and byte strings (Avro 1.12 §Binary Encoding)."""

from __future__ import annotations

from schemas.errors import MalformedInput


def varint(value: int) -> bytes:
    """Avro ``int`` or ``long``: zigzag, then base 128, least significant group first."""
    return SMALL[value] if 0 <= value < SMALL_END else _varint(value)


def _varint(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise MalformedInput(f"got {value}, expected a signed 64-bit number")
    coded = (value << 1) ^ (value >> 63)
    out = b""
    while coded >= 0x4000:
        out += _TWO_MORE[coded & 0x3FFF]
        coded >>= 14
    return out + (_TWO_MORE[coded][:1] + bytes((coded >> 7,)) if coded >= 0x80 else bytes((coded,)))


_TWO_MORE = [bytes((low | 0x80, high | 0x80)) for high in range(0x80) for low in range(0x80)]
"""Two groups at a time, with more behind them: a time takes eight."""


SMALL_END = 4096
SMALL = [_varint(value) for value in range(SMALL_END)]
"""Lengths and counts are nearly all below this; the table halves the cost of encoding metadata."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read what :func:`varint` wrote at ``at``; return the value and the position behind it. Longer spellings of the
    same number are refused."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    coded, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        coded |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise MalformedInput(f"got a number of more than ten bytes at byte {at}")
    if byte == 0 or coded >> 64:
        raise MalformedInput(f"got a number at byte {at} that is not in its shortest form")
    return (coded >> 1) ^ -(coded & 1), at


def avro_bytes(value: bytes) -> bytes:
    """Avro ``bytes`` (and, of UTF-8, ``string``): the length, then the bytes."""
    return varint(len(value)) + value


def avro_text(value: str) -> bytes:
    """Avro ``string``. Raises ``UnicodeEncodeError`` for text that is not Unicode (a lone surrogate)."""
    raw = value.encode("utf-8")
    size = len(raw)
    return (SMALL[size] if size < SMALL_END else _varint(size)) + raw
