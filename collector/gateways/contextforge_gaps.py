"""What ContextForge left out of what it sends: values behind stars, and payloads cut at a limit.

Source: IBM/mcp-context-forge ecba50e4, ``utils/trace_redaction.py`` and ``services/siem_export_service.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from collector.gateways.gaps import Gap, pointer
from collector.gateways.json_texts import parsed

_REDACTED = ("***", "***REDACTED***")


def find_gaps(value: object, at: str) -> list[Gap]:
    """The places below ``at`` that it redacted or cut."""
    return list(_walk(value, at))


def _walk(value: object, at: str) -> Iterator[Gap]:
    work: list[tuple[object, str]] = [(value, at)]
    while work:
        item, place = work.pop()
        if isinstance(item, dict):
            if item.get("_truncated") is True:
                size = item.get("_original_size")
                yield Gap(place, "truncated", original_size=size if isinstance(size, int) else None)
            work += [(member, place + pointer(name)) for name, member in reversed(item.items())]
        elif isinstance(item, list):
            work += [(member, place + pointer(index)) for index, member in reversed(list(enumerate(item)))]
        elif item in _REDACTED:
            yield Gap(place, "redacted", note="by ContextForge")
        elif isinstance(item, str) and (opened := parsed(item)) is not item:
            yield from _in_text(opened, place)


def _in_text(value: object, place: str) -> Iterator[Gap]:
    """JSON as text is one leaf of the content, so that is the place of all that it lacks, each state once."""
    found = {gap.state: gap for gap in _walk(value, place)}
    for gap in found.values():
        yield replace(gap, pointer=place)
