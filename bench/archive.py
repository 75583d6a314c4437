"""The archive sink alone: 1.4 KB records from memory into a local object store, fsync and read-back included."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from bench.figures import Figure
from schemas.avro_binary import avro_bytes
from schemas.entry import pack_commitments
from schemas.ids import EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.contract import Delivered
from stores.bus import Message
from stores.objects.local import LocalObjects

RECORDS = 200_000
RECORD_BYTES = 1400
BATCH_RECORDS = 20_000
TENANTS = 4
SHARD = Shard(EVENTS, 0)


def measure() -> Sequence[Figure]:
    """Write and then read 200,000 records of four tenants, in batches of 28 MB."""
    with tempfile.TemporaryDirectory() as folder:
        objects = LocalObjects(Path(folder))
        sink = ArchiveSink(objects)
        busy = worked = 0.0
        for start in range(0, RECORDS, BATCH_RECORDS):
            batch = list(messages(start, BATCH_RECORDS))
            begun, work = time.perf_counter(), time.process_time()
            outcome = sink.deliver(SHARD, batch)
            busy += time.perf_counter() - begun
            worked += time.process_time() - work
            if outcome != Delivered():
                raise RuntimeError(f"got {outcome}, expected the batch to be delivered")
        size = sum(info.size for info in objects.list("segments/"))
        begun = time.perf_counter()
        found = sum(1 for _ in ArchiveEvidence(objects).scan(SHARD, Offset(0), Offset(RECORDS)))
        scanned = time.perf_counter() - begun
        objects.close()
    if found != RECORDS:
        raise RuntimeError(f"got {found} records from the archive, expected {RECORDS}")
    return [
        Figure("archive sink", RECORDS / busy, "records/s", 60_000, note="fsync and read-back included"),
        Figure("archive sink, per second of processor time", RECORDS / worked, "records/s", note="whatever else runs"),
        Figure("archive sink, batches of 28 MB: peak memory", _peak_mb(), "MB", 300, at_most=True),
        Figure("archive, read back as evidence", RECORDS / scanned, "records/s", note="SHA-256 of each object checked"),
        Figure("archive, bytes per record of 1,400", size / RECORDS, "bytes"),
    ]


def messages(start: int, count: int) -> Iterator[Message]:
    """Records as the bus gives them: three commitments, ciphertext that does not compress, one tenant in four."""
    commitments = pack_commitments([(part, bytes((part,)) * 32) for part in (1, 2, 3)])
    for offset in range(start, start + count):
        event_id = offset.to_bytes(16, "big")
        scope = avro_bytes(b"tenant-%d" % (offset % TENANTS)) + avro_bytes(b"standard")
        value = b"".join(chain((event_id, scope), (os.urandom(RECORD_BYTES - 16 - len(scope)),)))
        yield Message(SHARD, Offset(offset), 1_764_000_000_000 + offset // 10, b"", value, 1, event_id, commitments)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.path}: {figure.value:,.0f} {figure.unit}")
