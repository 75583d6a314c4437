"""The proxy on a socket: served, drained, and what waits recorded, in that order."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable

from collector.proxy.app import Proxy
from collector.server import serve

CONNECTIONS = 20_000
"""Streams stay open for minutes, so there are more of them at a time than a collector has senders."""

SWITCH_SECONDS = 0.0005
"""How long a thread that reads and seals a recording may keep the interpreter from the loop that passes bytes. The
usual 5 ms would be the whole budget of a first token."""


async def serve_proxy(
    proxy: Proxy,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until ``stop`` is set, let exchanges in flight end, then record what waits.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    _allow_files()
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        async with proxy:
            await serve(proxy, host, port, stop, started=started, connections=CONNECTIONS, dated=False)
    finally:
        sys.setswitchinterval(before)


def _allow_files() -> None:
    """As many open files as the system lets this process have: each exchange takes two sockets, a large one a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
