"""A small deployment in memory, for tests of signing and verifying: bus, control, objects, key, and a clock of its own.

    world = World()
    await world.append(300)                # records on events/0
    await world.sign()                     # until everything is signed and published
    await world.anchor()                   # one checkpoint set
    assert world.verify().exit_code == 0

``world.sign(faults)`` puts faults on every write of the signer; see :mod:`faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bus_messages import message
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_clock import eventually
from faults import Faults, FaultyBus, FaultyControl, FaultyObjects
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import sealed

from schemas.evidence import Evidence
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from signer.anchorer import Anchorer
from signer.clock import Clock
from signer.keyfile import FileKey, deployment_vkey
from signer.ledger import Ledger
from signer.loop import Pace, Signer
from signer.report import Report
from signer.trust import Trust, parse_trust
from signer.verify_ledger import Scope, verify_ledger

DEPLOYMENT = "audit.example.com"
SHARD = Shard(EVENTS, 0)
CONTROL_SHARD = Shard(CONTROL, 0)
KEY = FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
START_MS = 1_764_000_000_000
EVENTS_ORIGIN = f"{DEPLOYMENT}/events/0/2025q4"
CONTROL_ORIGIN = f"{DEPLOYMENT}/control/0/2025q4"
ANCHOR_ORIGIN = f"{DEPLOYMENT}/anchor/2025q4"
PACE = Pace(linger=0.0, settle=0.0, lost=0.0)
"""Nobody waits for anything but messages."""


@dataclass
class ListEvidence:
    """An :class:`~schemas.evidence.EvidenceSource` over lists that a test may alter."""

    held: dict[Shard, list[Evidence]] = field(default_factory=dict)
    name: str = "list"

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        return (item for item in self.held.get(shard, []) if start <= item.offset < end)

    def end(self, shard: Shard) -> Offset:
        return Offset(max((item.offset + 1 for item in self.held.get(shard, [])), default=0))


class World:
    """Everything that a signer works with. ``now`` is the time of all clocks, in milliseconds."""

    def __init__(self, *, shards: Sequence[Shard] = (SHARD, CONTROL_SHARD), partitions: int = 1) -> None:
        self.now = START_MS
        self.shards = [*(Shard(EVENTS, number) for number in range(partitions) if SHARD in shards), *shards]
        self.shards = sorted(set(self.shards))
        self.bus = MemoryBus({"events": partitions, "control": 1, "deadletter": 1}, clock=self.clock)
        self.control = MemoryControl()
        self.objects = MemoryObjects()
        self.keys = MemoryKeys()
        self.key = KEY
        self._numbers = 0

    def clock(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.objects)

    @property
    def trust(self) -> Trust:
        return parse_trust([deployment_vkey(self.key, DEPLOYMENT)])

    def grow(self, partitions: int) -> None:
        """Let the events have so many shards."""
        self.bus._partitions["events"] = partitions
        for number in range(partitions):
            self.bus._messages.setdefault(Shard(EVENTS, number), [])
            self.bus._starts.setdefault(Shard(EVENTS, number), 0)
        for shard in [shard for shard in self.bus._messages if shard.topic == EVENTS and shard.partition >= partitions]:
            del self.bus._messages[shard]
        self.shards = sorted(shard for shard in self.bus._messages if shard.topic in (EVENTS, CONTROL))

    def origin(self, shard: Shard) -> str:
        """The open log of a shard."""
        return next(log.origin for log in self.control.logs() if log.shard == shard and not log.closed)

    async def append(self, count: int, topic: str = EVENTS) -> None:
        """Put records on the bus."""
        await self.bus.append(sealed(self.keys, count, start=self._numbers, topic=topic))
        self._numbers += count

    async def append_opaque(self, count: int) -> None:
        """Put messages on the bus that have commitments and no record behind them: the signer sees no difference."""
        messages = [message(self._numbers + number) for number in range(count)]
        await self.bus.append([one._replace(key=b"%d" % number) for number, one in enumerate(messages)])
        self._numbers += count

    def signer(self, faults: Faults | None = None, **options: Any) -> Signer:
        faults = faults or Faults()
        return Signer(
            FaultyBus(self.bus, faults),
            FaultyControl(self.control, faults),
            FaultyObjects(self.objects, faults),
            self.key,
            DEPLOYMENT,
            clock=self.clock,
            pace=replace(PACE, **{name: options.pop(name) for name in list(options) if name in Pace.__slots__}),
            **options,
        )

    async def sign(self, faults: Faults | None = None, *, tidy: bool = True, **options: Any) -> None:
        """Run a signer until all shards are signed and published. Whatever it raises is raised."""
        ends = {shard: (await self.bus.bounds(shard)).end for shard in self.shards}
        await until(self.signer(faults, **options).sign, self.shards, lambda: self.is_signed(ends, tidy=tidy))

    def is_signed(self, ends: dict[Shard, Offset], *, tidy: bool = True) -> bool:
        """Whether every shard is signed up to its end, published, and (``tidy``) nothing is left in staging."""
        if tidy and next(iter(self.objects.list("staging/")), None) is not None:
            return False
        open_logs = {log.shard: log for log in self.control.logs() if not log.closed}
        for shard, end in ends.items():
            lock = self.control.lock(open_logs[shard].origin) if shard in open_logs else None
            if lock is None or lock.size - 1 + open_logs[shard].start_offset < end:
                return False
            if self.ledger.published(lock.origin) != lock.note:
                return False
        return True

    async def anchor(self, faults: Faults | None = None) -> None:
        """Take one checkpoint set."""
        faults = faults or Faults()
        stop = asyncio.Event()
        stop.set()
        control, objects = FaultyControl(self.control, faults), FaultyObjects(self.objects, faults)
        await Anchorer(control, objects, self.key, DEPLOYMENT, clock=self.clock).run(stop)

    async def evidence(self) -> ListEvidence:
        """What lies on the bus, as a destination would hold it."""
        held: dict[Shard, list[Evidence]] = {}
        for shard in self.shards:
            found = await self.bus.read(shard, Offset(0), max_records=1 << 30, max_bytes=1 << 40)
            held[shard] = [
                Evidence(shard, item.offset, item.event_id, item.value, (), b"", b"", "the bus", item.key, item.headers)
                for item in found
            ]
        return ListEvidence(held)

    def copy(self) -> World:
        """The same ledger, to be tampered with. Lock rows are shared: an auditor may not have them at hand."""
        other = World(shards=self.shards)
        other.now, other.control, other.keys, other.key = self.now, self.control, self.keys, self.key
        for info in self.objects.list("ledger/"):
            other.objects.put(info.key, self.objects.get(info.key))
        return other

    def verify(self, **scope: Any) -> Report:
        """Verify everything, lock rows included unless told otherwise."""
        return self.verify_as(self.trust, **scope)

    def verify_as(self, trust: Trust, **scope: Any) -> Report:
        """The same, believing in other keys."""
        scope = {"control": self.control, "clock": Clock(self.clock, self.wait), **scope}
        return verify_ledger(self.objects, trust, Scope(**scope))


async def until(
    run: Callable[[Sequence[Shard], asyncio.Event], Any], shards: Sequence[Shard], condition: Callable[[], bool]
) -> None:
    """Run until ``condition`` holds, or until the run ends by itself."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(run(shards, stop))
    try:
        await eventually(lambda: task.done() or condition())
    finally:
        stop.set()
        await task
