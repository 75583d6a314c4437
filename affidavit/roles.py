"""The roles of a process, as the supervisor runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from affidavit.lock import ARCHIVE, CLICKHOUSE, COLLECTOR, ROLES, SIGNER
from affidavit.supervisor import Role, Stopping
from affidavit.wiring import Wiring
from schemas.ids import CONTROL, Shard
from sinks.contract import Sink
from sinks.runner import Runner

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
"""How soon a part that failed without ending its role is noticed."""

CATCH_UP_SECONDS = 15.0
"""How long the signer may go on, when told to stop, to sign what was acknowledged."""

Report = Callable[[str], None]
MakeSink = Callable[[float | None], Sink]
"""Makes a sink, with a linger of its own in place of the configured one."""

Serving = Callable[[asyncio.Event, Report], Coroutine[Any, Any, None]]
"""A server that runs until the event is set, and reports its URL."""


def make_roles(wiring: Wiring, names: Sequence[str]) -> list[Role]:
    """The roles of that name, in starting order. Nothing runs yet."""
    makers = {
        COLLECTOR: lambda: Role(COLLECTOR, lambda stop, ready: _collect(wiring, stop, ready)),
        SIGNER: lambda: Role(SIGNER, lambda stop, ready: _sign(wiring, stop, ready), (COLLECTOR,)),
        ARCHIVE: lambda: Role(
            ARCHIVE, lambda stop, ready: _deliver(wiring, wiring.archive_sink, stop, ready), (COLLECTOR,)
        ),
        CLICKHOUSE: lambda: Role(CLICKHOUSE, lambda stop, ready: _clickhouse(wiring, stop, ready), (COLLECTOR, SIGNER)),
    }
    return [makers[name]() for name in ROLES if name in names]


async def _collect(wiring: Wiring, stop: Stopping, ready: Report) -> None:
    from collector.auth import Tokens
    from collector.body import BodyLimits
    from collector.formats import http_routes
    from collector.http import Receiver, create_app
    from collector.server import serve

    own = wiring.settings.collector
    ingest = wiring.ingest()

    async def bus_answers() -> None:
        await wiring.bus.bounds(Shard(CONTROL, 0))

    receiver = Receiver(ingest, Tokens(wiring.control), bus_answers, BodyLimits(own.max_body_bytes))
    try:
        await serve(
            create_app(receiver, http_routes()),
            own.host,
            own.port,
            stop.event,
            started=lambda port: ready(base_url(own.host, port)),
        )
    finally:
        ingest.close()


async def _sign(wiring: Wiring, stop: Stopping, ready: Report) -> None:
    from signer.anchorer import Anchorer
    from signer.loop import Signer

    own, name = wiring.settings.signer, wiring.settings.deployment.name
    shards = wiring.shards()
    stores = (wiring.control, wiring.objects, wiring.signing_key, name)
    signer = Signer(wiring.bus, *stores, linger=own.linger_seconds)
    anchorer = Anchorer(*stores, interval=own.anchor_seconds)
    stop_signing, stop_anchoring = asyncio.Event(), asyncio.Event()

    def halted() -> bool:
        return bool(signer.halted)

    async with asyncio.TaskGroup() as group:
        signing = group.create_task(signer.run(shards, stop_signing))
        anchoring = group.create_task(anchorer.run(stop_anchoring))
        ready("")
        await _first(stop.wait(), _until(halted), signing, anchoring)
        if stop and not signer.halted:
            await _first(_caught_up(wiring, shards), _until(halted), signing, asyncio.sleep(CATCH_UP_SECONDS))
        stop_signing.set()
        await asyncio.wait({signing})
        stop_anchoring.set()


async def _caught_up(wiring: Wiring, shards: Sequence[Shard]) -> None:
    """Return once everything that is on the bus is signed."""
    from signer.status import log_statuses

    while True:
        statuses = await asyncio.to_thread(log_statuses, wiring.control, wiring.objects)
        signed = {status.shard: status.next_offset for status in statuses if not status.closed}
        ends = {shard: (await wiring.bus.bounds(shard)).end for shard in shards}
        if all(signed.get(shard, 0) >= end for shard, end in ends.items()):
            return
        await asyncio.sleep(WATCH_SECONDS / 4)


async def _deliver(
    wiring: Wiring, make: MakeSink, stop: Stopping, ready: Report, serving: Serving | None = None
) -> None:
    """Run one sink; fail as soon as one of its shards has failed, for nobody else would restart it.

    Args:
        make: makes the sink.
        serving: what to serve, once the sink is open, for as long as it runs.
    """
    runner = Runner(make(None), wiring.bus)
    stop_serving = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        await _first(stop.wait(), _until(lambda: bool(runner.snapshot().shards)), running)
        if runner.snapshot().shards and serving is not None:
            group.create_task(serving(stop_serving, ready))
        elif runner.snapshot().shards:
            ready("")
        await _first(stop.wait(), _until(lambda: _failed(runner)), running)
        stop_serving.set()
        runner.stop()
    await _deliver_rest(wiring, make(0.0))


async def _deliver_rest(wiring: Wiring, sink: Sink) -> None:
    """Deliver what came after the runner had begun to stop, so that a stopped deployment is complete everywhere."""
    shards = [shard for topic in sink.topics for shard in await wiring.bus.shards(topic)]
    ends = {shard: (await wiring.bus.bounds(shard)).end for shard in shards}
    runner = Runner(sink, wiring.bus)

    def delivered() -> bool:
        now = {one.shard: one.position for one in runner.snapshot().shards}
        return bool(now) and all(now[shard] >= end for shard, end in ends.items())

    async with asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        await _first(_until(lambda: delivered() or _failed(runner)), running, asyncio.sleep(CATCH_UP_SECONDS))
        runner.stop()


def _failed(runner: Runner) -> bool:
    return any(shard.state == "failed" for shard in runner.snapshot().shards)


async def _clickhouse(wiring: Wiring, stop: Stopping, ready: Report) -> None:
    from collector.server import serve

    own = wiring.settings.query

    async def interface(stopped: asyncio.Event, listening: Report) -> None:
        app = await asyncio.to_thread(wiring.interface)
        async with app.router.lifespan_context(app):
            await serve(app, own.host, own.port, stopped, started=lambda port: listening(base_url(own.host, port)))

    await _deliver(wiring, wiring.clickhouse_sink, stop, ready, interface)


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


def base_url(host: str, port: int) -> str:
    """Where a server that listens there can be reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
