"""A collector on loopback, for clients that were not written here: the real server over a bus and keys in memory.

with collector_server("claude-code") as collector:
    ... send to collector.url with collector.headers ...
    events = collector.opened()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from faults import Faults, FaultyBus
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.auth import INGEST, Tokens, mint_token
from collector.body import BodyLimits
from collector.fetching import HttpsFetcher
from collector.formats import greetings, http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.routes import Webhook
from collector.server import serve
from schemas.chunks import Place
from schemas.entry import unpack_commitments
from schemas.ids import EVENTS, Offset
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, part_key
from schemas.record import decode_record
from stores.bus import Bus
from stores.keys import Keys


@dataclass(frozen=True, slots=True)
class OpenedEvent:
    """One event as it lies on the bus, opened with its keys; every part matched its commitment."""

    metadata: Metadata
    content: Any
    source: bytes | None


@dataclass(slots=True)
class RunningCollector:
    """``url`` and ``headers`` are what a client needs; ``grpc`` is the target of a gRPC channel, if it is served."""

    bus: MemoryBus
    keys: MemoryKeys
    token: str
    url: str = ""
    grpc: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def opened(self) -> list[OpenedEvent]:
        """Everything on the bus, in the order of collector_sequence, repeats among it."""
        found = asyncio.run(opened_events(self.bus, self.keys))
        return sorted(found, key=lambda event: event.metadata["collector_sequence"])


async def opened_events(bus: Bus, keys: Keys, topic: str = EVENTS) -> list[OpenedEvent]:
    """Everything in a topic, shard by shard."""
    opener, events = Opener(), []
    own: dict[Place, bytes] = {}
    for shard in await bus.shards(topic):
        for message in await bus.read(shard, Offset(0), max_records=100_000, max_bytes=1 << 30):
            commitments, parts = unpack_commitments(message.commitments), {}
            for part in decode_record(message.value).parts:
                key = part_key(keys.by_id([part.key_id])[part.key_id], message.event_id, part.type)
                commitment = commitments[part.type]
                if part.type == SOURCE:
                    place = Place(shard.partition, message.offset)
                    own[place] = opener.unseal(part, commitment, message.event_id, key).own
                parts[part.type] = opener.open(part, commitment, message.event_id, key, lambda _: own).data
            content = orjson.loads(parts[CONTENT]) if CONTENT in parts else None
            events.append(OpenedEvent(decode_metadata(parts[METADATA]), content, parts.get(SOURCE)))
    return events


@contextmanager
def collector_server(
    gateway: str,
    faults: Faults | None = None,
    limits: BodyLimits | None = None,
    before: Callable[[MemoryBus], Bus] = lambda bus: bus,
    webhooks: Mapping[str, Webhook] | None = None,
    fetcher: HttpsFetcher | None = None,
    grpc: bool = False,
) -> Iterator[RunningCollector]:
    """Serve on a free port until the block ends; ``faults`` go to the writes of the bus. The collector appends to what
    ``before`` makes of the bus. With ``grpc``, serve OTLP over gRPC as well, on a port of its own."""
    control, bus, keys = MemoryControl(), MemoryBus(), MemoryKeys()
    minted = mint_token("acme", gateway, [INGEST], now_ms=0)
    control.add_token(minted.row)
    running = RunningCollector(bus, keys, minted.text, headers={"Authorization": f"Bearer {minted.text}"})
    ingest = Ingest(FaultyBus(bus, faults) if faults else before(bus), keys, collector_id="c-1")

    async def ready() -> None:
        """The bus in memory always is."""

    receiver = Receiver(
        ingest, Tokens(control), ready, limits or BodyLimits(), webhooks=webhooks or {}, fetcher=fetcher
    )
    app = create_app(receiver, http_routes(), greetings())
    listening, loop_ready = threading.Event(), threading.Event()
    loop_of: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loop_of.append((asyncio.get_running_loop(), stop))
        loop_ready.set()

        def started(port: int) -> None:
            running.url = f"http://127.0.0.1:{port}"
            listening.set()

        async with asyncio.TaskGroup() as group:
            if grpc:
                from collector.grpc import serve_grpc

                bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                group.create_task(serve_grpc(receiver, "127.0.0.1", 0, stop, started=bound.set_result))
                running.grpc = f"127.0.0.1:{await bound}"
            await serve(app, "127.0.0.1", 0, stop, started=started)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        assert listening.wait(10)
        yield running
    finally:
        assert loop_ready.wait(10)
        loop, stop = loop_of[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        ingest.close()
