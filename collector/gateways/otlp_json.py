"""OTLP in JSON: cutting a request into requests of one record each, and decoding them.

**Cut.** As in :mod:`collector.gateways.otlp_protobuf`, a unit is the request with every sibling left out: slices of
the text around the three nested lists, each list shortened to its one element. Keys, white space and fields that
nobody knows stay as they were received; only siblings, and what stands between elements, are gone. The unit of a
body with a single record is that body.

**Decode.** Liberal, because senders are: ids in hex or base64, 64-bit numbers as text or number, enums as number or
name, keys in lowerCamelCase or snake_case. A value that is not what the protocol says is kept as it is.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass, field
from json import JSONDecodeError, JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined]  # the C scanner; not in the stubs
from typing import Any, NamedTuple

from collector.gateways.otlp_fields import group_of, log_of, span_of
from collector.gateways.otlp_telemetry import CONTAINERS, Cut, Group, Signal
from schemas.errors import MalformedInput

_SPACE = re.compile(r"[ \t\r\n]*")


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


_DECODER = JSONDecoder(parse_constant=str, parse_float=_float)


class _Element(NamedTuple):
    """One element of a level's list: its value (``None`` for an object that is itself a level) and where it lies."""

    value: Any
    start: int
    end: int


@dataclass(slots=True)
class _Level:
    """One object of the walk: its members but for the list, and the list's elements.

    ``first`` is where the list's first element begins, ``last`` where its last one ends; -1 where there is none.
    """

    start: int
    end: int = -1
    members: dict[str, Any] = field(default_factory=dict)
    elements: list[_Element] = field(default_factory=list)
    levels: list[_Level] = field(default_factory=list)
    has_list: bool = False
    first: int = -1
    last: int = -1


