"""Messages of one flush into segments: grouped by scope, joined, hashed. Pure; this is the archive's hot path."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from schemas.entry import valid_commitments
from schemas.ids import Offset, Shard
from schemas.segment import Item, encode_segment, pack_item
from sinks.archive.names import DAY_MS, Scope, read_scope, scope_prefix, segment_key
from stores.bus import Message


class Segment(NamedTuple):
    """One object of a flush, ready to be written. ``first`` and ``last`` are its own offsets, inclusive."""

    key: str
    scope: Scope
    records: int
    first: Offset
    last: Offset
    data: bytes
    sha256: str


class _Group:
    """The records of one scope, as they come."""

    __slots__ = ("first", "items", "last", "scope")

    def __init__(self, scope: Scope, first: Offset) -> None:
        self.scope = scope
        self.first = self.last = first
        self.items: list[Item] = []


def build_segments(shard: Shard, messages: Sequence[Message]) -> list[Segment]:
    """The objects that hold ``messages`` (non-empty, contiguous), in the order of their keys.

    A pure function: the same messages give the same keys and bytes. A message without valid commitments is a stray,
    like one whose value does not begin as a record does. Strays lie apart.
    """
    first, end = messages[0].offset, Offset(messages[-1].offset + 1)
    groups = _group(messages)
    segments = []
    while groups:
        group = groups.pop()
        key = segment_key(group.scope, shard, first, end)
        data = encode_segment(key, group.items)
        digest = hashlib.sha256(data).hexdigest()
        segments.append(Segment(key, group.scope, len(group.items), group.first, group.last, data, digest))
    return sorted(segments)


def _group(messages: Sequence[Message]) -> list[_Group]:
    by_prefix: dict[tuple[bytes, int], _Group] = {}
    by_scope: dict[Scope, _Group] = {}
    for _, offset, time_ms, key, value, kind, event_id, commitments, headers in messages:
        if commitments and not headers:
            prefix = scope_prefix(value)
            item = pack_item(offset, time_ms, kind, event_id, commitments, value)
        else:
            prefix = scope_prefix(value) if valid_commitments(commitments) else b""
            item = pack_item(offset, time_ms, kind, event_id, commitments, value, key, headers)
        day = time_ms // DAY_MS
        group = by_prefix.get((prefix, day))
        if group is None:
            scope = read_scope(prefix, day)
            group = by_scope.get(scope) or _Group(scope, offset)
            by_scope[scope] = by_prefix[prefix, day] = group
        group.items.append(item)
        group.last = offset
    return list(by_scope.values())
