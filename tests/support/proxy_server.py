"""The recording proxy on loopback, over a bus and keys in memory.

with proxy_server({"anthropic": upstream.url}) as proxy:
    ... send to proxy.url + "/anthropic/…" with proxy.headers ...
    events = proxy.opened(4)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from collector_server import OpenedEvent, RunningCollector
from faults import Faults, FaultyBus
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.auth import INGEST, Tokens, mint_token
from collector.ingest import Ingest
from collector.proxy import Api, ProxyConfig, Upstream
from collector.proxy.app import Proxy, ProxySnapshot, create_proxy
from collector.proxy.recorder import Loss
from collector.proxy.serving import serve_proxy
from schemas.errors import Unavailable
from stores.bus import Bus
from stores.control import Token


class LeavingControl(MemoryControl):
    """A control database that can be ``away``."""

    away = False

    def token_by_digest(self, digest: bytes) -> Token | None:
        if self.away:
            raise Unavailable("the control database is away", retry_after=0.01)
        return super().token_by_digest(digest)


@dataclass(slots=True)
class RunningProxy(RunningCollector):
    """``losses``: exchanges that were given up. ``control`` is where its token is."""

    losses: list[Loss] = field(default_factory=list)
    control: LeavingControl = field(default_factory=LeavingControl)
    proxy: Proxy | None = None

    def opened(self, at_least: int = 0, seconds: float = 10.0) -> list[OpenedEvent]:
        """Everything on the bus, once there are so many events: recording goes on beside the traffic."""
        until = time.monotonic() + seconds
        found = RunningCollector.opened(self)
        while len(found) < at_least:
            assert time.monotonic() < until, f"got {len(found)} events, expected {at_least}"
            threading.Event().wait(0.01)
            found = RunningCollector.opened(self)
        return found

    def snapshot(self) -> ProxySnapshot:
        assert self.proxy is not None
        return self.proxy.snapshot()

    def until(self, held: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait for something that the proxy does beside the traffic."""
        end = time.monotonic() + seconds
        while not held():
            assert time.monotonic() < end, "it did not come to pass"
            threading.Event().wait(0.01)


APIS: dict[str, Api] = {"anthropic": "anthropic", "openai": "openai", "mcp": "mcp", "tools": "mcp"}


@contextmanager
def proxy_server(
    upstreams: Mapping[str, str],
    config: ProxyConfig | None = None,
    *,
    faults: Faults | None = None,
    before: Callable[[MemoryBus], Bus] = lambda bus: bus,
) -> Iterator[RunningProxy]:
    """Serve on a free port until the block ends; ``upstreams`` are base URLs by name."""
    control, bus, keys = LeavingControl(), MemoryBus(), MemoryKeys()
    minted = mint_token("acme", "proxy", [INGEST], now_ms=0)
    control.add_token(minted.row)
    running = RunningProxy(bus, keys, minted.text, headers={"x-affidavit-token": minted.text}, control=control)
    known = tuple(Upstream(name, url, APIS.get(name, "")) for name, url in upstreams.items())
    config = replace(config or ProxyConfig(), upstreams=(config.upstreams if config and not upstreams else known))
    ingest = Ingest(FaultyBus(bus, faults) if faults else before(bus), keys, collector_id="p-1")
    listening, loop_ready = threading.Event(), threading.Event()
    loop_of: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loop_of.append((asyncio.get_running_loop(), stop))
        loop_ready.set()

        def started(port: int) -> None:
            running.url = f"http://127.0.0.1:{port}"
            listening.set()

        running.proxy = create_proxy(config, ingest, Tokens(control), lose=running.losses.append)
        await serve_proxy(running.proxy, "127.0.0.1", 0, stop, started=started)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        assert listening.wait(10)
        yield running
    finally:
        assert loop_ready.wait(10)
        loop, stop = loop_of[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        ingest.close()
