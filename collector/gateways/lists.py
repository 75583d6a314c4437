"""The page of a list that an API gives, ``{"data": […], "has_more": …}``, cut into its records. Pure, total.

Each record keeps the exact bytes that it has in the page. What stands beside the list is the page's, not the records'.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from json import JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined]  # the C scanner; not in the stubs
from typing import Any, NamedTuple

from collector.gateways import Reading, Unit
from collector.gateways.leftovers import Fields
from collector.json_units import JsonUnit, split_json

PAGING = ("object", "has_more", "first_id", "last_id", "nextPageToken")
"""Members of a page that say how to go on, and nothing of what happened."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = JSONDecoder(parse_constant=str)


class ListPage(NamedTuple):
    """The records of a page, in order, and the members beside their list."""

    records: list[JsonUnit]
    beside: dict[str, Any]


def split_list(body: bytes, member: str = "data") -> ListPage | None:
    """Cut a page; ``None`` when the body is not one JSON object with a list of that name. A name that occurs twice is
    two lists, one behind the other."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return _cut(body.decode("utf-8"), member)
    except (ValueError, IndexError, RecursionError):
        return None


def read_list(body: bytes, unit: Callable[[JsonUnit], Unit]) -> Reading:
    """A page, or records one after another. What a page says beside its list and its paging goes to the extras of its
    first record, as ``page.…``."""
    page = split_list(body)
    if page is None or "id" in page.beside:
        return Reading([unit(found) for found in split_json(body)])
    return page_reading(page, [unit(found) for found in page.records])


def page_reading(page: ListPage, units: list[Unit]) -> Reading:
    """The units of a page; what it says beside them, and is not paging, goes to the extras of its first record."""
    beside = {f"page.{name}": value for name, value in page.beside.items() if name not in PAGING}
    if beside and units and units[0].drafts:
        metadata = units[0].drafts[0].metadata
        metadata["extras"] = {**metadata.get("extras", {}), **Fields(beside).leftovers()}
    return Reading(units)


def _cut(text: str, member: str) -> ListPage | None:
    at = _skip(text, 0)
    if text[at] != "{":
        return None
    records: list[JsonUnit] = []
    beside: dict[str, Any] = {}
    found = False
    at = _skip(text, at + 1)
    while text[at] != "}":
        if text[at] != '"':
            return None
        name, at = scanstring(text, at + 1, True)
        start = _skip(text, _past(text, _skip(text, at), ":"))
        value, end = _DECODER.raw_decode(text, start)
        if name == member and isinstance(value, list):
            records += split_json(text[start:end].encode())
            found = True
        else:
            beside[name] = value
        at = _skip(text, end)
        if text[at] != "}":
            at = _skip(text, _past(text, at, ","))
    return ListPage(records, beside) if found and _skip(text, at + 1) == len(text) else None


def _past(text: str, at: int, mark: str) -> int:
    if text[at] != mark:
        raise ValueError
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
