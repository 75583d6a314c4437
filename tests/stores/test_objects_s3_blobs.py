"""Large parts in S3: written in pieces, locked when they are archived, read in pieces; and an S3 that is away."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from memory_keys import MemoryKeys
from s3_proxy import Dropped, S3Proxy, nth
from s3_server import S3Server
from sealed_records import events, messages

from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.sealing import Sealing
from schemas.entry import unpack_commitments
from schemas.errors import RetentionLocked, Unavailable
from schemas.ids import EVENTS, Shard
from schemas.part_streams import check_stream
from schemas.parts import SOURCE, PartKeys
from schemas.record import decode_record
from sinks.archive import ArchiveSink, Locks
from sinks.contract import Delivered
from stores.bus import Outgoing
from stores.objects.s3 import S3Objects

pytestmark = pytest.mark.slow

SHARD = Shard(EVENTS, 0)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def objects(s3_server: S3Server, proxy: S3Proxy) -> Iterator[S3Objects]:
    objects = S3Objects(s3_server.config(endpoint=proxy.endpoint, attempts=1))
    yield objects
    objects.close()


def seal(objects: S3Objects, keys: MemoryKeys, spools: Spools) -> Outgoing:
    """A record whose source is of 6 MB."""
    (event,) = events(1)
    large = replace(event, source=random.Random(4).randbytes(6_000_000))
    (sealed,) = Sealing(keys, blobs=Blobs(objects, spools)).seal([large])
    return sealed


def test_a_blob_is_written_locked_and_read(objects: S3Objects, tmp_path: Path) -> None:
    keys = MemoryKeys()
    sealed = seal(objects, keys, Spools(tmp_path))
    (message,) = messages([sealed], SHARD, time_ms=int(datetime.now(UTC).timestamp() * 1000))
    part = decode_record(message.value).parts[2]
    info = objects.head(part.address)
    assert info is not None
    assert (info.size > 6_000_000, info.retain_until) == (True, None)
    sink = ArchiveSink(objects, locks=Locks(floor_days=lambda scope: 2))
    assert sink.deliver(SHARD, [message]) == Delivered()
    (segment,) = [found for found in objects.list("segments/") if found.key.endswith(".avro")]
    locked = objects.head(part.address)
    assert locked is not None
    assert locked.retain_until == segment.retain_until is not None
    with pytest.raises(RetentionLocked, match="blobs/"):
        objects.delete([part.address])
    key = PartKeys(keys.by_id([part.key_id])[part.key_id]).key(message.event_id, SOURCE)
    commitment = unpack_commitments(message.commitments)[SOURCE]
    check_stream(part, commitment, message.event_id, key, objects.open(part.address))


@pytest.mark.parametrize("after", [False, True])
def test_a_blob_that_s3_does_not_confirm_is_not_acknowledged(
    objects: S3Objects, proxy: S3Proxy, tmp_path: Path, after: bool
) -> None:
    spools, keys = Spools(tmp_path), MemoryKeys()
    proxy.fault = nth("PUT object", 1, Dropped(after))
    with pytest.raises(Unavailable, match="blobs/"):
        seal(objects, keys, spools)
    assert spools.used == 0
    proxy.fault = lambda asked, path: None
    assert decode_record(seal(objects, keys, spools).value).parts[2].address.startswith("blobs/")
