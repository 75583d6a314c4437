"""A collector on loopback, for clients that were not written here: the real server over a bus and keys in memory.

with collector_server("claude-code") as collector:
    ... send to collector.url with collector.headers ...
    events = collector.opened()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
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
from collector.formats import http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.server import serve
from schemas.entry import unpack_commitments
from schemas.ids import EVENTS, Offset
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, part_key
from schemas.record import decode_record


@dataclass(frozen=True, slots=True)
class OpenedEvent:
    """One event as it lies on the bus, opened with its keys; every part matched its commitment."""

    metadata: Metadata
    content: Any
    source: bytes | None


@dataclass(slots=True)
class RunningCollector:
    """``url`` and ``headers`` are what a client needs."""

    bus: MemoryBus
    keys: MemoryKeys
    token: str
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def opened(self) -> list[OpenedEvent]:
        """Everything on the bus, in the order of collector_sequence, repeats among it."""
        found = asyncio.run(self._open())
        return sorted(found, key=lambda event: event.metadata["collector_sequence"])

    async def _open(self) -> list[OpenedEvent]:
        opener, events = Opener(), []
        for shard in await self.bus.shards(EVENTS):
            for message in await self.bus.read(shard, Offset(0), max_records=100_000, max_bytes=1 << 30):
                commitments, parts = unpack_commitments(message.commitments), {}
                for part in decode_record(message.value).parts:
                    key = part_key(self.keys.by_id([part.key_id])[part.key_id], message.event_id, part.type)
                    parts[part.type] = opener.open(part, commitments[part.type], message.event_id, key).data
                content = orjson.loads(parts[CONTENT]) if CONTENT in parts else None
                events.append(OpenedEvent(decode_metadata(parts[METADATA]), content, parts.get(SOURCE)))
        return events


@contextmanager
def collector_server(
    gateway: str, faults: Faults | None = None, limits: BodyLimits | None = None
) -> Iterator[RunningCollector]:
    """Serve on a free port until the block ends; ``faults`` go to the writes of the bus."""
    control, bus, keys = MemoryControl(), MemoryBus(), MemoryKeys()
    minted = mint_token("acme", gateway, [INGEST], now_ms=0)
    control.add_token(minted.row)
    running = RunningCollector(bus, keys, minted.text, headers={"Authorization": f"Bearer {minted.text}"})
    ingest = Ingest(FaultyBus(bus, faults) if faults else bus, keys, collector_id="c-1")

    async def ready() -> None:
        """The bus in memory always is."""

    app = create_app(Receiver(ingest, Tokens(control), ready, limits or BodyLimits()), http_routes())
    listening, loop_ready = threading.Event(), threading.Event()
    loop_of: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loop_of.append((asyncio.get_running_loop(), stop))
        loop_ready.set()

        def started(port: int) -> None:
            running.url = f"http://127.0.0.1:{port}"
            listening.set()

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
