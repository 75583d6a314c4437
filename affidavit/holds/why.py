"""Why one record is held: every hold in force against it, decided in Python, as SQL decides for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from affidavit.one_record import rows_of
from affidavit.query import QueryClient
from retention.register import Clause, Hold
from retention.scope import ACTORS, LISTS, Facts, Scope, matches
from schemas.ids import Offset, Shard
from sinks.archive.catalog import plan_covering
from sinks.clickhouse.quoting import quote
from stores.objects import Objects

COLUMNS = (*ACTORS, *(key for keys in LISTS.values() for key in keys))


@dataclass(frozen=True, slots=True)
class Kept:
    """A record and what keeps it.

    Attributes:
        address: ``events/0@17``.
        by: hold, scope and whether that is certain, or held in doubt.
        object: of the archive, with its lock: key, retention date, legal-hold flag; ``None`` when it is not there yet.
    """

    address: str
    event_id: str
    by: list[tuple[Hold, Clause]]
    doubt: bool
    object: dict[str, Any] | None


def why(
    client: QueryClient, objects: Objects, record: str, in_force: Sequence[tuple[Hold, Clause, Scope]]
) -> list[Kept]:
    """What keeps a record, given by its event id or its address; an event that was sent twice is two records.

    Raises:
        Declined: there is no such record.
    """
    columns = (
        "address, topic, partition, offset, tenant, event_id, metadata_status, content_status, "
        "toUnixTimestamp64Milli(bus_time) AS bus_ms, intDiv(toUnixTimestamp64Micro(occurred_at), 1000) AS occurred_ms, "
    )
    rows = rows_of(client, columns + ", ".join(COLUMNS), record)
    words = any(scope.terms for _, _, scope in in_force)
    return [_kept(client, objects, row, in_force, words) for row in rows]


def _kept(
    client: QueryClient,
    objects: Objects,
    row: dict[str, Any],
    in_force: Sequence[tuple[Hold, Clause, Scope]],
    words: bool,
) -> Kept:
    shard = Shard(row["topic"], row["partition"])
    content: str | None = ""
    if row["content_status"] not in ("ok", "absent"):
        content = None
    elif words and row["content_status"] == "ok":
        found = client.ask(
            f"SELECT content FROM contents WHERE topic = {quote(shard.topic)} AND partition = {shard.partition} "  # noqa: S608
            f"AND offset = {row['offset']}"
        ).rows
        content = str(found[0][0]) if found else None
    readable = row["metadata_status"] == "ok"
    facts = Facts(
        row["tenant"],
        {name: row[name] for name in COLUMNS} if readable else None,
        row["occurred_ms"],
        row["bus_ms"],
        content,
    )
    by = [(hold, clause) for hold, clause, scope in in_force if matches(scope, facts, clause.placed_ms)]
    return Kept(
        row["address"], row["event_id"], by, not readable or content is None, _object(objects, shard, row["offset"])
    )


def _object(objects: Objects, shard: Shard, offset: int) -> dict[str, Any] | None:
    plan = plan_covering(objects, shard, Offset(offset))
    if plan is None:
        return None
    for one in plan.objects:
        if one.first <= offset <= one.last and (info := objects.head(one.key)) is not None:
            return {"key": one.key, "retain_until": info.retain_until, "hold": info.hold}
    return None
