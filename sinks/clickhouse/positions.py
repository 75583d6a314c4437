"""What the tables hold of a shard: where to resume, which offsets are there, the chain so far. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

from clickhouse_connect.driver.client import Client

from schemas.errors import VerificationError
from schemas.ids import Offset, Shard
from sinks.clickhouse.opening import REJECTED
from sinks.clickhouse.quoting import quote

WINDOW = 100_000
"""Offsets below the highest that are searched for holes at a time; several times the largest batch. A crash leaves
holes in the last batch only; what is missing further back was deleted, and is for the verifier to report."""


def resume(client: Client, shard: Shard, start: Offset) -> Offset:
    """The first offset, not below ``start``, that is not in both tables; holes near the end count, and so does a hole
    that reaches from there further back."""
    last = _highest(client, shard)
    if last is None or last < start:
        return start
    end = last + 1
    while end > start:
        low = max(start, end - WINDOW)
        there = present(client, "events", shard, low, end) & present(client, "contents", shard, low, end)
        first_hole = next((offset for offset in range(low, end) if offset not in there), None)
        if first_hole is None:
            return Offset(end)
        if first_hole > low:
            return Offset(first_hole)
        end = low
    return start


def reach(client: Client, shard: Shard) -> int:
    """The first offset beyond everything that either table holds of the shard."""
    highest = _highest(client, shard)
    return 0 if highest is None else highest + 1


def rejected(client: Client, shard: Shard, start: int, end: int) -> list[tuple[Offset, str]]:
    """The offsets of a range whose rows stand without their parts because ClickHouse did not take those, with the
    reason."""
    statuses = " OR ".join(f"{part}_status = {quote(REJECTED)}" for part in ("metadata", "content", "source"))
    rows = client.query(
        f"SELECT offset, any(status_reason) FROM events WHERE {_where(shard, start, end)} AND ({statuses}) "
        "GROUP BY offset ORDER BY offset"
    ).result_rows
    return [(Offset(int(offset)), str(reason)) for offset, reason in rows]


def present(client: Client, table: str, shard: Shard, start: int, end: int) -> set[int]:
    """The offsets with ``start <= offset < end`` in a table."""
    rows = client.query(f"SELECT offset FROM {table} WHERE {_where(shard, start, end)}").result_rows
    return {int(offset) for (offset,) in rows}


def counts(client: Client, shard: Shard, start: int, end: int, times: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Rows and distinct offsets of a range in each table; ``times`` are its first and last bus times."""
    span = f"bus_time BETWEEN fromUnixTimestamp64Milli({times[0]}) AND fromUnixTimestamp64Milli({times[1]})"
    selects = (
        f"SELECT '{table}', count(), uniqExact(offset) FROM {table} WHERE {_where(shard, start, end)} AND {span}"
        for table in ("events", "contents")
    )
    rows = client.query(" UNION ALL ".join(selects)).result_rows
    return {str(table): (int(total), int(distinct)) for table, total, distinct in rows}


def chain_at(client: Client, shard: Shard, offset: int) -> bytes | None:
    """The chain value after ``offset``, ``None`` where the tables do not hold it.

    Raises:
        VerificationError: there are several rows of this offset, and they disagree.
    """
    rows = client.query(
        f"SELECT DISTINCT hex(chain) FROM events WHERE {_where(shard, offset, offset + 1)} LIMIT 2"
    ).result_rows
    if len(rows) > 1:
        raise VerificationError(f"{shard} offset {offset}: two rows in ClickHouse with different chain values")
    return bytes.fromhex(str(rows[0][0])) if rows else None


def record_logs(client: Client, rows: Iterable[tuple[str, Shard, int, bytes, bytes]]) -> None:
    """Write down which log covers a shard from where on (origin, shard, start offset, genesis entry, chain after it),
    for those who verify in SQL. Rows that are there already are left alone."""
    known = {str(origin) for (origin,) in client.query("SELECT DISTINCT origin FROM logs").result_rows}
    for origin, shard, start, genesis, chain in rows:
        if origin not in known:
            client.command(
                "INSERT INTO logs (origin, topic, partition, start_offset, genesis, chain) SETTINGS async_insert = 0 "
                f"VALUES ({quote(origin)}, {quote(shard.topic)}, {shard.partition}, {start}, "
                f"unhex('{genesis.hex()}'), unhex('{chain.hex()}'))"
            )


def _highest(client: Client, shard: Shard) -> int | None:
    """The highest offset in either table. The last days are asked first: partitions are days."""
    for recent in (" AND bus_time >= (SELECT max(bus_time) - INTERVAL 2 DAY FROM {table})", ""):
        highest = []
        for table in ("events", "contents"):
            where = f"topic = {quote(shard.topic)} AND partition = {shard.partition}{recent.format(table=table)}"
            rows = client.query(f"SELECT max(offset), count() FROM {table} WHERE {where}").result_rows
            highest += [int(offset) for offset, count in rows if count]
        if highest:
            return max(highest)
    return None


def _where(shard: Shard, start: int, end: int) -> str:
    return (
        f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND offset >= {int(start)} AND "
        f"offset < {int(end)}"
    )
