"""Cutting a body of JSON into its units: an object, an array, NDJSON, or values one after another. Pure, total.

Every unit keeps the exact bytes that were received. :func:`json.JSONDecoder.raw_decode` says where a value ends and
parses it at C speed in the same pass; a strict UTF-8 decode goes back to the same bytes, so slices of the text are
slices of the body.

The derived value is exact where JSON in the wild is not: integers of any size stay integers; ``NaN``, ``Infinity`` and
numbers too large for a double become their text (as in protobuf's JSON mapping); lone surrogates stay as they are; of
a key that occurs twice the last value counts, as almost every reader has it. The source bytes keep all of it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from json import JSONDecodeError, JSONDecoder
from typing import Any, NamedTuple

import orjson

_SPACE = re.compile(r"[ \t\r\n]*")
_VALUE_LINE = re.compile(r"\n(?=[\[{]|null)")
"""Where to take up again after a broken value: a line that begins, unindented, like a unit of its own."""

_MAX_LONG_FAILURES = 64
"""Broken values that ran past their own line, before the rest of the body is taken as one: each costs a scan of what
follows, so without a bound a hostile body costs the square of its length."""


class JsonUnit(NamedTuple):
    """One value of a body.

    Attributes:
        source: its exact bytes.
        value: what they say; ``None`` also for JSON ``null`` and where ``error`` is set.
        error: ``""``, or why the bytes are not JSON.
    """

    source: bytes
    value: Any
    error: str = ""


def split_json(body: bytes) -> list[JsonUnit]:
    """Cut a body into its values.

    A top-level array gives its elements, so do several arrays in a row. What does not parse becomes a unit with
    ``error`` and the scan goes on at the next line that looks like a value; in an array, which has no such mark, the
    rest of the body is one unit. Every byte that is not white space, a byte order mark, or an array's bracket or
    comma lies in exactly one unit.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return _Scan(body.decode("utf-8", "surrogateescape"), False, body).units()
    return _Scan(text, len(text) == len(body), body).units()


def parse_json(source: bytes) -> JsonUnit:
    """Parse bytes that are to be one value, an array among them; ``source`` comes back as given."""
    try:
        text = source.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        value, end = _WITH_LONG_INTEGERS.raw_decode(text, _skip(text, 0))
    except (ValueError, RecursionError) as error:
        return JsonUnit(source, None, _reason(error))
    if _skip(text, end) != len(text):
        return JsonUnit(source, None, f"not JSON: got more text after the value at character {end}")
    return JsonUnit(source, value)


def complete_elements(text: str, at: int) -> tuple[int, int]:
    """How many elements of an array are complete, with the comma behind each, from the one that begins at ``at``; and
    the position behind the last comma. For text that ends somewhere within an array."""
    scan = _Scan(text, False, b"")
    count = 0
    while True:
        try:
            end = _skip(text, scan.parse(_skip(text, at))[1])
        except (ValueError, RecursionError):
            return at, count
        if text[end : end + 1] != ",":
            return at, count
        at, count = end + 1, count + 1


