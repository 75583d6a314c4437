"""The reference sink: what :mod:`sinks.contract` asks for, with a dict for a destination.

    destination = Destination()
    sink = MemorySink(destination, limits=Limits(10, 1 << 20, 0.0))
    sink.script = [Retry("try later"), Pause("no credentials")]        # the outcomes of the next calls
    sink.rejects = lambda message: "too odd" if … else None

A new sink over the same destination is what a restarted process is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from schemas.evidence import Evidence
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from sinks.contract import Delivered, Limits, Outcome
from sinks.identity import entry_commitments
from stores.bus import Message

LIMITS = Limits(max_records=100, max_bytes=1 << 20, linger=0.0)


class Destination:
    """Records by shard and offset; implements :class:`schemas.evidence.EvidenceSource`."""

    name = "memory"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: dict[Shard, list[Message]] = {}
        self.passed: dict[Shard, int] = {}

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        for message in sorted(self.records.get(shard, []), key=lambda message: message.offset):
            if start <= message.offset < end:
                yield Evidence(
                    shard,
                    message.offset,
                    message.event_id,
                    message.value,
                    (),
                    b"",
                    b"",
                    "memory",
                    message.key if message.headers or not message.commitments else b"",
                    message.headers,
                )

    def end(self, shard: Shard) -> Offset:
        return Offset(max((message.offset for message in self.records.get(shard, [])), default=-1) + 1)


class MemorySink:
    """Implements :class:`sinks.contract.Sink`. ``batches`` lists (shard, first offset, records) of every call."""

    name = "memory"
    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(self, destination: Destination, *, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.script: list[Outcome | BaseException] = []
        self.rejects: Callable[[Message], str | None] = lambda message: None
        self.batches: list[tuple[Shard, int, int]] = []
        self.threads: dict[Shard, set[int]] = {}
        self.opened = self.closed = 0
        self._destination = destination

    def open(self) -> None:
        self.opened += 1

    def resume(self, shard: Shard, start: Offset) -> Offset:
        return Offset(self._destination.passed.get(shard, start))

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        there = self._destination.records.get(shard, [])
        return next(
            (
                entry_commitments(message.commitments, message.key, message.value, message.headers)
                for message in there
                if message.offset == offset
            ),
            None,
        )

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        self.batches.append((shard, batch[0].offset, len(batch)))
        self.threads.setdefault(shard, set()).add(threading.get_ident())
        if self.script:
            planned = self.script.pop(0)
            if isinstance(planned, BaseException):
                raise planned
            return planned
        with self._destination.lock:
            there = self._destination.records.setdefault(shard, [])
            passed = self._destination.passed.get(shard, batch[0].offset)
            rejected = [(message.offset, reason) for message in batch if (reason := self.rejects(message))]
            refused = {offset for offset, _ in rejected}
            there += [message for message in batch if message.offset >= passed and message.offset not in refused]
            self._destination.passed[shard] = max(passed, batch[-1].offset + 1)
        return Delivered(tuple(rejected))

    def close(self) -> None:
        self.closed += 1
