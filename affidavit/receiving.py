"""The roles that receive: the collector with its servers and files, the poller, and the recording proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from affidavit.lock import COLLECTOR, POLLER, PROXY
from affidavit.supervisor import Stopping
from affidavit.wiring import Wiring
from schemas.ids import CONTROL, Shard

if TYPE_CHECKING:
    from affidavit.monitor.process import Monitor
    from collector.heartbeat import Heartbeat
    from collector.http import Receiver
    from collector.ingest import Ingest

Report = Callable[[str], None]

LATECOMERS_SECONDS = 10.0
"""How long a stop waits for bodies whose senders were answered before they were durable."""


async def collect(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    """Serve HTTP and gRPC, and follow files, until told to stop."""
    from affidavit.monitor.probe import Probe
    from affidavit.senders import make_fetcher, make_tails, webhook_senders
    from collector.auth import Tokens
    from collector.body import BodyLimits
    from collector.http import Receiver
    from collector.losses import record_losses
    from collector.outages import record_outages

    own = wiring.settings.collector
    ingest = wiring.ingest()
    spool = wiring.spool

    async def can_take() -> None:
        if spool is not None:
            spool.require_room()
        else:
            await wiring.bus.bounds(Shard(CONTROL, 0))

    probe = Probe(can_take)
    monitor.watch_collector(probe, lambda: ingest.budget.used, own.max_pending_bytes, lambda: ingest.spools.used)
    limits, webhooks = BodyLimits(own.max_body_bytes), webhook_senders(wiring.settings)
    fetcher = make_fetcher(wiring.settings)
    receiver = Receiver(ingest, Tokens(wiring.control), can_take, limits, webhooks=webhooks, fetcher=fetcher)
    heartbeat = make_heartbeat(wiring, ingest, COLLECTOR)
    tails = make_tails(wiring.settings, ingest, wiring.control, socket.gethostname())
    monitor.watch_files({name: tail.snapshot for name, tail in zip(wiring.settings.files, tails, strict=True)})
    beside = [probe.watch(stop.event), heartbeat.run(stop.event), *(tail.run(stop.event) for tail in tails)]
    audit = wiring.audit()
    beside.append(record_losses(receiver.losses, audit, stop.event))
    if spool is not None:
        monitor.watch_spool(spool.snapshot, wiring.spool_limits)
        beside.append(record_outages(spool.take_outages, wiring.audit(), stop.event))
    async with AsyncExitStack() as after:
        after.callback(ingest.close)
        after.push_async_callback(heartbeat.end)
        after.push_async_callback(record_losses, receiver.losses, audit, _over())
        after.push_async_callback(receiver.latecomers.finish, LATECOMERS_SECONDS)
        if fetcher is not None:
            after.push_async_callback(fetcher.close)
        await _beside(_serve_all(wiring, monitor, receiver, stop, ready), beside)


async def _serve_all(wiring: Wiring, monitor: Monitor, receiver: Receiver, stop: Stopping, ready: Report) -> None:
    """All servers of the collector; ready when all of them listen."""
    from affidavit.senders import gateway_options
    from collector.formats import greetings, http_routes
    from collector.http import create_app
    from collector.server import serve

    own, grpc = wiring.settings.collector, wiring.settings.grpc
    routes = monitor.reception.counted(http_routes(gateway_options(wiring.settings)))
    app = monitor.reception.counting(create_app(receiver, routes, greetings()))
    listening: asyncio.Queue[None] = asyncio.Queue()
    where = ""

    def http_started(port: int) -> None:
        nonlocal where
        where = base_url(own.host, port)
        listening.put_nowait(None)

    async with asyncio.TaskGroup() as servers:
        servers.create_task(serve(app, own.host, own.port, stop.event, started=http_started))
        await listening.get()
        if grpc.enabled:

            def grpc_started(port: int) -> None:
                wiring.listening["grpc"] = base_url(grpc.host, port)
                listening.put_nowait(None)

            servers.create_task(_serve_grpc(wiring, monitor, receiver, stop, grpc_started))
            await listening.get()
        ready(where)


async def _serve_grpc(
    wiring: Wiring, monitor: Monitor, receiver: Receiver, stop: Stopping, started: Callable[[int], None]
) -> None:
    from schemas.errors import ConfigurationError

    try:
        from collector.grpc import serve_grpc
    except ImportError as error:
        raise ConfigurationError(
            f"grpc.enabled is set, and {error.name} is missing: install affidavit[grpc], or set grpc.enabled = false"
        ) from None
    from collector.otlp_routes import grpc_routes

    own = wiring.settings.grpc
    routes = monitor.reception.counted(grpc_routes())
    finished = monitor.reception.finished
    await serve_grpc(receiver, own.host, own.port, stop.event, started=started, routes=routes, finished=finished)


async def poll(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    """Ask the feeds of the settings until told to stop."""
    from affidavit.senders import make_feeds
    from collector.poll.runner import Pollers

    ingest = wiring.ingest()
    heartbeat = make_heartbeat(wiring, ingest, POLLER)
    async with AsyncExitStack() as after:
        after.callback(ingest.close)
        after.push_async_callback(heartbeat.end)
        pollers = Pollers(
            make_feeds(wiring.settings),
            ingest,
            wiring.control,
            owner=wiring.collector_id,
            report=wiring.audit().record,
        )
        monitor.watch_feeds(pollers.snapshot)
        ready("")

        async def until_told() -> None:
            await pollers.run(stop.event)
            await stop.wait()  # without a feed there is nothing to run, and still nobody said to end

        await _beside(until_told(), [heartbeat.run(stop.event)])


async def proxy(wiring: Wiring, monitor: Monitor, stop: Stopping, ready: Report) -> None:
    """Stand before the providers' APIs until told to stop; then finish what is being answered, and record it."""
    from affidavit.senders import proxy_config
    from collector.auth import Tokens
    from collector.losses import Losses, record_losses
    from collector.outages import record_outages
    from collector.proxy.app import create_proxy
    from collector.proxy.losses import noting
    from collector.proxy.serving import serve_proxy

    own, ingest, spool = wiring.settings.proxy, wiring.ingest(), wiring.spool
    losses, audit = Losses(), wiring.audit()
    heartbeat = make_heartbeat(wiring, ingest, PROXY)
    config = proxy_config(wiring.settings, wiring.scratch)
    made = create_proxy(config, ingest, Tokens(wiring.control), lose=noting(losses))
    monitor.watch_proxy(made.snapshot)
    beside = [heartbeat.run(stop.event), record_losses(losses, audit, stop.event)]
    if spool is not None:
        monitor.watch_spool(spool.snapshot, wiring.spool_limits)
        beside.append(record_outages(spool.take_outages, audit, stop.event))
    async with AsyncExitStack() as after:
        after.callback(ingest.close)
        after.push_async_callback(heartbeat.end)
        after.push_async_callback(record_losses, losses, audit, _over())
        serving = serve_proxy(
            made, own.host, own.port, stop.event, started=lambda port: ready(base_url(own.host, port))
        )
        await _beside(serving, beside)


def make_heartbeat(wiring: Wiring, ingest: Ingest, role: str) -> Heartbeat:
    """The heartbeat of what receives in this process."""
    from collector.heartbeat import Heartbeat

    spool = wiring.spool
    return Heartbeat(
        ingest.counts,
        wiring.audit(),
        role=role,
        interval=wiring.settings.collector.heartbeat_seconds,
        spooled=lambda: 0 if spool is None else spool.snapshot().records,
    )


def _over() -> asyncio.Event:
    """For what runs until an event: once more, and no longer; the role may be ending without having been told to."""
    event = asyncio.Event()
    event.set()
    return event


async def _beside(work: Coroutine[Any, Any, None], others: list[Coroutine[Any, Any, None]]) -> None:
    """Run ``others`` for as long as ``work`` takes; the failure of one ends all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in others]
        await work
        for task in tasks:
            task.cancel()


def base_url(host: str, port: int) -> str:
    """Where a server that listens there can be reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
