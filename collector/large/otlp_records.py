"""Where the records of a large OTLP request in protobuf lie, and one of them without its long strings.

The same cut as in :mod:`collector.gateways.otlp_protobuf`, of a body that lies on disk: what is remembered of a record
is places, so a request of any size takes little memory, and its records are read one by one. The exact bytes of a unit
are pieces of the body; what is decoded is the unit with markers in place of its long strings
(:mod:`collector.large.lighten`), for which the lengths of the messages around them are written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.gateways.otlp_protobuf import LEVELS, LONGEST_MESSAGE, Place, read_varint, varint
from collector.large.lighten import Bounds, Cut, Cutter, Readable
from schemas.errors import InvariantError, MalformedInput

_TEXT = "text"
MESSAGES: Mapping[str, Mapping[int, str]] = {
    "logs": {3: _TEXT, 5: "any", 6: "pair", 12: _TEXT},
    "traces": {3: _TEXT, 5: _TEXT, 9: "pair", 11: "event", 13: "link", 15: "status"},
    "resource": {1: "pair"},
    "scope": {1: _TEXT, 2: _TEXT, 3: "pair"},
    "event": {2: _TEXT, 3: "pair"},
    "link": {3: _TEXT, 4: "pair"},
    "status": {2: _TEXT},
    "pair": {1: _TEXT, 2: "any"},
    "any": {1: _TEXT, 5: "array", 6: "map"},
    "array": {1: "any"},
    "map": {1: "pair"},
}
"""Of each message: which fields are text, or messages that hold some (opentelemetry-proto ``common.proto``,
``logs.proto``, ``trace.proto``)."""

_AROUND = ("", "resource", "scope")
"""What field 1 of a level is, beside its list."""

_DEEPEST = 100
"""Protobuf's own limit: what is nested deeper does not decode."""

_HEADER = 20
"""Bytes of the longest tag and length."""

_BLOCK = 1 << 16

Range = tuple[int, int]


class _Field(NamedTuple):
    """One field of a message: its number, and where it and its payload begin and end. A number's payload is −1."""

    number: int
    start: int
    tag_end: int
    payload: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class _Level:
    """One message of the three outer levels: its list, and what it has beside it."""

    others: list[_Field] = field(default_factory=list)
    beside: int = 0
    """Bytes of ``others``."""
    children: list[tuple[int, _Field]] = field(default_factory=list)
    """With each child, how many of ``others`` come before it."""
    strange: bool = False


class FoundRecord(NamedTuple):
    """One record in the body. ``way`` leads to it: the levels, and the child of each on the way."""

    place: Place
    way: tuple[tuple[_Level, int], ...]

    @property
    def size(self) -> int:
        """Bytes of its unit, nearly."""
        return sum(level.beside for level, _ in self.way) + self._child(-1).size

    def parts(self, body: Readable) -> list[bytes | Range]:
        """The exact bytes of its unit: the request with every sibling left out."""
        last = self._child(-1)
        if len(self.way) == len(LEVELS):
            inside: list[bytes | Range] = [(last.start, last.stop)]
        else:
            inside = [_tag(body, last), varint(last.stop - last.payload), (last.payload, last.stop)]
        for depth in reversed(range(len(self.way))):
            before, behind = self._sides(depth)
            inside = [*_ranges(before), *inside, *_ranges(behind)]
            if depth:
                inside = [_tag(body, self._child(depth - 1)), varint(_size(inside)), *inside]
        return inside

    def light(self, body: Readable, signal: str, cutter: Cutter) -> bytes:
        """Its unit without long strings, which is a valid request wherever the unit is.

        Raises:
            MalformedInput: it is not protobuf.
        """
        writer = _Writer(body, cutter)
        last = self._child(-1)
        inside = writer.field(last, signal if len(self.way) == len(LEVELS) else "", 0)
        for depth in reversed(range(len(self.way))):
            before, behind = self._sides(depth)
            inside = writer.fields(before, _AROUND[depth]) + inside + writer.fields(behind, _AROUND[depth])
            if depth:
                inside = _tag(body, self._child(depth - 1)) + varint(len(inside)) + inside
        return inside

    def texts(self, body: Readable, signal: str, least: int) -> list[int]:
        """Sizes of the texts in its unit that are of ``least`` bytes or more.

        Raises:
            MalformedInput: it is not protobuf.
        """
        sizer = _Writer(body, Cutter(body, Bounds(least, least)))
        found = list(sizer.sizes(self._child(-1), signal if len(self.way) == len(LEVELS) else "", 0))
        for depth, (level, _) in enumerate(self.way):
            for other in level.others:
                found += sizer.sizes(other, _AROUND[depth] if other.number == 1 else "", 0)
        return found

    def _child(self, depth: int) -> _Field:
        level, index = self.way[depth]
        return level.children[index][1]

    def _sides(self, depth: int) -> tuple[list[_Field], list[_Field]]:
        level, index = self.way[depth]
        before = level.children[index][0]
        return level.others[:before], level.others[before:]


