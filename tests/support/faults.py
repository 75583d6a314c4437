"""Faults on purpose: make the n-th write of a bus, an object store or a control database go wrong.

    faults = Faults()                                  # counts, and does no harm
    run(FaultyBus(bus, faults), FaultyObjects(objects, faults), FaultyControl(control, faults))

    for number, fault in matrix(faults.writes):        # then again, once for every write and way of failing
        run(FaultyBus(bus, Faults({number: fault})), …)

Share one :class:`Faults` between the stores of a run, so that numbers follow the order of all writes. Each object of an
``Objects.create`` counts as a write of its own, because a crash may leave any of them.

``LOST``: nothing is written and the call raises. ``REPORTED``: it is written, and the call raises all the same.
``CRASHED_BEFORE`` and ``CRASHED_AFTER`` are the same two with :class:`Crash`, which no ``except Exception`` catches, as
a process that dies there: drop every object of that run, and start again on the same stores.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, BinaryIO, TypeVar

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Bus, Outgoing, Position
from stores.control import Control, Lock, Log
from stores.objects import NewObject, Objects

T = TypeVar("T")


class Fault(Enum):
    """How a write goes wrong."""

    LOST = "lost"
    REPORTED = "written, but reported as failed"
    CRASHED_BEFORE = "crashed before the write"
    CRASHED_AFTER = "crashed after the write"

    @property
    def writes(self) -> bool:
        return self in (Fault.REPORTED, Fault.CRASHED_AFTER)


class Crash(BaseException):
    """The process died here."""


def matrix(writes: int, faults: Sequence[Fault] = tuple(Fault)) -> Iterator[tuple[int, Fault]]:
    """Every write of a run, with every way of failing."""
    return ((number, fault) for number in range(1, writes + 1) for fault in faults)


class Faults:
    """Counts writes, and says which go wrong: ``plan`` maps the number of a write, from 1, to its fault.

    ``trace`` names the writes in order, for the message of a failing test.
    """

    def __init__(self, plan: Mapping[int, Fault] | None = None) -> None:
        self._plan = dict(plan or {})
        self.trace: list[str] = []

    @property
    def writes(self) -> int:
        return len(self.trace)

    def write(self, name: str, write: Callable[[], T]) -> T:
        """Do a write, as planned."""
        fault = self._next(name)
        result = write() if fault is None or fault.writes else None
        self._raise(fault, name)
        return result  # type: ignore[return-value]

    async def write_async(self, name: str, write: Callable[[], Awaitable[T]]) -> T:
        """Do a write that is awaited, as planned."""
        fault = self._next(name)
        result = await write() if fault is None or fault.writes else None
        self._raise(fault, name)
        return result  # type: ignore[return-value]

    def _next(self, name: str) -> Fault | None:
        self.trace.append(name)
        return self._plan.get(len(self.trace))

    def _raise(self, fault: Fault | None, name: str) -> None:
        if fault in (Fault.LOST, Fault.REPORTED):
            raise Unavailable(f"injected at write {self.writes}, {name}: {fault.value}", retry_after=0.0)
        if fault is not None:
            raise Crash(f"at write {self.writes}, {name}: {fault.value}")


class _Wrapper:
    """Whatever is no write goes through untouched."""

    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FaultyBus(_Wrapper):
    """A bus whose ``append`` and ``commit`` count as writes; one ``append`` is one write, however many messages."""

    def __init__(self, inner: Bus, faults: Faults) -> None:
        super().__init__(inner, faults)

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        return await self._faults.write_async("bus.append", lambda: self._inner.append(messages))

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        await self._faults.write_async("bus.commit", lambda: self._inner.commit(group, shard, offset))


class FaultyObjects(_Wrapper):
    """An object store whose ``create`` (each object), ``put`` and ``delete`` (each key) count as writes."""

    def __init__(self, inner: Objects, faults: Faults) -> None:
        super().__init__(inner, faults)

    def create(self, objects: Sequence[NewObject]) -> None:
        for new in objects:
            self._faults.write(f"objects.create {new.key}", lambda new=new: self._inner.create([new]))

    def create_file(self, key: str, file: BinaryIO) -> None:
        self._faults.write(f"objects.create {key}", lambda: self._inner.create_file(key, file))

    def put(self, key: str, data: bytes) -> None:
        self._faults.write(f"objects.put {key}", lambda: self._inner.put(key, data))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._faults.write(f"objects.delete {key}", lambda key=key: self._inner.delete([key]))


class FaultyControl(_Wrapper):
    """A control database whose ``open_log``, ``replace_lock``, ``close_log``, ``succeed_log``, ``move_cursor``,
    ``claim_feed`` and ``append_register`` count as writes."""

    def __init__(self, inner: Control, faults: Faults) -> None:
        super().__init__(inner, faults)

    def open_log(self, log: Log, lock: Lock) -> Log:
        return self._faults.write("control.open_log", lambda: self._inner.open_log(log, lock))

    def replace_lock(self, old: Lock, new: Lock) -> None:
        self._faults.write("control.replace_lock", lambda: self._inner.replace_lock(old, new))

    def close_log(self, origin: str, lock: Lock) -> None:
        self._faults.write("control.close_log", lambda: self._inner.close_log(origin, lock))

    def succeed_log(self, old: Lock, log: Log, lock: Lock) -> Log:
        return self._faults.write("control.succeed_log", lambda: self._inner.succeed_log(old, log, lock))

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None:
        self._faults.write("control.move_cursor", lambda: self._inner.move_cursor(name, old, new, owner))

    def append_register(self, number: int, entry: bytes) -> None:
        self._faults.write("control.append_register", lambda: self._inner.append_register(number, entry))

    def claim_feed(self, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
        return self._faults.write("control.claim_feed", lambda: self._inner.claim_feed(name, owner, now_ms, until_ms))
