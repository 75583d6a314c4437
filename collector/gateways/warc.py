"""WARC 1.1 (ISO 28500:2017): HTTP messages kept as they were, in a frame that tools nobody here wrote can read. Pure.

A recorded exchange is a file of three records, ``request``, ``response`` and ``metadata``; ``request`` and ``response``
are an HTTP head and the exact bytes of the body. ``parse`` and ``format`` are strict, and exact opposites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from schemas.errors import MalformedInput

VERSION = b"WARC/1.1"
MAX_HEAD_BYTES = 64 * 1024
"""Of one record's named fields; ours have less than 1 KB."""

LENGTH_DIGITS = 12
"""Of every ``Content-Length``, so that all else stays where it is when a block is replaced by a shorter one."""

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class WarcRecord:
    """One record: named fields in order, without ``Content-Length``, and its block in pieces."""

    fields: tuple[tuple[str, str], ...]
    block: tuple[Buffer, ...]

    def field(self, name: str) -> str:
        """The value of a named field; ``""`` where there is none."""
        return next((value for known, value in self.fields if known.lower() == name.lower()), "")


def format_warc(records: Iterable[WarcRecord]) -> Iterator[Buffer]:
    """The pieces of the file, in order; blocks are not copied."""
    for record in records:
        lines = [f"{name}: {value}".encode() for name, value in record.fields]
        size = sum(len(piece) for piece in record.block)
        yield b"\r\n".join([VERSION, *lines, b"Content-Length: %0*d" % (LENGTH_DIGITS, size), b"", b""])
        yield from record.block
        yield b"\r\n\r\n"


class Span(NamedTuple):
    """Where a record lies in a file: the digits of its length, and its block."""

    digits: int
    start: int
    stop: int


def parse_warc(data: Buffer) -> list[WarcRecord]:
    """The records of a file; their blocks are views of ``data``.

    Raises:
        MalformedInput: it is none, or cut short.
    """
    view = memoryview(data)
    found = _scan(lambda start, stop: bytes(view[start:stop]), len(view))
    return [WarcRecord(fields, (view[span.start : span.stop],)) for fields, span in found]


def find_spans(read: Callable[[int, int], bytes], size: int) -> list[Span]:
    """Where the records of a file lie; ``read(start, stop)`` gives bytes of it.

    Raises:
        MalformedInput: as :func:`parse_warc`.
    """
    return [span for _, span in _scan(read, size)]


def _scan(read: Callable[[int, int], bytes], size: int) -> Iterator[tuple[tuple[tuple[str, str], ...], Span]]:
    at = 0
    while at < size:
        head = read(at, min(at + MAX_HEAD_BYTES, size))
        end = head.find(b"\r\n\r\n")
        if end < 0:
            raise MalformedInput(f"got no end of a WARC record's fields within {len(head)} bytes at byte {at}")
        fields, length = _fields(head[:end], at)
        start = at + end + 4
        at = start + length + 4
        if at > size or read(at - 4, at) != b"\r\n\r\n":
            raise MalformedInput(f"got a WARC record at byte {start} that does not end after its {length} bytes")
        yield fields, Span(start - 4 - LENGTH_DIGITS, start, start + length)


def _fields(head: bytes, at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    first, *lines = head.split(b"\r\n")
    if first != VERSION:
        raise MalformedInput(f"got {first[:16]!r} at byte {at}, expected {VERSION.decode()}")
    fields: list[tuple[str, str]] = []
    for line in lines:
        try:
            name, colon, value = line.decode("utf-8").partition(": ")
        except UnicodeDecodeError:
            raise MalformedInput(f"got bytes that are not UTF-8 in the WARC record at byte {at}") from None
        if not colon or not name:
            raise MalformedInput(f"got {line[:32]!r} in a WARC record's fields, expected name: value")
        fields.append((name, value))
    last, size = fields.pop() if fields else ("", "")
    if last != "Content-Length" or not size.isascii() or not size.isdigit() or len(size) != LENGTH_DIGITS:
        raise MalformedInput(f"got a WARC record at byte {at} whose last field is not Content-Length")
    return tuple(fields), int(size)
