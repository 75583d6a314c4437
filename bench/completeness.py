"""``affidavit completeness`` over ten million rows of a week: seconds for the last day, and for all of it.

The rows are made by the engine itself, with the columns that the questions read; two collectors, three gateways, one of
them with numbers of its own, a provider's own record of a tenth of the exchanges.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from clickhouse_connect.driver.client import Client

from affidavit.completeness_read import DAY_MS, check
from affidavit.query import Answer, QueryClient
from bench.clickhouse import OneKey, log_of
from bench.figures import Figure
from sinks.clickhouse.engine import EmbeddedEngine
from sinks.clickhouse.sink import ClickHouseSink

ROWS = 10_000_000
CHUNK = 200_000
END_MS = 1_787_300_000_000

FILL = """
INSERT INTO events (topic, partition, offset, bus_time, received_at, occurred_at, ended_at, event_id, kind, tenant,
    gateway, format, receiver, collector_id, collector_sequence, exchange_id, session_id, sequence, unit_index,
    unit_count, body_sha256, request_id_provider, request_id_cloud, request_id_response, model_served, model_path,
    input_tokens, output_tokens, metadata_status, content_status, source_status)
SELECT 'events', 0, n,
    fromUnixTimestamp64Milli(toInt64({begin:UInt64} + intDiv(n * 604800000, {rows:UInt64}))) AS at,
    toDateTime64(at, 6), toDateTime64(at, 6), toDateTime64(at, 6), toString(generateUUIDv4(n)),
    if(n % 2 = 0, 'prompt', 'response'), 'acme',
    ['litellm', 'kong', 'claude-code', 'bedrock'][1 + if(x % 10 = 9, 3, x % 3)] AS gateway,
    ['litellm', 'kong', 'claude_code', 'bedrock'][1 + if(x % 10 = 9, 3, x % 3)], 'http',
    concat('host-', toString(n % 2)), intDiv(n, 2), concat('x-', toString(x)), concat('s-', toString(intDiv(x, 20))),
    if(gateway = 'claude-code', toInt64(n % 40), NULL), n % 8, 8, hex(MD5(toString(intDiv(n, 8)))),
    if(x % 10 = 9, '', concat('req-', toString(x))), if(x % 10 = 9, concat('req-', toString(x - 1)), ''),
    concat('msg-', toString(x)), 'claude-sonnet-5', if(x % 10 = 8, 'bedrock', 'direct'),
    toInt64(cityHash64(x) % 5000), toInt64(cityHash64(x, 1) % 900), 'ok', 'ok', 'ok'
FROM (SELECT number + {start:UInt64} AS n, intDiv(n, 2) AS x FROM numbers({count:UInt64}))
"""


class _Direct(QueryClient):
    """Asks the engine in this process, as its owner."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, sql: str, parameters: Mapping[str, str] | None = None) -> Answer:
        found = self._client.query(sql, parameters=dict(parameters or {}))
        names = tuple((name, "") for name in found.column_names)
        return Answer(names, tuple(tuple(row) for row in found.result_rows), 0.0, 0)


def measure() -> Sequence[Figure]:
    """Fill the tables, ask twice."""
    with tempfile.TemporaryDirectory() as folder:
        engine = EmbeddedEngine(Path(folder) / "engine")
        sink = ClickHouseSink(engine, OneKey(), lambda shard: [log_of(shard)])
        sink.open()
        sink.close()
        client = engine.client()
        for start in range(0, ROWS, CHUNK):
            client.command(
                FILL, parameters={"begin": END_MS - 7 * DAY_MS, "rows": ROWS, "start": start, "count": CHUNK}
            )
        day, week = (_asked(client, days) for days in (1, 7))
        client.close()
        engine.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Figure(
            "completeness: the last day of 10,000,000 rows a week",
            day,
            "s",
            at_most=True,
            note="with its margins of two days",
        ),
        Figure("completeness: all of the week", week, "s", at_most=True, note="10,000,000 rows"),
        Figure(
            "completeness: memory of the engine and the command", memory, "MB", at_most=True, note="peak of the process"
        ),
    ]


def _asked(client: Client, days: int) -> float:
    began = time.perf_counter()
    report = check(_Direct(client), END_MS - days * DAY_MS, END_MS, patience=0)
    assert report.records, "there is nothing to ask about"
    return time.perf_counter() - began