def read_json(body: bytes, signal: Signal) -> list[Group]:
    """Cut and decode a request.

    Raises:
        MalformedInput: it is not a JSON object, or one of the three outer lists is not a list of objects.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    text, exact = _decode(body)
    try:
        request = _Walk(text, CONTAINERS[signal]).request()
    except JSONDecodeError as error:
        raise MalformedInput(f"not JSON: {error.msg.lower()} at character {error.pos}") from None
    except (RecursionError, ValueError) as error:
        raise MalformedInput("JSON nested too deeply or with a number too long to read") from error
    if request.members.keys() - {CONTAINERS[signal][0]} and not request.levels:
        raise MalformedInput(f"got no {CONTAINERS[signal][0]}, expected an export request")
    return [group for i in range(len(request.levels)) for group in _groups(text, request, i, signal, exact)]


def _decode(body: bytes) -> tuple[str, bool]:
    """The text, and whether all of it is UTF-8; bytes that are not survive the way there and back."""
    try:
        return body.decode("utf-8"), True
    except UnicodeDecodeError:
        return body.decode("utf-8", "surrogateescape"), False


def _groups(text: str, request: _Level, i: int, signal: Signal, exact: bool) -> list[Group]:
    resource = request.levels[i]
    first, last = _sides(text, request, resource)
    names = CONTAINERS[signal]
    if not resource.levels:
        if resource.members.keys() <= {"resource", "schemaUrl"}:
            return []
        source = _encode(first + text[resource.start : resource.end] + last)
        group = group_of(resource.members, {}, request.members)
        group.cuts = [Cut(source, None, f"/{names[0]}/{i}", "got no records, only fields that are not known")]
        return [group]
    groups = []
    for j, scope in enumerate(resource.levels):
        head, tail = _sides(text, resource, scope)
        group = group_of(resource.members, scope.members, request.members)
        at = f"/{names[0]}/{i}/{names[1]}/{j}"
        if scope.elements:
            outer = first + head + text[scope.start : scope.first], text[scope.last : scope.end] + tail + last
            before, behind = _encode(outer[0]), _encode(outer[1])
            for k, element in enumerate(scope.elements):
                source = b"".join((before, _encode(text[element.start : element.end]), behind))
                group.cuts.append(_cut(source, element.value, f"{at}/{names[2]}/{k}", signal, exact))
        elif not scope.members.keys() <= {"scope", "schemaUrl"}:
            source = _encode(first + head + text[scope.start : scope.end] + tail + last)
            group.cuts = [Cut(source, None, at, "got no records, only fields that are not known")]
        groups.append(group)
    return groups


def _cut(source: bytes, value: Any, pointer: str, signal: Signal, exact: bool) -> Cut:
    if not exact:
        try:
            source.decode("utf-8")
        except UnicodeDecodeError as error:
            return Cut(source, None, pointer, f"got bytes that are not UTF-8 at byte {error.start}")
    if not isinstance(value, dict):
        return Cut(source, None, pointer, f"got a record that is {type(value).__name__}, expected an object")
    return Cut(source, log_of(value) if signal == "logs" else span_of(value), pointer)


def _sides(text: str, outer: _Level, inner: _Level) -> tuple[str, str]:
    """The text of a level before and behind one object of its list, the list's other elements left out."""
    return text[outer.start : outer.first], text[outer.last : outer.end]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Walk:
    """One pass over the text, down the three lists; everything else is parsed by the C scanner on the way."""

    def __init__(self, text: str, names: tuple[str, str, str]) -> None:
        self._text = text
        self._names = names

    def request(self) -> _Level:
        start = self._skip(0)
        level = self._object(start, 0)
        if self._skip(level.end) != len(self._text):
            raise MalformedInput(f"not JSON: got more text after the value at character {level.end}")
        level.start, level.end = 0, len(self._text)
        return level

    def _object(self, start: int, depth: int) -> _Level:
        text = self._text
        if text[start : start + 1] != "{":
            raise MalformedInput(f"got {text[start : start + 1]!r} at character {start}, expected an object")
        level, at = _Level(start), self._skip(start + 1)
        if text[at : at + 1] == "}":
            level.end = at + 1
            return level
        while True:
            if text[at : at + 1] != '"':
                raise JSONDecodeError("expecting a key in double quotes", text, at)
            key, at = scanstring(text, at + 1, True)
            at = self._expect(":", self._skip(at))
            at = self._skip(self._member(level, _camel(key), at, depth))
            if text[at : at + 1] == "}":
                level.end = at + 1
                return level
            at = self._expect(",", at)

    def _member(self, level: _Level, key: str, at: int, depth: int) -> int:
        """Take the member whose value begins at ``at``; return the position behind it."""
        if key == self._names[depth] and self._text[at : at + 1] == "[":
            if level.has_list:
                raise MalformedInput(f"got {key!r} twice, the second at character {at}, expected it once")
            return self._list(level, at, depth)
        value, end = _DECODER.raw_decode(self._text, at)
        if key == self._names[depth] and value is not None:
            raise MalformedInput(f"got {key!r} that is {type(value).__name__} at character {at}, expected a list")
        if key == self._names[depth]:
            return end
        name, count = key, 1
        while name in level.members:
            name, count = f"{key}[{count}]", count + 1
        level.members[name] = value
        return end

    def _list(self, level: _Level, at: int, depth: int) -> int:
        text = self._text
        level.has_list, at = True, self._skip(at + 1)
        if text[at : at + 1] == "]":
            return at + 1
        level.first = at
        while True:
            if depth < 2:
                inner = self._object(at, depth + 1)
                level.levels.append(inner)
                end = inner.end
            else:
                value, end = _DECODER.raw_decode(text, at)
                level.elements.append(_Element(value, at, end))
            level.last, at = end, self._skip(end)
            if text[at : at + 1] == "]":
                return at + 1
            at = self._expect(",", at)

    def _expect(self, mark: str, at: int) -> int:
        if self._text[at : at + 1] != mark:
            raise JSONDecodeError(f"expecting {mark!r}", self._text, at)
        return self._skip(at + 1)

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at


def _camel(key: str) -> str:
    if "_" not in key:
        return key
    head, *words = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in words)
