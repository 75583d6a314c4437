"""Outages of the bus on the log: one act for each, when everything that was spooled meanwhile is on the bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from collector.internal import SelfAudit
from schemas.errors import Unavailable
from stores.bus.spool import Outage

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How soon after its end an outage is recorded."""


async def record_outages(
    take: Callable[[], Sequence[Outage]], audit: SelfAudit, stop: asyncio.Event, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Record every outage that ``take`` tells of (``SpoolingBus.take_outages``) as ``collector.spool``, until ``stop``.

    An outage whose end this process does not live to record leaves no act: what was spooled in it is on the bus all
    the same, each event with the time at which it was received.
    """
    waiting: list[Outage] = []
    while not stop.is_set():
        waiting += take()
        try:
            while waiting:
                await audit.report_outage(waiting[0])
                waiting.pop(0)
        except Unavailable as error:
            log.warning("an outage of the bus cannot be recorded yet: %s", error)
        with suppress(TimeoutError):
            async with asyncio.timeout(look_seconds):
                await stop.wait()
