"""Bodies of log lines, each JSON or plain text: what is pushed by a log shipper, or read from a file. Pure, total."""

from __future__ import annotations

from typing import Any, NamedTuple

from collector.json_units import parse_json, split_json

MAX_LINES = 100_000
"""Of one body. Each costs some kilobytes once it is read, so the rest is kept as it is, in one piece."""


class TextLine(NamedTuple):
    """One line: its exact bytes without the line's end, and what they say.

    ``value`` is set where it is JSON, ``text`` where it is not, ``error`` where it is neither.
    """

    source: bytes
    value: Any = None
    text: str = ""
    error: str = ""


def split_lines(body: bytes) -> list[TextLine]:
    """Cut a body into lines. A body that is JSON as a whole (an array, an object over several lines) is cut as JSON."""
    stripped = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if stripped[:1] == b"[" or (stripped[:1] == b"{" and not _first_line_is_json(stripped)):
        units = split_json(body)
        if not any(unit.error for unit in units):
            return [TextLine(unit.source, unit.value) for unit in units]
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n", MAX_LINES)
    rest = lines.pop() if len(lines) > MAX_LINES else b""
    read = [_line(line.removesuffix(b"\r")) for line in lines if line.strip()]
    if rest.strip():
        read.append(TextLine(rest, error=f"got more than {MAX_LINES} lines in one body; send smaller batches"))
    return read


def _first_line_is_json(body: bytes) -> bool:
    return not parse_json(body.partition(b"\n")[0]).error


def _line(source: bytes) -> TextLine:
    if source.lstrip()[:1] in (b"{", b"["):
        unit = parse_json(source)
        if not unit.error:
            return TextLine(source, unit.value)
    try:
        return TextLine(source, text=source.decode("utf-8"))
    except UnicodeDecodeError as error:
        return TextLine(source, error=f"got bytes that are not UTF-8 at byte {error.start}")
