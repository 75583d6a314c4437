"""What could not be made durable, and is sent by nobody again: counted, and put on the log as soon as that works again.

A sender that asks for leave (Anthropic's inference hooks) is answered whether or not its record is durable, because
people wait for the answer. What is lost then must not be lost silently.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

from collector.internal import Act, SelfAudit
from schemas.errors import Unavailable

log = logging.getLogger(__name__)

KEPT = 1000
"""Losses that are kept by name until they are on the log, about 300 KB; of further ones only the number is."""

LOOK_SECONDS = 1.0
"""How soon a loss is recorded, once the bus takes it."""

Sender = tuple[str, str, str]
"""Tenant, gateway, webhook."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One body whose sender was answered before it was durable.

    Attributes:
        message_id: the sender's own name of it.
        sha256, size: of the body; should the sender have kept it, this is what it can be known by.
        at: microseconds since 1970 UTC.
        refused: whether the sender was refused what it asked for.
        stored: whether it became durable after all; only that it was refused is to be told then.
    """

    message_id: str
    sha256: str
    size: int
    at: int
    refused: bool
    stored: bool = False


@dataclass(frozen=True, slots=True)
class LossSnapshot:
    """Counts since the start of the process; ``waiting`` are not on the log yet."""

    lost: int
    refused: int
    waiting: int


class Losses:
    """A bounded memory of losses. For one event loop; read from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._limit = kept
        self._kept: list[tuple[Sender, Loss]] = []
        self._unnamed: Counter[Sender] = Counter()
        self._lost = self._refused = 0

    def note(self, tenant: str, gateway: str, webhook: str, loss: Loss) -> None:
        """Remember a loss until it is recorded."""
        sender = (tenant, gateway, webhook)
        self._lost += not loss.stored
        self._refused += loss.refused
        if len(self._kept) < self._limit:
            self._kept.append((sender, loss))
        else:
            self._unnamed[sender] += 1

    def acts(self) -> Iterator[tuple[Act, int]]:
        """One act for each sender, and how many losses it tells of."""
        for sender in dict.fromkeys([*(sender for sender, _ in self._kept), *self._unnamed]):
            told = [loss for at, loss in self._kept if at == sender]
            count = len(told) + self._unnamed[sender]
            yield _act(sender, told, self._unnamed[sender]), count

    def recorded(self, act: Act) -> None:
        """Forget what an act tells; losses that came since stay."""
        sender = (act.tenant, act.details["gateway"], act.details["webhook"])
        told = len(act.details["bodies"])
        kept = []
        for one in self._kept:
            if one[0] == sender and told:
                told -= 1
            else:
                kept.append(one)
        self._kept = kept
        self._unnamed[sender] -= act.details["not_named"]
        self._unnamed = +self._unnamed

    def snapshot(self) -> LossSnapshot:
        """The counts now."""
        return LossSnapshot(self._lost, self._refused, len(self._kept) + self._unnamed.total())


async def record_losses(
    losses: Losses, audit: SelfAudit, stop: asyncio.Event, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Put losses on the control shard as acts ``intake.lost`` until ``stop``, and a last time then."""
    while True:
        stopping = stop.is_set()
        try:
            for act, count in list(losses.acts()):
                await audit.record(act)
                losses.recorded(act)
                log.warning("%d bodies of webhook %s were not made durable in time", count, act.details["webhook"])
        except Unavailable as error:
            log.warning("what was lost cannot be recorded yet: %s", error)
        if stopping:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(look_seconds):
                await stop.wait()


def _act(sender: Sender, told: list[Loss], not_named: int) -> Act:
    tenant, gateway, webhook = sender
    counts = {
        "gateway": gateway,
        "webhook": webhook,
        "lost": sum(not loss.stored for loss in told),
        "refused": sum(loss.refused for loss in told),
        "not_named": not_named,
    }
    details = {**counts, "bodies": [asdict(loss) for loss in told]}
    actor = f"webhook:{webhook}"
    return Act("intake.lost", "admin", actor, "system", tenant, outcome="error", details=details, extras=counts)
