"""What the tables hold of a shard: where to resume, which offsets are there, the chain so far. Reads, but for the logs.

Nothing here takes the bus's time for an order: every broker has a clock of its own, so along a shard it may step back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from clickhouse_connect.driver.client import Client

from schemas.errors import VerificationError
from schemas.ids import Offset, Shard
from sinks.clickhouse.quoting import quote
from sinks.opening import REJECTED

WINDOW = 100_000
"""Offsets below the highest that are searched for holes at a time; several times the largest batch. A crash leaves
holes in the last batch only; what is missing further back was deleted, and is for the verifier to report."""


_RECENT = "SELECT max(bus_time) - INTERVAL 2 DAY FROM {}"


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
    """Rows and distinct offsets of a range in each table; ``times`` are the least and the greatest of its bus times."""
    span = f"bus_time BETWEEN fromUnixTimestamp64Milli({times[0]}) AND fromUnixTimestamp64Milli({times[1]})"
    selects = (
        f"SELECT '{table}', count(), uniqExact(offset) FROM {table} WHERE {_where(shard, start, end)} AND {span}"
        for table in ("events", "contents")
    )
    rows = client.query(" UNION ALL ".join(selects)).result_rows
    return {str(table): (int(total), int(distinct)) for table, total, distinct in rows}


def chain_at(client: Client, shard: Shard, offset: int) -> tuple[str, bytes] | None:
    """The log of ``offset``, by its origin, and the chain value after it; ``None`` where the tables do not hold it.

    Raises:
        VerificationError: there are several rows of this offset, and they disagree.
    """
    rows = client.query(
        f"SELECT DISTINCT origin, hex(chain) FROM events WHERE {_where(shard, offset, offset + 1)} LIMIT 2"
    ).result_rows
    if len(rows) > 1:
        raise VerificationError(f"{shard} offset {offset}: two rows in ClickHouse with different chain values")
    return (str(rows[0][0]), bytes.fromhex(str(rows[0][1]))) if rows else None


def leaves(client: Client, shard: Shard, start: int, end: int) -> Iterator[bytes]:
    """The leaves of a range, in order.

    Raises:
        VerificationError: an offset of the range is not there, or there with two leaves.
    """
    for low in range(start, end, WINDOW):
        high = min(end, low + WINDOW)
        rows = client.query(
            f"SELECT DISTINCT offset, hex(leaf) FROM events WHERE {_where(shard, low, high)} ORDER BY offset"
        ).result_rows
        for expected, (offset, leaf) in zip_longest(range(low, high), rows, fillvalue=(None, "")):
            if offset != expected:
                raise VerificationError(
                    f"{shard}: got offset {offset} in ClickHouse, expected {expected}: the chain of its log cannot be "
                    "computed; restore the rows from the start of that log on"
                )
            yield bytes.fromhex(str(leaf))


def commitments_at(client: Client, shard: Shard, offset: int) -> bytes | None:
    """The commitments of ``offset``, packed, ``None`` where the tables do not hold it.

    Raises:
        VerificationError: there are several rows of this offset, and they disagree.
    """
    rows = client.query(
        f"SELECT DISTINCT hex(commitments) FROM events WHERE {_where(shard, offset, offset + 1)} LIMIT 2"
    ).result_rows
    if len(rows) > 1:
        raise VerificationError(f"{shard} offset {offset}: two rows in ClickHouse with different commitments")
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
    """The highest offset in either table.

    It is probably in the last days, because partitions are days; a record with a time of its own may lie anywhere. So
    the last days give a bound, and then only what lies above it is looked for everywhere, which the index on offsets
    makes cheap.
    """
    tables = ("events", "contents")
    recent = [_greatest(client, shard, table, f"bus_time >= ({_RECENT.format(table)})") for table in tables]
    bound = max((offset for offset in recent if offset is not None), default=None)
    above = "1" if bound is None else f"offset > {bound}"
    beyond = [_greatest(client, shard, table, above) for table in tables]
    return max((offset for offset in (*beyond, bound) if offset is not None), default=None)


def _greatest(client: Client, shard: Shard, table: str, condition: str) -> int | None:
    where = f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND {condition}"
    ((offset, count),) = client.query(f"SELECT max(offset), count() FROM {table} WHERE {where}").result_rows
    return int(offset) if count else None


def _where(shard: Shard, start: int, end: int) -> str:
    return (
        f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND offset >= {int(start)} AND "
        f"offset < {int(end)}"
    )
