"""Where LiteLLM cut content before it reached us (collector/pages/litellm.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.gateways.gaps import Gap, pointer

_REDACTED = "redacted-by-litellm"
_TRUNCATED = re.compile(r"\[base64_data truncated: ([0-9.]+) ?([KMG]?i?B?)\]", re.IGNORECASE)
_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


def find_gaps(content: object, source: bytes) -> list[Gap]:
    """The places in ``content`` that LiteLLM redacted or cut.

    ``source`` is the unit it came from: if the marks are not in there, there is nothing to look for.
    """
    if b"redacted-by-litellm" not in source and b"[base64_data truncated" not in source:
        return []
    return list(_walk(content, "/content"))


def _walk(value: object, at: str) -> Iterator[Gap]:
    work: list[tuple[object, str]] = [(value, at)]
    while work:
        item, place = work.pop()
        if isinstance(item, dict):
            work += [(member, place + pointer(name)) for name, member in reversed(item.items())]
        elif isinstance(item, list):
            work += [(member, place + pointer(index)) for index, member in reversed(list(enumerate(item)))]
        elif isinstance(item, str):
            yield from _look(item, place)


def _look(text: str, at: str) -> Iterator[Gap]:
    if text == _REDACTED:
        yield Gap(at, "redacted", note="by LiteLLM: turn_off_message_logging, or a header that the client may set")
    for match in _TRUNCATED.finditer(text):
        yield Gap(at, "truncated", original_size=_size(match), note="base64 data, by MAX_BASE64_LENGTH_FOR_LOGGING")


def _size(match: re.Match[str]) -> int | None:
    try:
        return round(float(match[1]) * _UNITS[match[2].upper().replace("I", "")])
    except (ValueError, KeyError, OverflowError):
        return None
