"""A Splunk sink over the fake, with a clock that tests move, and what they look at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fake_splunk import FakeSplunk, Token, client
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from sealed_records import events, messages

from collector.sealing import Sealing
from schemas.errors import Unavailable
from schemas.ids import EVENTS, Offset, Shard
from sinks.contract import Accepted, Outcome, Pause, Retry, Wait
from sinks.splunk.config import HecConfig
from sinks.splunk.search import SplunkSearch
from sinks.splunk.sink import SplunkSink
from sinks.tls import Secret
from stores.bus import Message

SHARD = Shard(EVENTS, 0)
URL = "https://splunk.example:8088"
NAME = "audit.example.com"


class SplunkWay:
    """One Splunk, the control database, and sinks over both.

    Args:
        settings: of :class:`sinks.splunk.config.HecConfig`.
    """

    def __init__(self, splunk: FakeSplunk | None = None, **settings: Any) -> None:
        self.splunk = splunk or FakeSplunk({"token": Token(ack=True)}, search_token="searcher")
        self.keys, self.cursors = MemoryKeys(), MemoryControl()
        self.config = replace(HecConfig(URL, Secret("token"), NAME, poll_seconds=0.0), **settings)
        self.now = 1000.0
        self.sink = self.restart()

    def restart(self) -> SplunkSink:
        """What a process that starts has."""
        search = None
        if self.config.ack == "reconcile":
            search = SplunkSearch(URL, Secret("searcher"), NAME, [""], client=client(self.splunk, self.time))
        self.sink = SplunkSink(
            self.config,
            self.keys,
            self.cursors,
            search=search,
            linger=0.0,
            connect=lambda config: client(self.splunk, self.time),
            monotonic=self.time,
        )
        return self.sink

    def time(self) -> float:
        return self.now

    def deliver(self, batch: Sequence[Message]) -> Outcome:
        return self.sink.deliver(SHARD, batch)

    def accept(self, batch: Sequence[Message]) -> tuple[tuple[Offset, str], ...]:
        """Deliver what must be accepted; returns what was rejected of it."""
        outcome = self.deliver(batch)
        assert isinstance(outcome, Accepted), outcome
        return outcome.rejected

    def run(self, batch: Sequence[Message], tries: int = 400, size: int = 40) -> dict[int, str]:
        """Deliver as a lane does, until all of it is settled; returns the reasons of the rejected by offset."""
        rejected: dict[int, str] = {}
        end = batch[-1].offset + 1
        position = int(self.sink.resume(SHARD, Offset(0)))
        for _ in range(tries):
            if position < end:
                outcome = self.deliver(batch[position : position + size])
                match outcome:
                    case Accepted(gone):
                        rejected |= dict(gone)
                        position = min(end, position + size)
                    case Retry(_, after) | Pause(_, after) | Wait(_, after):
                        self.now += after
                    case _:
                        raise AssertionError(outcome)
            self.now += 1.0
            try:
                settled = self.sink.settle(SHARD)
            except Unavailable:
                continue
            if settled is None:
                position = int(self.sink.resume(SHARD, Offset(0)))
            elif settled >= end:
                return rejected
        raise AssertionError(f"not settled after {tries} tries, at {position} of {end}")

    def found(self) -> Counter[int]:
        """How often each offset is in the index."""
        return Counter(
            int(event.fields["affidavit_offset"]) for event in self.splunk.events if "affidavit_offset" in event.fields
        )


def altered(way: SplunkWay, count: int, **texts: str) -> list[Message]:
    """Records of which one has another content: ``n7="text"``."""
    made = []
    for at, event in enumerate(events(count)):
        text = texts.get(f"n{at}")
        made.append(event if text is None else replace(event, content=json.dumps({"text": text}).encode()))
    return messages(Sealing(way.keys).seal(made), SHARD)
