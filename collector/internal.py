"""The log watches itself: what people and components do with Affidavit, as signed events on the control shard.

Starts and stops, tokens, keys, reads of content, searches, exports, gaps in a collector's numbers, outages of the bus.
An act that changes something is recorded before it takes effect, so that it cannot happen unseen.
"""

from __future__ import annotations

import asyncio
import getpass
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Reading, Received, Unit
from collector.json_units import encode_content
from collector.reading import with_hash
from collector.sealing import Sealing
from schemas.ids import CONTROL
from schemas.metadata import Metadata
from stores.bus import Bus, Position
from stores.bus.spool import Outage
from stores.keys import Keys

SYSTEM = "affidavit"
"""Tenant and gateway of events about the deployment itself."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that somebody did.

    Attributes:
        operation: ``noun.verb``: ``component.start``, ``token.create``, ``content.read``, ``query.run`` …
        kind: ``admin`` changes something, ``access`` reads records, ``session`` is the life of a component.
        actor: who: a token id, an operating system user, a component.
        actor_type: ``user``, ``service`` or ``system``.
        tenant: whose records are concerned; the deployment's own by default.
        outcome: ``ok``, ``error`` or ``blocked``.
        peer_ip: address of the actor, where there is one.
        details: what exactly; kept as content.
        extras: of those, what is needed by who may read metadata only; kept in its ``extras``, each value as JSON text.
        key: equal for the same act put on record twice, so that both have one event id; ``""``: it has no repeat.
    """

    operation: str
    kind: Literal["admin", "access", "session"]
    actor: str
    actor_type: Literal["user", "service", "system"] = "user"
    tenant: str = SYSTEM
    outcome: Literal["ok", "error", "blocked"] = "ok"
    peer_ip: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""


class SelfAudit:
    """Puts acts on the control shard.

    Args:
        bus, keys: where to and under which keys.
        instance: names this process, as the collector's id does; a random part is added.
        now_micros: microseconds since 1970 UTC.
    """

    def __init__(
        self, bus: Bus, keys: Keys, instance: str, *, now_micros: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._bus = bus
        self._sealing = Sealing(keys)
        self._instance = f"{instance}/self-{secrets.token_hex(4)}"
        self._now_micros = now_micros
        self._sequence = 0

    async def record(self, *acts: Act) -> list[Position]:
        """Record acts; return when they are durable. While the bus is away that is in the collector's spool: then their
        positions are ``spooled``, and they come to the control shard as soon as it is back.

        Raises:
            Unavailable: they may or may not be recorded. What they announce must not go ahead.
        """
        now = self._now_micros()
        events = []
        for act in acts:
            number, self._sequence = self._sequence, self._sequence + 1
            unit = _unit(act, now, act.key or f"{self._instance}:{number}")
            received = with_hash(_received(act, now), unit.source)
            for made in assemble(Reading([unit]), received, Stamp(self._instance, number)):
                events += made
        messages = await asyncio.to_thread(self._sealing.seal, events, CONTROL)
        return await self._bus.append(messages)

    def record_blocking(self, *acts: Act) -> list[Position]:
        """:meth:`record` for code that has no event loop: the command line."""
        return asyncio.run(self.record(*acts))

    async def report_outage(self, outage: Outage) -> None:
        """Record that this collector spooled, now that all of it is on the bus."""
        details = {
            "records": outage.records,
            "from_ms": outage.from_ms,
            "to_ms": outage.to_ms,
            "reason": outage.reason,
        }
        await self.record(Act("collector.spool", "session", self._instance, "system", outcome="error", details=details))

    async def report_gap(self, collector_id: str, numbers: Sequence[range]) -> None:
        """Explain sequence numbers of a collector whose events were not acknowledged (``Ingest``'s ``report_gap``)."""
        ranges = [[one.start, one.stop - 1] for one in numbers]
        details = {"collector_id": collector_id, "first_and_last": ranges}
        await self.record(
            Act("collector.gap", "session", collector_id, "system", outcome="error", details=details, extras=details)
        )


def operator() -> str:
    """The operating system user at the command line, as an actor."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"


def _unit(act: Act, now: int, source_id: str) -> Unit:
    source = {
        "operation": act.operation,
        "kind": act.kind,
        "actor": act.actor,
        "actor_type": act.actor_type,
        "tenant": act.tenant,
        "outcome": act.outcome,
        "details": {**act.details, **act.extras},
        "occurred_at": now,
    }
    metadata: Metadata = {
        "operation": act.operation,
        "actor_type": act.actor_type,
        "user_id" if act.actor_type == "user" else "service_account": act.actor,  # type: ignore[misc]
        "assurance": "gateway_authenticated",
        "client_ip": act.peer_ip,
        "outcome": act.outcome,
        "content_state": "full",
        "occurred_at": now,
        "time_precision": "us",
        "time_role": "emit",
    }
    if act.extras:
        metadata["extras"] = {name: encode_content(value).decode() for name, value in act.extras.items()}
    draft = Draft(act.kind, metadata, dict(act.details) or None)
    return Unit(encode_content(source), source_id, [draft])


def _received(act: Act, now: int) -> Received:
    return Received(
        tenant=act.tenant,
        gateway=SYSTEM,
        token_id="",
        receiver="internal",
        peer_ip=act.peer_ip,
        media_type="application/json",
        content_encoding="",
        received_at=now,
        format="internal",
    )