def find_records(body: Readable) -> list[FoundRecord]:
    """The records of a request, in order.

    Raises:
        MalformedInput: its three outer levels are not protobuf.
    """
    blocks = _Blocks(body)
    request = _level(blocks, 0, body.size, 0)
    if request.strange and not request.children:
        raise MalformedInput("got protobuf without any list of records, expected an export request")
    found: list[FoundRecord] = []
    for i, (_, outer) in enumerate(request.children):
        resource = _level(blocks, outer.payload, outer.stop, 1)
        if resource.strange and not resource.children:
            found.append(FoundRecord(Place(i, -1, -1, b""), ((request, i),)))
        for j, (_, middle) in enumerate(resource.children):
            scope = _level(blocks, middle.payload, middle.stop, 2)
            way = ((request, i), (resource, j))
            if scope.strange and not scope.children:
                found.append(FoundRecord(Place(i, j, -1, b""), way))
            found += [FoundRecord(Place(i, j, k, b""), (*way, (scope, k))) for k in range(len(scope.children))]
    return found


class _Blocks:
    """A :class:`Readable` for many small reads close to each other."""

    def __init__(self, body: Readable) -> None:
        self._body, self.size = body, body.size
        self._start, self._block = 0, b""

    def read(self, start: int, stop: int) -> bytes:
        if not self._start <= start <= stop <= self._start + len(self._block):
            if stop - start > _BLOCK:
                return self._body.read(start, stop)
            self._start, self._block = start, self._body.read(start, start + _BLOCK)
        return self._block[start - self._start : stop - self._start]


def _level(body: Readable, start: int, stop: int, depth: int) -> _Level:
    number, known = LEVELS[depth]
    level = _Level()
    for one in _fields(body, start, stop):
        if one.number == number and one.payload >= 0:
            level.children.append((len(level.others), one))
        else:
            level.others.append(one)
            level.beside += one.size
            level.strange = level.strange or one.number not in known
    return level


def _fields(body: Readable, start: int, stop: int) -> Iterator[_Field]:
    """The fields of the message between two places, by the rules of :mod:`collector.gateways.otlp_protobuf`."""
    while start < stop:
        head = body.read(start, min(start + _HEADER, stop))
        tag, at = read_varint(head, 0)
        number, wire_type = tag >> 3, tag & 7
        payload = -1
        if wire_type == 2:
            size, behind = read_varint(head, at)
            payload = start + behind
            end = payload + size if size <= LONGEST_MESSAGE else stop + 1
        elif wire_type == 0:
            end = start + read_varint(head, at)[1]
        elif wire_type in (1, 5):
            end = start + at + (8 if wire_type == 1 else 4)
        else:
            raise MalformedInput(f"got protobuf wire type {wire_type} at byte {start}, expected 0, 1, 2 or 5")
        if end > stop or number == 0:
            raise MalformedInput(f"got a protobuf field at byte {start} that ends at {end}, expected at most {stop}")
        yield _Field(number, start, start + at, payload, end)
        start = end


class _Writer:
    """Writes messages of a body without their long strings."""

    def __init__(self, body: Readable, cutter: Cutter) -> None:
        self._body, self._cutter = body, cutter

    def fields(self, fields: list[_Field], first: str) -> bytes:
        """Fields beside a list: number 1 is a message of kind ``first``."""
        return b"".join(self.field(one, first if one.number == 1 else "", 0) for one in fields)

    def field(self, one: _Field, kind: str, depth: int) -> bytes:
        if one.payload < 0 or not kind or one.size < self._cutter.bounds.run or depth > _DEEPEST:
            return self._body.read(one.start, one.stop)
        if kind == _TEXT:
            payload = self._text(one.payload, one.stop)
        else:
            known = MESSAGES[kind]
            payload = b"".join(
                self.field(inner, known.get(inner.number, ""), depth + 1)
                for inner in _fields(self._body, one.payload, one.stop)
            )
        if len(payload) == one.stop - one.payload:
            return self._body.read(one.start, one.payload) + payload
        return _tag(self._body, one) + varint(len(payload)) + payload

    def sizes(self, one: _Field, kind: str, depth: int) -> Iterator[int]:
        """Sizes of the texts in it."""
        if one.payload < 0 or not kind or one.size < self._cutter.bounds.run or depth > _DEEPEST:
            return
        if kind == _TEXT:
            yield one.stop - one.payload
            return
        known = MESSAGES[kind]
        for inner in _fields(self._body, one.payload, one.stop):
            yield from self.sizes(inner, known.get(inner.number, ""), depth + 1)

    def _text(self, start: int, stop: int) -> bytes:
        pieces: list[bytes] = []
        for cut in self._cutter.text(start, stop):
            pieces += [self._body.read(start, cut.start), cut.marker]
            start = cut.stop
        return b"".join([*pieces, self._body.read(start, stop)])


def place_in(parts: list[bytes | Range], cut: Cut) -> int:
    """Where in the bytes that ``parts`` say a cut of the body begins."""
    at = 0
    for part in parts:
        if isinstance(part, bytes):
            at += len(part)
        elif part[0] <= cut.start < part[1]:
            return at + cut.start - part[0]
        else:
            at += part[1] - part[0]
    raise InvariantError(f"a cut from byte {cut.start} on is no part of its record")


def _tag(body: Readable, one: _Field) -> bytes:
    return body.read(one.start, one.tag_end)


def _ranges(fields: list[_Field]) -> list[bytes | Range]:
    """Their places, those that follow each other as one."""
    found: list[bytes | Range] = []
    for one in fields:
        last = found[-1] if found else b""
        if isinstance(last, tuple) and last[1] == one.start:
            found[-1] = (last[0], one.stop)
        else:
            found.append((one.start, one.stop))
    return found


def _size(parts: list[bytes | Range]) -> int:
    return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)
