"""64 MB requests over HTTP, in a process whose memory is measured: recorded whole, with flat memory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from large_bodies import image_request, ndjson, text_request
from large_process import Process, Stores, collector_process
from opened_parts import opened

from schemas.entry import unpack_commitments
from schemas.ids import EVENTS, Offset
from schemas.parts import SOURCE, PartKeys
from schemas.record import decode_record
from stores.bus import Message

pytestmark = pytest.mark.slow

MOST_MIB = 300
"""The budget of a role (docs/benchmarks.md)."""

SIZE = 62
"""MiB, just below the limit of a body."""


def post(process: Process, path: str, body: Iterable[bytes], **headers: str) -> int:
    """The status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=120)
    try:
        connection.request("POST", path, body=iter(body), headers={**process.headers, **headers}, encode_chunked=True)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def sources(folder: Path) -> list[str]:
    """SHA-256 of every source on the bus, each compared with its commitment."""

    async def read() -> list[str]:
        stores = Stores(folder)
        try:
            found: list[str] = []
            for shard in await stores.bus.shards(EVENTS):
                offset = 0
                while batch := await stores.bus.read(shard, Offset(offset), max_records=5000, max_bytes=8 << 20):
                    found += [digest for message in batch for digest in source_of(stores, message)]
                    offset = batch[-1].offset + 1
            return found
        finally:
            await stores.close()

    return asyncio.run(read())


def source_of(stores: Stores, message: Message) -> Iterator[str]:
    for part in decode_record(message.value).parts:
        if part.type == SOURCE:
            commitment = unpack_commitments(message.commitments)[SOURCE]
            key = PartKeys(stores.keys.by_id([part.key_id])[part.key_id]).key(message.event_id, SOURCE)
            digest = hashlib.sha256()
            for piece in opened(part, commitment, message.event_id, key, stores.objects):
                digest.update(piece)
            yield digest.hexdigest()


def hashed(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    yield from (packer.compress(piece) for piece in pieces)
    yield packer.flush()


BODIES: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "an image": ("/v1/litellm", lambda: image_request(SIZE)),
    "a text": ("/v1/events", lambda: text_request(SIZE)),
}


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("what", BODIES)
def test_a_request_of_64_mb_is_recorded_whole_with_flat_memory(tmp_path: Path, what: str, coding: str) -> None:
    path, make = BODIES[what]
    with collector_process(tmp_path) as process:
        if coding:
            status = post(process, path, gzipped(make()), **{"content-encoding": coding})
        else:
            status = post(process, path, make())
        assert status == 200
        assert process.peak_mib() < MOST_MIB
    assert hashed(make()) in sources(tmp_path)
    assert list((tmp_path / "large").iterdir()) == []


def test_eight_at_once_stay_within_the_same_memory(tmp_path: Path) -> None:
    with collector_process(tmp_path) as process, ThreadPoolExecutor(8) as senders:
        sent = [senders.submit(post, process, "/v1/litellm", image_request(SIZE, seed)) for seed in range(1, 9)]
        assert [one.result() for one in sent] == [200] * 8
        assert process.peak_mib() < MOST_MIB
    assert {hashed(image_request(SIZE, seed)) for seed in range(1, 9)} <= set(sources(tmp_path))


def test_64_mb_of_small_records_take_no_more_memory(tmp_path: Path) -> None:
    with collector_process(tmp_path) as process:
        assert post(process, "/v1/events", ndjson(SIZE)) == 200
        assert process.peak_mib() < MOST_MIB
    lines = [hashlib.sha256(line).hexdigest() for block in ndjson(SIZE) for line in block.splitlines()]
    assert sorted(sources(tmp_path)) == sorted(lines)


def test_a_bomb_is_refused_with_flat_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1 << 30), 1)
    with collector_process(tmp_path) as process:
        assert post(process, "/v1/events", [bomb], **{"content-encoding": "gzip"}) == 413
        assert process.peak_mib() < MOST_MIB


def test_a_body_that_is_no_json_is_kept_whole_too(tmp_path: Path) -> None:
    with collector_process(tmp_path) as process:
        status = post(process, "/v1/events", gzipped([bytes(range(256)) * 4096]), **{"content-encoding": "zstd"})
        assert status == 400
    assert sources(tmp_path) == [hashed(gzipped([bytes(range(256)) * 4096]))]


def test_killed_between_blob_and_record_nothing_was_promised_and_nothing_is_harmed(tmp_path: Path) -> None:
    dying = Process(tmp_path, "dies-before-append")
    with pytest.raises((http.client.HTTPException, OSError), match=r"."):
        post(dying, "/v1/litellm", image_request(4))
    assert dying.end() == -signal.SIGKILL
    blobs = tmp_path / "objects" / "blobs"
    orphans = set(blobs.iterdir())
    assert len(orphans) == 1
    assert sources(tmp_path) == []
    with collector_process(tmp_path) as process:  # the sender sends again
        assert post(process, "/v1/litellm", image_request(4)) == 200
    assert sources(tmp_path) == [hashed(image_request(4))]
    assert set(blobs.iterdir()) == orphans  # the same image under the same key: the orphan has found its record
