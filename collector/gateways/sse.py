"""Server-sent events as bytes (WHATWG HTML §9.2.6), cut into events as they arrive. Pure, total, linear.

Legal spellings that clients get wrong are read as the standard says: no space after the colon, ``\\r\\n`` or ``\\r``
alone, comment lines, several ``data`` lines in one event, a byte order mark, a chunk that ends within a character.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event.

    Attributes:
        name: its ``event`` field, ``""`` where it has none.
        data: its ``data`` lines, joined with line feeds. Bytes that are not UTF-8 are U+FFFD, as the standard asks.
        finished: whether the empty line that ends an event was there; a reader that keeps to the standard drops one
            that is not finished.
    """

    name: str
    data: str
    finished: bool = True


class SseParser:
    """Cuts a stream into events; what is left of a chunk waits for the next one.

    parser.feed(chunk) -> the events that end within the chunk
    parser.close() -> the event that the stream broke off in, if there is one
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._name = ""
        self._after_return = False
        self._first_line = True

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that end within ``chunk``."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk, self._after_return = chunk[1:], False
        if not chunk:
            return []
        self._after_return = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        found: list[ServerSentEvent] = []
        for line in ended:
            if self._line:
                line = b"".join((*self._line, line))
                self._line.clear()
            self._take(line, found)
        if rest:
            self._line.append(rest)
        return found

    def close(self) -> list[ServerSentEvent]:
        """What the stream broke off in: an event without its empty line, its last line perhaps cut."""
        found: list[ServerSentEvent] = []
        if self._line:
            self._take(b"".join(self._line), found)
            self._line.clear()
        self._dispatch(found, finished=False)
        return found

    def _take(self, line: bytes, found: list[ServerSentEvent]) -> None:
        if self._first_line:
            line, self._first_line = line.removeprefix(codecs.BOM_UTF8), False
        if not line:
            self._dispatch(found, finished=True)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _dispatch(self, found: list[ServerSentEvent], *, finished: bool) -> None:
        if self._data:
            found.append(ServerSentEvent(self._name, b"\n".join(self._data).decode("utf-8", "replace"), finished))
        self._data, self._name = [], ""


def parse_sse(body: bytes) -> list[ServerSentEvent]:
    """All events of a stream that was received whole, or as far as it came."""
    parser = SseParser()
    return parser.feed(body) + parser.close()
