"""Real records for tests of whatever comes behind the bus: events of two tenants, sealed, and strays among them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from collector.sealing import Sealing
from schemas.event import Event
from schemas.ids import EVENTS, Offset, Shard, event_id, format_event_id
from schemas.metadata import Kind, Metadata
from stores.bus import Message, Outgoing
from stores.bus.headers import Foreign, read_headers, write_headers
from stores.keys import Keys

KINDS: tuple[Kind, ...] = ("prompt", "response", "tool_call", "tool_result")
TENANTS = ("acme", "globex")
RECEIVED_AT = 1_764_000_000_000_000


def events(count: int, *, start: int = 0, tenants: Sequence[str] = TENANTS, sessions: int = 8) -> list[Event]:
    """Events numbered from ``start``; the same number gives the same event."""
    numbers = range(start, start + count)
    return [_event(number, tenants[number % len(tenants)], f"session-{number % sessions}") for number in numbers]


def sealed(
    keys: Keys, count: int, *, start: int = 0, tenants: Sequence[str] = TENANTS, topic: str = EVENTS, sessions: int = 8
) -> list[Outgoing]:
    """The same events as messages for the bus."""
    return Sealing(keys).seal(events(count, start=start, tenants=tenants, sessions=sessions), topic)


def strays(topic: str = EVENTS) -> list[Foreign]:
    """Messages that are no records of ours: bytes, nothing, half a record, headers that lie."""
    return [
        Foreign(topic, b"someone", b"not a record"),
        Foreign(topic, b"", b""),
        Foreign(topic, b"k" * 300, b"\x00" * 40, (("trace", b"1"), ("trace", b"2"))),
        Foreign(topic, b"someone", bytes(16) + b"\x08acme\x7f", (("c", b"short"), ("id", b"x"), ("k", b"\x01"))),
        Foreign(topic, b"someone", b"\xff" * 64, (("c", b"\x01" + bytes(32)), ("n\udcff", b"\x00\xff"))),
    ]


def messages(
    outgoing: Sequence[Outgoing | Foreign], shard: Shard, *, start: int = 0, time_ms: int = RECEIVED_AT // 1000
) -> list[Message]:
    """The messages as a bus gives them back when all of them lie on ``shard``, one each millisecond."""
    found = []
    for at, message in enumerate(outgoing):
        raw = message.headers if isinstance(message, Foreign) else write_headers(message)
        ours = read_headers(raw)
        found.append(
            Message(
                shard,
                Offset(start + at),
                time_ms + at,
                message.key,
                message.value,
                ours.kind,
                ours.event_id,
                ours.commitments,
                () if ours.exact else tuple(raw),
            )
        )
    return found


def _event(number: int, tenant: str, session: str) -> Event:
    kind = KINDS[number % len(KINDS)]
    name = event_id(tenant, "native", f"source-{number}", kind, 0)
    content = json.dumps({"messages": [{"role": "user", "content": f"text of event {number} " * 4}]}).encode()
    metadata: Metadata = {
        "event_id": format_event_id(name),
        "kind": kind,
        "tenant": tenant,
        "exchange_id": f"exchange-{number // 4}",
        "session_id": session,
        "source_id": f"source-{number}",
        "occurred_at": RECEIVED_AT + number,
        "received_at": RECEIVED_AT + number,
        "gateway": "native",
        "format": "native",
        "model_requested": "a-model",
        "retention_class": "standard",
        "content_state": "full",
    }
    return Event(name, kind, tenant, "", session, "standard", metadata, content, b'{"number": %d}' % number)
