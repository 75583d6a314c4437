"""Repeated history: what a session that sends everything again leaves in bus and tables, and what that costs.

Each format is measured twice, with what the collector remembers and without: a collector that remembers nothing stores
every request whole, and tells every prompt whole.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.agent_session import FORMATS, session
from bench.figures import Figure
from collector.gateways import Format, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.otlp import OtlpFormat
from collector.history import History
from collector.ingest import Ingest
from collector.recall import Recall
from schemas.ids import EVENTS, Offset
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

TURNS = (50, 200, 800)
MOST = 3.0
SOURCES: dict[str, tuple[Format, str]] = {
    "litellm": (LiteLLMFormat(), "application/json"),
    "claude-code": (OtlpFormat("logs"), "application/json"),
    "otlp": (OtlpFormat("traces"), "application/x-protobuf"),
}


@dataclass(frozen=True, slots=True)
class _Session:
    transcript: int
    stored: int
    milliseconds: float
    remembered: int

    @property
    def ratio(self) -> float:
        return self.stored / self.transcript


def measure() -> Sequence[Figure]:
    """Every format with 200 turns, one of them with fewer and more."""
    figures = []
    for name in FORMATS:
        with_history, without = _run(name, 200, memory=True), _run(name, 200, memory=False)
        what = f"{name}, 200 turns of {with_history.transcript / 1000:,.0f} KB"
        figures += [
            Figure(f"records of a session: {what}", with_history.ratio, "× transcript", MOST, True, "on the bus"),
            Figure(f"the same, each request stored whole: {what}", without.ratio, "× transcript"),
            Figure(f"time per turn: {what}", with_history.milliseconds, "ms", note=_note(without)),
        ]
    for turns in TURNS:
        found = _run("litellm", turns, memory=True)
        what = f"litellm, {turns} turns of {found.transcript / 1000:,.0f} KB"
        figures.append(Figure(f"records of a session: {what}", found.ratio, "× transcript", note="growth with turns"))
        figures.append(Figure(f"remembered of a session: {what}", found.remembered / 1000, "KB"))
    return figures


def _note(without: _Session) -> str:
    return f"processor time; {without.milliseconds:.1f} ms with each request stored whole"


def _run(name: str, turns: int, *, memory: bool) -> _Session:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measured(Path(folder), name, turns, memory))


async def _measured(root: Path, name: str, turns: int, memory: bool) -> _Session:
    create_kek_file(root / "kek")
    control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
    control.migrate()
    bus = SqliteBus(root / "bus.db")
    history, recall = (History(), Recall()) if memory else (History(memory=0), Recall(memory=0))
    keys = DatabaseKeys(control, FileKek(root / "kek"))
    ingest = Ingest(bus, keys, collector_id="bench", history=history, recall=recall)
    source, media_type = SOURCES[name]
    bodies = [FORMATS[name](turn, "session-1") for turn in session(turns)]
    used = time.process_time()
    for body in bodies:
        now = time.time_ns() // 1000
        received = Received("acme", "bench", "t-1", "http", "192.0.2.1", media_type, "", now, source.name)
        await ingest.accept_body(body, source, received)
    used = time.process_time() - used
    stored = 0
    for shard in await bus.shards(EVENTS):
        offset = 0
        while found := await bus.read(shard, Offset(offset), max_records=10_000, max_bytes=1 << 26):
            stored += sum(len(message.value) + len(message.commitments) for message in found)
            offset = found[-1].offset + 1
    ingest.close()
    await bus.close()
    control.close()
    return _Session(len(bodies[-1]), stored, 1000 * used / turns, history.held)