def encode_content(value: object) -> bytes:
    """UTF-8 JSON of a value made of what :func:`split_json` returns.

    Falls back to the standard library for what orjson refuses: integers beyond 64 bits, lone surrogates (written as
    ``\\ud800`` escapes), nesting beyond 254 levels. A non-finite float, which our own parser never gives, is written as
    ``null`` by orjson; formats that make floats must not make those.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return _encode_slowly(value)


def _encode_slowly(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    except RecursionError:
        return _encode_iteratively(value)


def _encode_iteratively(value: object) -> bytes:
    """JSON of a value nested deeper than the interpreter recurses (it was parsed just below that limit)."""
    out: list[str] = []
    work: list[object] = [value]
    while work:
        item = work.pop()
        if isinstance(item, _Literal):
            out.append(item)
        elif isinstance(item, dict):
            work.append(_Literal("}"))
            for at, (key, member) in enumerate(reversed(item.items())):
                work += [_Literal(",")] if at else []
                work += [member, _Literal(json.dumps(key) + ":")]
            work.append(_Literal("{"))
        elif isinstance(item, list | tuple):
            work.append(_Literal("]"))
            for at, member in enumerate(reversed(item)):
                work += [_Literal(",")] if at else []
                work.append(member)
            work.append(_Literal("["))
        else:
            out.append(json.dumps(item))
    return "".join(out).encode("ascii")


class _Literal(str):
    __slots__ = ()


class _Scan:
    """One pass over one body."""

    def __init__(self, text: str, ascii_only: bool, body: bytes) -> None:
        self._text = text
        self._body = body if ascii_only else None
        self._found: list[JsonUnit] = []
        self._long_failures = 0

    def units(self) -> list[JsonUnit]:
        text, at = self._text, _skip(self._text, 0)
        while at < len(text):
            at = self._array(at) if text[at] == "[" else self._value(at)
            at = _skip(text, at)
        return self._found

    def _value(self, at: int) -> int:
        """Take the value at ``at``; return where the next begins."""
        try:
            value, end = self.parse(at)
        except RecursionError:
            return self._fail(at, len(self._text), "nested too deeply")
        except ValueError as error:
            return self._resume(at, error)
        self._take(at, end, value)
        return end

    def _resume(self, at: int, error: ValueError) -> int:
        position = error.pos if isinstance(error, JSONDecodeError) else at
        line_end = self._text.find("\n", at)
        if -1 < line_end < position:
            self._long_failures += 1
        resume = _VALUE_LINE.search(self._text, at) if self._long_failures <= _MAX_LONG_FAILURES else None
        return self._fail(at, resume.start() if resume else len(self._text), _reason(error))

    def _array(self, start: int) -> int:
        text, size = self._text, len(self._text)
        at, first, mark = _skip(text, start + 1), True, len(self._found)
        while at < size and text[at] != "]":
            if not first:
                if text[at] != ",":
                    return self._fail(at, size, f"got {text[at]!r} at character {at}, expected a comma or ]")
                at = _skip(text, at + 1)
            first = False
            try:
                value, end = self.parse(at)
            except RecursionError:
                return self._fail(at, size, "nested too deeply")
            except ValueError as error:
                return self._fail(at, size, _reason(error))
            self._take(at, end, value)
            at = _skip(text, end)
        if at >= size:
            self._found.insert(mark, JsonUnit(b"[", None, "got the start of an array that does not end"))
            return size
        return at + 1

    def parse(self, at: int) -> tuple[Any, int]:
        """The value at ``at``, and the position behind it."""
        try:
            return _DECODER.raw_decode(self._text, at)
        except JSONDecodeError:
            raise
        except ValueError:
            return _WITH_LONG_INTEGERS.raw_decode(self._text, at)

    def _take(self, start: int, end: int, value: object) -> None:
        source = self._slice(start, end)
        if self._body is None:
            try:
                source.decode("utf-8")
            except UnicodeDecodeError as error:
                self._found.append(JsonUnit(source, None, f"got bytes that are not UTF-8 at byte {error.start}"))
                return
        self._found.append(JsonUnit(source, value))

    def _fail(self, start: int, end: int, reason: str) -> int:
        source = self._slice(start, end).rstrip(b" \t\r\n")
        if source:
            self._found.append(JsonUnit(source, None, reason))
        return end

    def _slice(self, start: int, end: int) -> bytes:
        if self._body is not None:
            return self._body[start:end]
        return self._text[start:end].encode("utf-8", "surrogateescape")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _reason(error: Exception) -> str:
    if isinstance(error, JSONDecodeError):
        return f"not JSON: {error.msg.lower()} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"got bytes that are not UTF-8 at byte {error.start}"
    return "nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than the interpreter converts
        return digits


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


_DECODER = JSONDecoder(parse_constant=str, parse_float=_float)
_WITH_LONG_INTEGERS = JSONDecoder(parse_constant=str, parse_float=_float, parse_int=_integer)
"""The hook for integers costs a call each, and only integers of thousands of digits need it."""
