"""A large body of many values, read some of them at a time: where to cut it, and how many values each piece holds.

Two framings are cut: values one after another, at a line that begins like a value, and the elements of an array. A
piece is the bytes of whole values; a format that reads values one by one finds in the pieces what it would have found
in the body. Where the input is damaged, pieces grow until the damage is inside of one.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from collector.json_units import JsonUnit, complete_elements, split_json
from collector.large.lighten import Readable

SEGMENT_BYTES = 4 * 1024 * 1024


class Segment(NamedTuple):
    """A piece of a body.

    Attributes:
        start, stop: where in it.
        units: how many values it holds.
        head, tail: what to put around it, where it is a part of an array.
    """

    start: int
    stop: int
    units: int
    head: bytes = b""
    tail: bytes = b""

    def read(self, body: Readable) -> bytes:
        """The piece as a body of its own."""
        return self.head + body.read(self.start, self.stop) + self.tail


def find_segments(body: Readable, size: int = SEGMENT_BYTES) -> list[Segment]:
    """The pieces of a body, in order; each of about ``size`` bytes, or as many as one value takes."""
    at = _array_start(body)
    if at is None:
        return list(_lines(body, size))
    found = list(_elements(body, at, size))
    if len(found) > 1 and _says_open(split_json(found[-1].read(body))):
        # That the array has no end is said of its bracket, which comes before all of its elements.
        found[-1] = found[-1]._replace(units=found[-1].units - 1, tail=b"]")
        found.insert(0, Segment(0, at, 1))
    return found


def _says_open(units: list[JsonUnit]) -> bool:
    return bool(units) and bool(units[0].error) and units[0].source == b"["


def _array_start(body: Readable) -> int | None:
    """Behind the bracket, if the body begins with an array."""
    head = body.read(0, 4096)
    rest = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    return len(head) - len(rest) + 1 if rest[:1] == b"[" else None


def _lines(body: Readable, size: int) -> Iterator[Segment]:
    start = 0
    while start < body.size:
        want = size
        while True:
            block = body.read(start, start + want)
            ends = start + want >= body.size
            cut = len(block) if ends else max(block.rfind(b"\n{"), block.rfind(b"\n[")) + 1
            units = split_json(block[:cut]) if cut else []
            if ends or (units and _is_complete(units)):
                break
            want *= 2
        yield Segment(start, start + cut, len(units))
        start += cut


def _is_complete(units: list[JsonUnit]) -> bool:
    """Whether no value goes on behind the piece."""
    return not units[-1].error and not any(unit.error and unit.source == b"[" for unit in units)


def _elements(body: Readable, start: int, size: int) -> Iterator[Segment]:
    head = body.read(0, start)
    while True:
        want = size
        while True:
            block = body.read(start, start + want)
            if start + want >= body.size:
                last = Segment(start, body.size, len(split_json(b"[" + block)), b"[")
                yield last if start > len(head) else Segment(0, body.size, len(split_json(head + block)))
                return
            text = block.decode("utf-8", "surrogateescape")
            end, count = complete_elements(text, 0)
            if count:
                break
            want *= 2
        end = len(text[:end].encode("utf-8", "surrogateescape"))
        yield Segment(start, start + end - 1, count, b"[", b"]")
        start += end
