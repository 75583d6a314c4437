"""Which records go into a bundle: an event, a session, a condition on ClickHouse's events, or addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from affidavit.query import QueryClient
from affidavit.session import KEYS
from affidavit.sql_check import find_event
from schemas.errors import EvidenceIncomplete, MalformedInput
from schemas.ids import Shard, parse_event_id, parse_shard

MAX_RECORDS = 100_000
"""A larger selection is asked for in pieces: a bundle is to be sent, read and verified by people."""

_SESSION = """
SELECT DISTINCT tenant, topic, partition, offset FROM events WHERE {key} = {{session:String}}
ORDER BY topic DESC, partition, offset LIMIT {limit}
"""
_WHERE = """
SELECT topic, partition, offset FROM events WHERE {condition} ORDER BY topic DESC, partition, offset LIMIT {limit}
"""


class Selection(NamedTuple):
    """What was asked for, in words, and the addresses that it means."""

    words: str
    places: tuple[tuple[Shard, int], ...]


def select(
    client: QueryClient, *, events: Sequence[str] = (), session: str = "", where: str = "", tenant: str = ""
) -> Selection:
    """Find the records.

    Args:
        client: asks ClickHouse; needed for everything but addresses.
        events: event ids, or addresses such as ``events/0@17``.
        session: id of a session, exchange or trace.
        where: a condition on the columns of ``events``.
        tenant: only of this one.

    Raises:
        MalformedInput: nothing or several things were asked for, or ClickHouse refuses the condition.
        EvidenceIncomplete: nothing was found.
        LimitExceeded: more than :data:`MAX_RECORDS`.
    """
    asked = [bool(events), bool(session), bool(where)]
    if sum(asked) != 1:
        raise MalformedInput("got none or several of EVENT, --session and --where, expected one")
    if events:
        words = f"{'event' if len(events) == 1 else 'events'} {', '.join(events[:5])}"
        words += f" and {len(events) - 5} more" if len(events) > 5 else ""
        places = [place for one in events for place in _event(client, one)]
    elif session:
        words, places = f"session {session}", _session(client, session, tenant)
    else:
        words = f"events where {where}"
        condition = f"({where})" + (" AND tenant = {tenant:String}" if tenant else "")
        sql = _WHERE.format(condition=condition, limit=MAX_RECORDS + 1)
        places = [(Shard(topic, at), offset) for topic, at, offset in client.ask(sql, {"tenant": tenant}).rows]
    words += f" of tenant {tenant}" if tenant else ""
    if not places:
        raise EvidenceIncomplete(f"got no record for {words}")
    if len(places) > MAX_RECORDS:
        from schemas.errors import LimitExceeded

        raise LimitExceeded(f"got more than {MAX_RECORDS:,} records for {words}: ask for it in pieces")
    return Selection(words, tuple(dict.fromkeys(places)))


def _event(client: QueryClient, which: str) -> list[tuple[Shard, int]]:
    shard, at, offset = which.partition("@")
    if at:
        if not offset.isascii() or not offset.isdigit():
            raise MalformedInput(f"got address {which!r}, expected one such as events/0@17")
        return [(parse_shard(shard), int(offset))]
    found = [(Shard(topic, part), at) for topic, part, at in find_event(client, parse_event_id(which))]
    if not found:
        raise EvidenceIncomplete(f"ClickHouse has no record of event {which}: give its address, e.g. events/0@17")
    return found


def _session(client: QueryClient, session: str, tenant: str) -> list[tuple[Shard, int]]:
    for key in KEYS:
        rows = client.ask(_SESSION.format(key=key, limit=MAX_RECORDS + 1), {"session": session}).rows
        rows = tuple(row for row in rows if not tenant or row[0] == tenant)
        tenants = sorted({row[0] for row in rows})
        if len(tenants) > 1:
            raise MalformedInput(f"got session {session!r} of tenants {', '.join(tenants)}: say which with --tenant")
        if rows:
            return [(Shard(topic, partition), offset) for _, topic, partition, offset in rows]
    return []
