"""What the tests of the file tail share: a tail over a bus in memory, and what lies on that bus.

tailing = Tailing(tmp_path / "*.log")
write(tmp_path / "a.log", {"n": 1})
asyncio.run(tailing.settle())
assert tailing.numbers() == [1]
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import orjson
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.files import ControlCursors, Cursors
from collector.files.followed import Limits
from collector.files.tail import Tail
from collector.gateways import Format
from collector.gateways.native import NativeFormat
from collector.ingest import Ingest
from schemas.entry import unpack_commitments
from schemas.ids import EVENTS, Offset
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, part_key
from schemas.record import decode_record

SMALL = Limits(block=4096, max_line=20_000)


OPEN: list[Tailing] = []
"""To be closed by :func:`close_all`."""


def close_all() -> None:
    """Let go of the files and threads of every tail that a test made."""
    while OPEN:
        OPEN.pop().close()


class Tailing:
    """A tail that can be killed and started again over the same bus and control database."""

    def __init__(
        self,
        pattern: Path,
        *,
        format: Format | None = None,
        bus: Any = None,
        cursors: Cursors | None = None,
        limits: Limits = SMALL,
    ) -> None:
        self.memory = MemoryBus({"events": 1, "control": 1, "deadletter": 1})
        self.bus = bus(self.memory) if bus else self.memory
        self.keys = MemoryKeys()
        self.cursors = cursors or ControlCursors(MemoryControl())
        self.now = time.time()
        self._made = (pattern, format or NativeFormat(), limits)
        self._ingest: Ingest | None = None
        self.start()
        OPEN.append(self)

    def start(self) -> None:
        """As a new process would, after the end of the one before."""
        self.close()
        pattern, format, limits = self._made
        self._ingest = ingest = Ingest(self.bus, self.keys, collector_id="c-1")
        self.tail = Tail(
            str(pattern), format, ingest, self.cursors,
            tenant="acme", gateway="files", name="test", limits=limits, interval=0.001, now=lambda: self.now,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of files and threads."""
        if self._ingest is not None:
            self.tail.close()
            self._ingest.close()

    async def settle(self) -> None:
        """Look until two looks in a row find nothing: the second tells what had to be seen twice."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if await self.tail.round() else quiet + 1

    def look(self) -> None:
        """:meth:`settle`, for tests without a loop."""
        asyncio.run(self.settle())

    def events(self) -> list[tuple[Metadata, Any, bytes | None]]:
        """Metadata, content and source of everything on the bus, repeats among it."""
        return asyncio.run(self._open())

    def numbers(self) -> list[int]:
        """The ``n`` of each event, repeats left out by event id, in the order in which they came first."""
        found = {one[0]["event_id"]: one for one in reversed(self.events())}
        return [content["n"] for _, content, _ in reversed(found.values()) if isinstance(content, dict)]

    async def _open(self) -> list[tuple[Metadata, Any, bytes | None]]:
        opener, found = Opener(), []
        (shard,) = await self.memory.shards(EVENTS)
        for message in await self.memory.read(shard, Offset(0), max_records=100_000, max_bytes=1 << 30):
            commitments, parts = unpack_commitments(message.commitments), {}
            for part in decode_record(message.value).parts:
                key = part_key(self.keys.by_id([part.key_id])[part.key_id], message.event_id, part.type)
                parts[part.type] = opener.open(part, commitments[part.type], message.event_id, key).data
            content = orjson.loads(parts[CONTENT]) if CONTENT in parts else None
            found.append((decode_metadata(parts[METADATA]), content, parts.get(SOURCE)))
        return found


def line(number: int, **more: Any) -> bytes:
    """One event of the native API, without a key of its own."""
    return json.dumps({"kind": "prompt", "content": {"n": number, **more}}).encode() + b"\n"


def append(path: Path, *numbers: int) -> None:
    """Write lines to the end of a file."""
    with path.open("ab") as file:
        file.write(b"".join(line(number) for number in numbers))
