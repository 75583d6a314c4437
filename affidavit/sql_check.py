"""The integrity views of ClickHouse, run, and chains and roots compared with what was signed."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from affidavit.query import QueryClient
from schemas.ids import format_event_id
from signer.report import FAILED, INCOMPLETE, VERIFIED, worst
from sinks.clickhouse.queries import query_text
from stores.control import Lock

FAILURES = (
    "SELECT failed_check, topic, partition, offset, detail FROM integrity_failures "
    "ORDER BY topic, partition, offset, failed_check LIMIT 1000"
)
OFFSETS = (
    "SELECT failed_check, topic, partition, offset, detail FROM integrity_failures WHERE failed_check = 'offset' "
    "ORDER BY topic, partition, offset, failed_check LIMIT 1000"
)
ON_ITS_WAY = "offset"
"""The one check that compares tables with each other. An insert reaches them one after the other, and a query may look
between: what this check finds counts when it is still there after a while."""

SHARDS = "SELECT origin, records, tree_size, last_chain FROM integrity_shards ORDER BY origin"

CATCH_UP_SECONDS = 10.0
"""How long the sink of a running deployment may take to insert what is signed already."""

FIND = "SELECT topic, partition, offset FROM events WHERE event_id = {id:String} ORDER BY ALL LIMIT 100"


@dataclass(frozen=True, slots=True)
class SqlFinding:
    """One thing that is wrong: which check found it, where, and whether it is a failure (1) or a gap (2)."""

    check: str
    place: str
    detail: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class SqlReport:
    """What the views said. ``logs`` holds origin, records, and leaves of each log."""

    logs: tuple[tuple[str, int, int], ...]
    findings: tuple[SqlFinding, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """As of every verifying command; nothing found is no success."""
        if not any(records for _, records, _ in self.logs) and not self.findings:
            return INCOMPLETE
        return worst([VERIFIED, *(finding.exit_code for finding in self.findings)])

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "logs": [{"origin": origin, "records": records, "tree_size": size} for origin, records, size in self.logs],
            "findings": [
                {"check": one.check, "place": one.place, "detail": one.detail, "exit_code": one.exit_code}
                for one in self.findings
            ],
        }


def check_sql(client: QueryClient, locks: Mapping[str, Lock], *, patience: float = CATCH_UP_SECONDS) -> SqlReport:
    """Run the views.

    Args:
        client: may read content.
        locks: the signer's lock rows by origin, read before this call; empty to compare with nothing.
        patience: seconds to wait for signed records that are not inserted yet, and for rows that are in one table and
            not in the other.
    """
    began = time.monotonic()
    findings = _found(client, FAILURES)
    while any(one.check == ON_ITS_WAY for one in findings) and time.monotonic() < began + patience:
        time.sleep(0.2)
        still = set(_found(client, OFFSETS))
        findings = [one for one in findings if one.check != ON_ITS_WAY or one in still]
    shards = client.ask(SHARDS).rows
    while _behind(shards, locks) and time.monotonic() < began + patience:
        time.sleep(0.2)
        shards = client.ask(SHARDS).rows
    chains = {origin: (size, chain) for origin, _, size, chain in shards}
    for origin, lock in locks.items():
        findings += _compare(origin, lock, *chains.get(origin, (1, "")))
        findings += _compare_root(client, lock) if origin in chains else []
    logs = tuple((origin, records, size) for origin, records, size, _ in shards)
    return SqlReport(logs, tuple(findings), time.monotonic() - began)


def _found(client: QueryClient, sql: str) -> list[SqlFinding]:
    return [
        SqlFinding(check, f"{topic}/{partition}@{offset}", detail, FAILED)
        for check, topic, partition, offset, detail in client.ask(sql).rows
    ]


def find_event(client: QueryClient, event_id: bytes) -> list[tuple[str, int, int]]:
    """Topic, partition and offset of every record of an event."""
    return [(row[0], row[1], row[2]) for row in client.ask(FIND, {"id": format_event_id(event_id)}).rows]


def _behind(shards: tuple[tuple[Any, ...], ...], locks: Mapping[str, Lock]) -> bool:
    sizes = {origin: size for origin, _, size, _ in shards}
    return any(sizes.get(origin, 1) < lock.size for origin, lock in locks.items())


def _compare(origin: str, lock: Lock, size: int, chain: str) -> list[SqlFinding]:
    if size < lock.size:
        missing = lock.size - size
        return [SqlFinding("tail", origin, f"the last {missing:,} signed records are not here", INCOMPLETE)]
    if size == lock.size > 1 and chain != lock.chain.hex():
        return [SqlFinding("chain", origin, f"got chain {chain}, the signer has {lock.chain.hex()}", FAILED)]
    return []


def _compare_root(client: QueryClient, lock: Lock) -> list[SqlFinding]:
    """The root, computed from the rows as an auditor would; what is not all here is reported as the tail, or a gap."""
    told = {"origin": lock.origin, "size": str(lock.size), "root": base64.b64encode(lock.root).decode()}
    [row] = client.ask(query_text("root"), told).records()
    failed = str(row["verdict"]).startswith("failed")
    return [SqlFinding("root", lock.origin, str(row["verdict"]).removeprefix("failed: "), FAILED)] if failed else []
