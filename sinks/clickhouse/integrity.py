"""The integrity views, read from Python: what fails, and what a log amounts to."""

from __future__ import annotations

from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.ids import Offset, Shard
from sinks.clickhouse.quoting import quote

CHECKS = ("leaf", "chain", "part", "offset", "status")


class Failure(NamedTuple):
    """One row that fails a check."""

    check: str
    shard: Shard
    offset: Offset
    detail: str


def failures(client: Client, *, checks: tuple[str, ...] = CHECKS, limit: int = 1000) -> list[Failure]:
    """What ``integrity_failures`` finds, at most ``limit`` rows of it, in the order of the log.

    Args:
        client: with the tables' database as its own.
        checks: of :data:`CHECKS`; the others are not computed.
        limit: rows returned.
    """
    wanted = ", ".join(quote(check) for check in checks)
    rows = client.query(
        "SELECT failed_check, topic, partition, offset, detail FROM integrity_failures "
        f"WHERE failed_check IN ({wanted}) ORDER BY topic, partition, offset, failed_check LIMIT {int(limit)}"
    ).result_rows
    return [
        Failure(check, Shard(topic, partition), Offset(offset), detail)
        for check, topic, partition, offset, detail in rows
    ]
