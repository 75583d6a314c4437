"""Metadata as bytes: the Avro binary of ``metadata.v1.avsc``, without header, which is the metadata part.

Of the 150 fields an event sets about 40, and the default of every field is coded as one zero byte. Encoder and decoder
are made for that, and the decoder is strict: it accepts exactly what the encoder writes (shortest numbers, one block
per list, no key twice), so equal metadata is equal bytes. Any Avro reader reads the result.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

from schemas.avro_binary import SMALL, SMALL_END, avro_text, read_varint, varint
from schemas.errors import MalformedInput
from schemas.metadata import Metadata, schema

Writer = Callable[[Any], bytes]
Reader = Callable[[bytes, int], tuple[Any, int]]
"""Reads at a position; returns the value and the position behind it."""

_DOUBLE = struct.Struct("<d")
_LONG = 0x80
"""The first byte of a length that takes two."""
_NOT_NULL = 2
"""The second branch of a union, as a number."""


def encode_metadata(metadata: Metadata) -> bytes:
    """The bytes of the metadata part.

    Raises:
        MalformedInput: a field that the schema does not have, or a value of another type.
    """
    fields = _DEFAULTS.copy()
    name = ""
    try:
        for name, value in metadata.items():
            at, write = _WRITERS[name]
            if write is not None:
                fields[at] = write(value)
            elif value != "":  # avro_text, written out: three of four fields are text, and a call costs as much
                raw = value.encode("utf-8")  # type: ignore[attr-defined]  # or refused below
                size = len(raw)
                fields[at] = (SMALL[size] if size < SMALL_END else varint(size)) + raw
        return b"".join(fields)
    except KeyError:
        raise MalformedInput(f"got metadata field {name!r}, expected one of schemas/avro/metadata.v1.avsc") from None
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error, MalformedInput) as error:
        raise MalformedInput(f"metadata field {name!r} does not fit its type: {error}") from None


def decode_metadata(data: bytes) -> Metadata:
    """Read a metadata part, with all its fields; times are integers of microseconds, as they were written.

    Raises:
        MalformedInput: the bytes are not exactly what :func:`encode_metadata` writes.
    """
    values = _EMPTY | decode_set_fields(data)
    for name, collection in _COLLECTIONS:
        if not values[name]:
            values[name] = collection()
    metadata: Metadata = values  # type: ignore[assignment]
    return metadata


def with_all_fields(found: Mapping[str, Any]) -> Metadata:
    """What :func:`decode_metadata` gives, from what :func:`decode_set_fields` gave; the lists and maps that are not set
    are shared, and empty."""
    metadata: Metadata = {**_NOTHING, **found}  # type: ignore[typeddict-item]
    return metadata


def decode_set_fields(data: bytes) -> dict[str, Any]:
    """Only those fields of a metadata part that say something: no empty text or list, no null, no zero that may not be
    null. Raises like :func:`decode_metadata`."""
    found: dict[str, Any] = {}
    name, at, size = "", 0, len(data)
    try:
        for name, read in _READERS:
            length = data[at]
            if not length:
                at += 1
            elif read is _read_string and length < _LONG and not length & 1:
                # Text of up to 63 bytes, written out: three of four fields are text, and a call costs as much.
                end = at + 1 + (length >> 1)
                if end > size:
                    raise IndexError
                found[name] = data[at + 1 : end].decode("utf-8")
                at = end
            else:
                found[name], at = read(data, at)
    except (IndexError, struct.error):
        raise MalformedInput(f"got metadata cut short in field {name!r} at byte {size}") from None
    except (UnicodeDecodeError, MalformedInput) as error:
        raise MalformedInput(f"got bytes that are not metadata v1: field {name!r}: {error}") from None
    if at != size:
        raise MalformedInput(f"got {size - at} bytes after the metadata, expected none")
    return found


def _write_long(value: Any) -> bytes:
    number = index(value)
    return SMALL[number] if 0 <= number < SMALL_END else varint(number)


def _write_some_long(value: Any) -> bytes:
    if value is None:
        return b"\x00"
    number = index(value)
    return _SOME_SMALL[number] if 0 <= number < SMALL_END else b"\x02" + varint(number)


_SOME_SMALL = [b"\x02" + number for number in SMALL]


def _write_boolean(value: Any) -> bytes:
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise TypeError(f"got {type(value).__name__}, expected a boolean")


def _write_strings(value: Any) -> bytes:
    if isinstance(value, str):
        raise TypeError("got text, expected a list of texts")
    return varint(len(value)) + b"".join([avro_text(item) for item in value]) + b"\x00" if value else b"\x00"


def _write_map(value: Any) -> bytes:
    if not value:
        value.items()  # whatever is no map is refused
        return b"\x00"
    pairs = [avro_text(text) for pair in value.items() for text in pair]
    return varint(len(value)) + b"".join(pairs) + b"\x00"


def _nullable_writer(write: Writer) -> Writer:
    return lambda value: b"\x00" if value is None else b"\x02" + write(value)


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    size, at = read_varint(data, at)
    end = at + size
    if size < 0:
        raise MalformedInput(f"got a length of {size} at byte {at}, expected 0 or more")
    if end > len(data):
        raise IndexError
    return data[at:end].decode("utf-8"), end


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE.unpack_from(data, at)[0], at + _DOUBLE.size


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise MalformedInput(f"got {data[at]} at byte {at}, expected a boolean of 0 or 1")
    return data[at] == 1, at + 1


def _read_count(data: bytes, at: int) -> tuple[int, int]:
    count, at = read_varint(data, at)
    if not 1 <= count <= len(data):
        raise MalformedInput(f"got a block of {count} items at byte {at}, expected one block that fits")
    return count, at


def _read_end(data: bytes, at: int) -> int:
    if data[at]:
        raise MalformedInput(f"got a second block at byte {at}, expected one")
    return at + 1


def _read_strings(data: bytes, at: int) -> tuple[list[str], int]:
    count, at = _read_count(data, at)
    items = []
    for _ in range(count):
        item, at = _read_string(data, at)
        items.append(item)
    return items, _read_end(data, at)


def _read_map(data: bytes, at: int) -> tuple[dict[str, str], int]:
    count, at = _read_count(data, at)
    items: dict[str, str] = {}
    for _ in range(count):
        key, at = _read_string(data, at)
        items[key], at = _read_string(data, at)
    if len(items) != count:
        raise MalformedInput(f"got a key twice before byte {at}")
    return items, _read_end(data, at)


def _nullable_reader(read: Reader) -> Reader:
    def read_some(data: bytes, at: int) -> tuple[Any, int]:
        if data[at] != _NOT_NULL:
            raise MalformedInput(f"got branch {data[at]} of a union at byte {at}, expected null or a value")
        return read(data, at + 1)

    return read_some


_CODECS: dict[str, tuple[Writer, Reader, Any]] = {
    "string": (avro_text, _read_string, ""),
    "long": (_write_long, read_varint, 0),
    "double": (_DOUBLE.pack, _read_double, 0.0),
    "boolean": (_write_boolean, _read_boolean, False),
    "array": (_write_strings, _read_strings, ()),
    "map": (_write_map, _read_map, ()),
}


def _codec(avro_type: Any) -> tuple[Writer, Reader, Any]:
    """How to write and read a type, and what its zero byte stands for."""
    if isinstance(avro_type, list):
        write, read, _ = _codec(avro_type[1])
        nullable = _write_some_long if write is _write_long else _nullable_writer(write)
        return nullable, _nullable_reader(read), None
    return _codec(avro_type["type"]) if isinstance(avro_type, dict) else _CODECS[avro_type]


_FIELDS = [(field["name"], *_codec(field["type"])) for field in schema("metadata.v1")["fields"]]
_DEFAULTS = [b"\x00"] * len(_FIELDS)
_EMPTY: dict[str, Any] = {name: empty for name, _, _, empty in _FIELDS}
_WRITERS: dict[str, tuple[int, Writer | None]] = {
    name: (at, None if write is avro_text else write) for at, (name, write, _, _) in enumerate(_FIELDS)
}
"""Where a field is, and what writes it; ``None`` for text."""
_READERS: list[tuple[str, Reader]] = [(name, read) for name, _, read, _ in _FIELDS]
_COLLECTIONS: list[tuple[str, type]] = [
    (name, dict if read is _read_map else list) for name, _, read, empty in _FIELDS if empty == ()
]
_NOTHING: dict[str, Any] = _EMPTY | {name: collection() for name, collection in _COLLECTIONS}
