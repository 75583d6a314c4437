"""Feeds over a bucket: objects and records per second to the durable bus, memory, and what a look costs.

The bucket is in memory, so that the figures are ours and not a service's: with S3 each object also waits for a request.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import resource
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, show
from collector.gateways import Received
from collector.gateways.bedrock import BedrockFormat
from collector.ingest import Ingest
from collector.poll.object_cursor import Listed, format_reached, parse_reached
from collector.poll.object_layout import BEDROCK
from collector.poll.object_sweep import Folders, Listing
from collector.poll.objects import ObjectsFeed, Source
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

NOW = 1_787_300_000
HOUR = 3600
ROOT = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/"
OBJECTS, RECORDS = 60, 200
SINGLES = 3000
MANY = 1_000_000
LARGE_RECORDS = 120_000


def measure() -> Sequence[Figure]:
    """The way of an object: large batches, single records, one of hundreds of megabytes; and a look without news."""
    batches = _Bucket({_key(at, 1): _packed(at, RECORDS) for at in range(OBJECTS)})
    singles = _Bucket({_key(at, 1): _packed(at, 1) for at in range(SINGLES)})
    figures = [_through(batches, "of 200 records"), _through(singles, "of one record")]
    large = _Bucket({_key(0, 1): _packed(0, LARGE_RECORDS)})
    before = _peak_megabytes()
    figures.append(_through(large, "of 120,000 records"))
    grown = _peak_megabytes() - before
    note = "one gzip object of 120,000 records, in pages of 2 MB; the object itself is not counted"
    figures.append(Figure("feed: memory added by a large object", grown, "MB", at_most=True, note=note))
    return [*figures, _idle()]


class _Bucket:
    """A :class:`collector.poll.object_sweep.Bucket` in memory, without the cost of a service."""

    name = "logs"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects, self.requests = objects, 0
        self._keys = sorted(objects)

    def list(self, prefix: str, behind: str) -> Listing:
        self.requests += 1
        start = bisect.bisect_right(self._keys, max(prefix, behind))
        found = self._keys[start : start + 1001]
        listed = [Listed(NOW - 60, key, "e", len(self.objects[key]) or 1) for key in found[:1000]]
        return Listing(listed, NOW, len(found) > 1000)

    def folders(self, prefix: str) -> Folders:
        self.requests += 1
        return Folders([prefix + ROOT[len(prefix) :].partition("/")[0] + "/"], NOW)

    def open(self, key: str, etag: str) -> Iterator[bytes]:
        data = self.objects[key]
        return (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))

    def fetch(self, bucket: str, key: str, limit: int) -> bytes:
        return self.objects[key]

    def close(self) -> None:
        """Nothing is open."""


def _through(bucket: _Bucket, what: str) -> Figure:
    objects, records, wall, used = asyncio.run(_drain(bucket))
    note = f"{show(objects / wall)} objects/s by the wall clock, {records} records, to the SQLite bus"
    return Figure(f"feed: objects {what}", records / used, "records/s per core", note=note)


async def _drain(bucket: _Bucket) -> tuple[int, int, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        create_kek_file(root / "kek")
        control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
        control.migrate()
        bus = SqliteBus(root / "bus.db")
        ingest = Ingest(bus, DatabaseKeys(control, FileKek(root / "kek")), collector_id="bench")
        feed = _feed(bucket)
        begun, used = time.perf_counter(), time.process_time()
        cursor, records = "", 0
        while page := await feed.page(cursor):
            if page.body:
                received = Received("acme", "bedrock", "feed/logs", "objects", "", page.media_type, "", NOW * 1_000_000)
                records += len((await ingest.accept_body(page.body, feed.format, received)).accepted)
            cursor = page.cursor
        wall, used = time.perf_counter() - begun, time.process_time() - used
        ingest.close()
        await bus.close()
        control.close()
        return len(bucket.objects), records, wall, used


def _idle() -> Figure:
    """A look at a bucket with a million objects, of which an hour's worth may still get company."""
    hours = 2000
    keys = {_key(at, 1 + at * hours // MANY): b"" for at in range(MANY)}
    bucket = _Bucket(keys)
    feed = _feed(bucket)
    cursor = asyncio.run(_behind_everything(feed))
    bucket.requests = 0
    begun = time.perf_counter()
    asyncio.run(feed.page(cursor))
    seconds = time.perf_counter() - begun
    note = f"{bucket.requests} requests; a cursor of {len(cursor)} bytes"
    return Figure("feed: a look at a bucket of a million objects", seconds * 1000, "ms", at_most=True, note=note)


async def _behind_everything(feed: ObjectsFeed) -> str:
    """A cursor with all of it read, made without reading it."""
    page = await feed.page("")
    assert page is not None
    reached = parse_reached(page.cursor)
    live = replace(reached, history=None, mark=(NOW - 1, "~"))
    sweep = feed._sweeper.live(live)
    return format_reached(live.settled(sweep.low, sweep.moments, sweep.digests))


def _feed(bucket: _Bucket) -> ObjectsFeed:
    return ObjectsFeed(bucket, Source("logs", "acme", "bedrock", "", BEDROCK), BedrockFormat(), now=lambda: NOW)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _key(at: int, hours: int) -> str:
    return ROOT + datetime.fromtimestamp(NOW - hours * HOUR, UTC).strftime("%Y/%m/%d/%H/") + f"{at:07}.json.gz"


def _packed(at: int, records: int) -> bytes:
    """An object, made without having its content in memory."""
    packer = zlib.compressobj(1, wbits=31)
    pieces = [packer.compress(json.dumps(_record(at, number)).encode() + b"\n") for number in range(records)]
    return b"".join([*pieces, packer.flush()])


def _record(at: int, number: int) -> dict[str, Any]:
    text = f"what is known of {at * 31 + number}? " * 20
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-08-21T09:00:00Z",
        "accountId": "111122223333",
        "identity": {"arn": f"arn:aws:sts::111122223333:assumed-role/App/user{number % 200}@example.com"},
        "region": "us-east-1",
        "requestId": f"{at:08x}-{number:08x}",
        "operation": "Converse",
        "modelId": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": {"messages": [{"role": "user", "content": [{"text": text}]}]},
            "inputTokenCount": 120,
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": {
                "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
                "stopReason": "end_turn",
                "metrics": {"latencyMs": 812},
                "usage": {"inputTokens": 120, "outputTokens": 120, "totalTokens": 240},
            },
            "outputTokenCount": 120,
        },
    }
