"""What each format costs: units per second and core, from the body of a request to the durable SQLite bus.

Processor time of the whole process, the best of several rounds, so that it says the same on a shared machine. A row's
figure is the whole way; its note has what reading alone gives, reading and assembling, and how many events a unit is.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure, show
from bench.format_payloads import Traffic, traffic
from collector.assemble import Stamp, assemble
from collector.gateways import Received
from collector.ingest import Ingest
from collector.reading import read_body
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

ROUNDS = 3
AT_ONCE = 16
"""Requests in flight, where each holds one record: they share the flushes to the disk."""

BUDGETS = {"LiteLLM": 8_000, "native": 12_000}
OTLP_BUDGET = 8_000
NOW = 1_787_305_300_000_000


def measure() -> Sequence[Figure]:
    """One row per format."""
    return [_figure(one) for one in traffic()]


class Cost(NamedTuple):
    """Seconds of processor time for all records of a format, and how many units and events those are."""

    units: int
    events: int
    read: float
    assembled: float
    stored: float


def cost(one: Traffic) -> Cost:
    """What a format costs, on the way to a bus in a folder of its own."""
    received = _received(one)
    readings = [read_body(body, one.format, received)[0] for body in one.bodies]
    units = sum(len(reading.units) for reading in readings)
    events = sum(len(unit.drafts) or 1 for reading in readings for unit in reading.units)
    errors = {unit.error for reading in readings for unit in reading.units if unit.error}
    if errors:
        raise RuntimeError(f"got {one.name} with errors, expected none: {', '.join(sorted(errors)[:3])}")

    def read() -> None:
        for body in one.bodies:
            read_body(body, one.format, received)

    def assembled() -> None:
        for body in one.bodies:
            assemble(*read_body(body, one.format, received), Stamp("bench", 0))

    return Cost(units, events, _least(read), _least(assembled), asyncio.run(_stored(one, received)))


async def _stored(one: Traffic, received: Received) -> float:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        create_kek_file(root / "kek")
        control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
        control.migrate()
        bus = SqliteBus(root / "bus.db")
        ingest = Ingest(bus, DatabaseKeys(control, FileKek(root / "kek")), collector_id="bench")
        best = float("inf")
        for _ in range(1 + ROUNDS):  # the first makes the keys
            begun = time.process_time()
            for at in range(0, len(one.bodies), AT_ONCE):
                some = one.bodies[at : at + AT_ONCE]
                await asyncio.gather(*(ingest.accept_body(body, one.format, received) for body in some))
            best = min(best, time.process_time() - begun)
        ingest.close()
        await bus.close()
        control.close()
    return best


def _received(one: Traffic) -> Received:
    return Received("acme", "bench", "t-1", "http", "192.0.2.1", one.media_type, "", NOW, one.format.name)


def _least(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def _figure(one: Traffic) -> Figure:
    found = cost(one)
    budget = OTLP_BUDGET if one.name.startswith("OTLP") else BUDGETS.get(one.name)
    size = sum(map(len, one.bodies)) / found.units
    note = (
        f"{found.events / found.units:.1f} events and {size:,.0f} bytes a unit, {show(found.events / found.stored)} "
        f"events/s; read {show(found.units / found.read)}, assembled {show(found.units / found.assembled)} units/s"
    )
    return Figure(f"{one.name} to durable bus", found.units / found.stored, "units/s per core", budget, note=note)


if __name__ == "__main__":
    for wanted in traffic():
        if not sys.argv[1:] or any(word.lower() in wanted.name.lower() for word in sys.argv[1:]):
            figure = _figure(wanted)
            print(f"{figure.path}: {figure.value:,.0f} {figure.unit} ({figure.note})", flush=True)
