"""The rows of one record, by the name that people have for it: its event id, or its address."""

from __future__ import annotations

import re
from typing import Any

from affidavit.query import QueryClient
from schemas.errors import Declined
from schemas.ids import parse_shard
from sinks.clickhouse.quoting import quote

_ADDRESS = re.compile(r"([a-z]+/\d+)@(\d+)")


def rows_of(client: QueryClient, columns: str, record: str) -> list[dict[str, Any]]:
    """``columns`` (SQL) of a record in the view ``events``, in the order of the log; an event sent twice is two
    records.

    Raises:
        Declined: there is no such record.
    """
    match = _ADDRESS.fullmatch(record)
    if match is not None:
        shard = parse_shard(match[1])
        where = f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND offset = {int(match[2])}"
    else:
        where = f"event_id = {quote(record.lower())}"
    order = "ORDER BY topic, partition, offset"
    rows = client.ask(f"SELECT {columns} FROM events WHERE {where} {order}").records()  # noqa: S608
    if not rows:
        raise Declined(
            f"got record {record!r}, which ClickHouse does not have: expected an event id, or an address such as "
            "events/0@17; what has just arrived is there within seconds"
        )
    return rows
