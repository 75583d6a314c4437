"""The roles of a process, as the supervisor runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from affidavit import receiving
from affidavit.forwarders import FORWARDERS, make_forwarder
from affidavit.lock import ARCHIVE, CLICKHOUSE, COLLECTOR, POLLER, PROXY, ROLES, SIGNER
from affidavit.receiving import Report, base_url
from affidavit.settings import Settings
from affidavit.supervisor import Role, Stopping
from affidavit.wiring import Wiring
from sinks.contract import Sink
from sinks.runner import Runner

if TYPE_CHECKING:
    from affidavit.monitor.process import Monitor
    from signer.loop import Signer
    from signer.succession import LogChange

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
"""How soon a part that failed without ending its role is noticed."""

CATCH_UP_SECONDS = 15.0
"""How long the signer may go on, when told to stop, to sign what was acknowledged."""

Serving = Callable[[asyncio.Event, Report], Coroutine[Any, Any, None]]
"""A server that runs until the event is set, and reports its URL."""


def make_roles(wiring: Wiring, names: Sequence[str], monitor: Monitor) -> list[Role]:
    """The roles of that name, in starting order. Nothing runs yet."""
    receives = (COLLECTOR, POLLER, PROXY)
    makers: dict[str, tuple[Callable[[Wiring, Monitor, Stopping, Report], Coroutine[Any, Any, None]], Sequence[str]]]
    makers = {
        COLLECTOR: (receiving.collect, ()),
        POLLER: (receiving.poll, ()),
        PROXY: (receiving.proxy, ()),
        SIGNER: (_sign, receives),
        ARCHIVE: (_archive, receives),
        CLICKHOUSE: (_clickhouse, (*receives, SIGNER)),
        **{name: (_forwarding(name), receives) for name in FORWARDERS},
    }

    def role(name: str) -> Role:
        work, after = makers[name]
        return monitor.watched(Role(name, lambda stop, ready: work(wiring, monitor, stop, ready), tuple(after)))

    return [role(name) for name in ROLES if name in names]


def must_be_alone(settings: Settings, names: Sequence[str]) -> bool:
    """Whether another process may not run any of these roles over the same stores."""
    return not settings.bus.kafka or (CLICKHOUSE in names and not settings.clickhouse.url)


async def _sign(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    from affidavit.acts import logs_changed
    from affidavit.parity_job import ParityKeeper
    from signer.anchorer import Anchorer
    from signer.loop import Signer

    own, name = wiring.settings.signer, wiring.settings.deployment.name
    stores = (wiring.control, wiring.objects, wiring.signing_key, name)
    outside = wiring.anchors_outside()
    anchorer = Anchorer(*stores, interval=own.anchor_seconds, outside=outside)
    audit = wiring.audit()

    async def announce(change: LogChange) -> None:
        await audit.record(*logs_changed(change))

    signer = Signer(
        wiring.bus,
        *stores,
        anchorer=anchorer,
        linger=own.linger_seconds,
        on_signed=monitor.signing.signed,
        on_logs=announce,
    )
    monitor.watch_signer(signer.snapshot)
    stop_signing = asyncio.Event()

    def halted() -> bool:
        return wiring.alone and bool(signer.halted)

    async with asyncio.TaskGroup() as group:
        signing = group.create_task(signer.run(stop_signing))
        if own.parity:
            keeper = ParityKeeper(wiring.layout, wiring.settings, wiring.signing_key, own.parity_minutes)
            group.create_task(keeper.run(stop_signing))
        ready("")
        await _first(stop.wait(), _until(halted), signing)
        if stop and not signer.halted:
            await _first(_caught_up(wiring, signer), _until(halted), signing, asyncio.sleep(CATCH_UP_SECONDS))
        stop_signing.set()
    wiring.left_behind |= outside.busy
    outside.close()


async def _caught_up(wiring: Wiring, signer: Signer) -> None:
    """Return once everything is signed that is on the shards of this signer now."""
    ends = {shard: (await wiring.bus.bounds(shard)).end for shard in await wiring.shards()}

    def signed() -> bool:
        owned = signer.snapshot().shards
        return all(one.next_offset >= ends.get(one.shard, 0) for one in owned if one.state != "halted")

    await _until(signed)


async def _archive(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    await _deliver(wiring, monitor, ARCHIVE, wiring.archive_sink(), stop, ready)


async def _clickhouse(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    from collector.server import serve

    own = wiring.settings.query

    async def interface(stopped: asyncio.Event, listening: Report) -> None:
        app = await asyncio.to_thread(wiring.interface)
        async with app.router.lifespan_context(app):
            await serve(app, own.host, own.port, stopped, started=lambda port: listening(base_url(own.host, port)))

    async def beside(stopped: asyncio.Event, listening: Report) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wiring.directory_sync().run(stopped))
            if wiring.settings.clickhouse.url:
                listening("")
            else:
                await interface(stopped, listening)

    await _deliver(wiring, monitor, CLICKHOUSE, wiring.clickhouse_sink(), stop, ready, beside)


def _forwarding(name: str) -> Callable[[Wiring, Monitor, Stopping, Report], Coroutine[Any, Any, None]]:
    async def forward(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
        await _deliver(wiring, monitor, name, make_forwarder(wiring, name), stop, ready)

    return forward


async def _deliver(
    wiring: Wiring,
    monitor: Monitor,
    role: str,
    sink: Sink,
    stop: Stopping,
    ready: Report,
    serving: Serving | None = None,
) -> None:
    """Run one sink. Over stores that only this process has, fail as soon as one of its shards has failed; over
    servers the other shards go on, and readiness says that one does not.

    Args:
        serving: what to serve, once the sink is open, for as long as it runs.
    """
    # What is in flight must end before the group goes on without us.
    runner = Runner(sink, wiring.bus, give_up_seconds=wiring.settings.bus.rebalance_seconds * 2 / 3)
    monitor.watch_sink(role, runner.snapshot)
    stop_serving = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        await _first(stop.wait(), _until(lambda: runner.opened), running)
        if runner.opened and serving is not None:
            group.create_task(serving(stop_serving, ready))
        elif runner.opened:
            ready("")
        await _first(stop.wait(), _until(lambda: wiring.alone and _failed(runner)), running)
        stop_serving.set()
        runner.stop(drain=True)
    wiring.left_behind |= runner.busy


def _failed(runner: Runner) -> bool:
    return any(shard.state == "failed" for shard in runner.snapshot().shards)


async def _until(true: Callable[[], bool]) -> None:
    """Look every now and then; what is looked at has no event of its own to wait for."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(WATCH_SECONDS)


async def _first(*waits: Coroutine[Any, Any, object] | asyncio.Task[Any]) -> None:
    """Return when the first of them is done; those that are not tasks already are cancelled then."""
    own = [asyncio.ensure_future(wait) for wait in waits if not isinstance(wait, asyncio.Task)]
    given = [wait for wait in waits if isinstance(wait, asyncio.Task)]
    try:
        await asyncio.wait([*own, *given], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
