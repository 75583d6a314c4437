"""The monitor of one process: knows its roles, is told of their parts, and reads all of them when somebody asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric

from affidavit.lock import COLLECTOR, POLLER, PROXY, SIGNER
from affidavit.monitor.bus import CountedBus
from affidavit.monitor.exposition import expose
from affidavit.monitor.probe import Probe
from affidavit.monitor.pulse import STUCK_SECONDS, Pulse
from affidavit.monitor.readiness import Finding, stuck, unready
from affidavit.monitor.readings import (
    CollectorReading,
    Reading,
    RoleReading,
    SpoolReading,
)
from affidavit.monitor.reception import Reception
from affidavit.monitor.signing import Signing
from affidavit.monitor.tally import Tally
from affidavit.supervisor import Role, Stopping, root_cause
from collector.files.tail import TailSnapshot
from collector.poll.runner import FeedStatus
from collector.proxy.app import ProxySnapshot
from signer.state import SignerState
from sinks.snapshot import Snapshot
from stores.bus import Bus
from stores.bus.spool import SpoolLimits, SpoolSnapshot

log = logging.getLogger(__name__)

T = TypeVar("T")
Read = Callable[[], T]


@dataclass(frozen=True, slots=True)
class _Intake:
    """How to see what a collector holds, and whether it accepts."""

    in_flight: Read[int]
    limit: int
    probe: Probe
    spooled: Read[int]


class Monitor:
    """Made before the roles run, read from the thread of :func:`~affidavit.monitor.server.serving`.

    The methods ``watch_…`` are called by roles, each from its own thread, once they have made what is watched. What is
    passed is called from another thread, at any time, also after the role has ended.

    Args:
        roles: the roles of this process.
        version: of the program.
        stuck_seconds: see :data:`~affidavit.monitor.pulse.STUCK_SECONDS`.
        clock: seconds that never run backwards, for pulses.
        now: seconds since 1970 UTC, for ages.

    Attributes:
        registry: what is scraped; of this monitor alone.
        reception: counts what the collector receives.
        signing: counts what the signer signs.
    """

    def __init__(
        self,
        roles: Sequence[str],
        *,
        version: str,
        stuck_seconds: float = STUCK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._version, self._stuck_seconds, self._now = version, stuck_seconds, now
        self._pulses = {role: Pulse(clock) for role in roles}
        self.reception, self.signing = Reception(), Signing()
        self._intake: _Intake | None = None
        self._spool: Read[SpoolReading] | None = None
        self._files: dict[str, Read[TailSnapshot]] = {}
        self._feeds: Read[Sequence[FeedStatus]] | None = None
        self._proxy: Read[ProxySnapshot] | None = None
        self._buses: list[CountedBus] = []
        self._signer: Read[SignerState] | None = None
        self._sinks: dict[str, Read[Snapshot]] = {}
        self._failed: Tally[str] = Tally()
        self.registry = CollectorRegistry()
        self.registry.register(_Scrape(self))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def watched(self, role: Role) -> Role:
        """The role, with its pulse felt and its readiness noted while it runs."""
        pulse = self._pulses[role.name]

        async def run(stop: Stopping, ready: Callable[[str], None]) -> None:
            def is_ready(url: str) -> None:
                if pulse.phase == "starting":
                    pulse.phase = "running"
                ready(url)

            over = asyncio.Event()
            tasks = [asyncio.create_task(pulse.beat(over)), asyncio.create_task(_note_stop(stop, pulse))]
            try:
                await role.run(stop, is_ready)
            except BaseException as error:
                pulse.end(_words(error))
                raise
            else:
                pulse.end("")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        return replace(role, run=run)

    def watch_bus(self, bus: Bus) -> CountedBus:
        """The bus, with its errors counted."""
        counted = CountedBus(bus)
        self._buses.append(counted)
        return counted

    def watch_collector(self, probe: Probe, in_flight: Read[int], limit: int, spooled: Read[int] = lambda: 0) -> None:
        """Watch what the collector holds.

        Args:
            probe: asks whether it can accept; somebody runs :meth:`~affidavit.monitor.probe.Probe.watch`.
            in_flight: bytes not yet acknowledged.
            limit: bytes above which it refuses.
            spooled: bytes of large bodies on disk.
        """
        self._intake = _Intake(in_flight, limit, probe, spooled)

    def watch_spool(self, snapshot: Read[SpoolSnapshot], limits: SpoolLimits) -> None:
        """Watch the spool."""
        self._spool = lambda: SpoolReading(snapshot(), limits)

    def watch_files(self, snapshots: Mapping[str, Read[TailSnapshot]]) -> None:
        """Watch the files that are followed, by their names in the settings."""
        self._files = dict(snapshots)

    def watch_feeds(self, snapshot: Read[Sequence[FeedStatus]]) -> None:
        """Watch the feeds that are asked."""
        self._feeds = snapshot

    def watch_proxy(self, snapshot: Read[ProxySnapshot]) -> None:
        """Watch the recording proxy."""
        self._proxy = snapshot

    def watch_signer(self, snapshot: Read[SignerState]) -> None:
        """Watch the signer and its anchor log."""
        self._signer = snapshot

    def watch_sink(self, role: str, snapshot: Read[Snapshot]) -> None:
        """Watch the sink of a role; a second call takes the place of the first."""
        self._sinks[role] = snapshot

    def reading(self) -> Reading:
        """Everything, now. A snapshot that cannot be read is left out, logged and counted."""
        unread: set[str] = set()
        sinks = {role: self._take(role, read, unread) for role, read in dict(self._sinks).items()}
        files = {name: self._take(COLLECTOR, read, unread) for name, read in dict(self._files).items()}
        return Reading(
            self._version,
            self.role_readings(),
            collector=self._take(COLLECTOR, self._collector, unread),
            spool=self._take("spool", self._spool, unread),
            files={name: one for name, one in files.items() if one is not None},
            feeds=tuple(self._take(POLLER, self._feeds, unread) or ()),
            proxy=self._take(PROXY, self._proxy, unread),
            bus_errors=self._bus_errors(),
            signer=self._take(SIGNER, self._signer, unread),
            batches=self.signing.snapshot(),
            sinks={role: sink for role, sink in sinks.items() if sink is not None},
            failed=self._failed.counts(),
            unread=frozenset(unread),
        )

    def role_readings(self) -> tuple[RoleReading, ...]:
        """The pulse of each role."""
        return tuple(
            RoleReading(role, pulse.phase, pulse.silence(), pulse.ended_with) for role, pulse in self._pulses.items()
        )

    def roles(self) -> Sequence[str]:
        """The roles of this process."""
        return list(self._pulses)

    def stuck(self) -> Sequence[Finding]:
        """See :func:`affidavit.monitor.readiness.stuck`. Reads no snapshot: what hangs must not hang this."""
        return stuck(Reading(self._version, self.role_readings()), self._stuck_seconds)

    def unready(self) -> Sequence[Finding]:
        """See :func:`affidavit.monitor.readiness.unready`."""
        return unready(self.reading(), self._stuck_seconds)

    def metrics(self) -> Iterator[Metric]:
        """What is scraped."""
        return expose(self.reading(), self._now())

    def _collector(self) -> CollectorReading | None:
        if self._intake is None:
            return None
        intake = self._intake
        received, refuses = self.reception.snapshot(), intake.probe.reason()
        return CollectorReading(received, intake.in_flight(), intake.limit, refuses, intake.spooled())

    def _bus_errors(self) -> Mapping[tuple[str, str], int]:
        errors: dict[tuple[str, str], int] = {}
        for bus in list(self._buses):
            for labels, count in bus.errors.counts().items():
                errors[labels] = errors.get(labels, 0) + count
        return errors

    def _take(self, part: str, read: Read[T] | None, unread: set[str]) -> T | None:
        if read is None:
            return None
        try:
            return read()
        except Exception:
            log.exception("the snapshot of the %s could not be read", part)
            self._failed.add(part)
            unread.add(part)
            return None


class _Scrape:
    """The monitor, as a collector of prometheus_client."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        return self._monitor.metrics()


async def _note_stop(stop: Stopping, pulse: Pulse) -> None:
    await stop.wait()
    if pulse.phase != "ended":
        pulse.phase = "stopping"


def _words(error: BaseException) -> str:
    cause = root_cause(error)
    return str(cause) or type(cause).__name__
