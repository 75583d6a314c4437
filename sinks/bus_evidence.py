"""The bus itself as evidence: what it still holds of a shard, for the verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from schemas.errors import MalformedInput, VerificationError
from schemas.evidence import Evidence
from schemas.ids import Offset, Shard
from stores.bus import Bus

T = TypeVar("T")

READ_RECORDS = 10_000
READ_BYTES = 8 << 20


class BusEvidence:
    """Implements :class:`schemas.evidence.EvidenceSource` over any bus.

    The bus is asynchronous and a verifier blocks, so the bus's loop must run in another thread than the one that calls.
    Records that retention has removed from the front are left out.
    """

    name = "bus"

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        """See :meth:`schemas.evidence.EvidenceSource.scan`.

        Raises:
            Unavailable: the bus does not answer.
        """
        position = max(start, self._wait(self._bus.bounds(shard)).start)
        while position < end:
            try:
                found = self._wait(
                    self._bus.read(shard, position, max_records=min(READ_RECORDS, end - position), max_bytes=READ_BYTES)
                )
            except MalformedInput as error:
                raise VerificationError(f"bus: {error}", step="bus") from None
            if not found:
                return
            for message in found:
                foreign = bool(message.headers) or not message.commitments
                yield Evidence(
                    shard,
                    message.offset,
                    message.event_id,
                    message.value,
                    (),
                    b"",
                    b"",
                    f"bus {shard}",
                    message.key if foreign else b"",
                    message.headers,
                    message.commitments,
                )
            position = Offset(found[-1].offset + 1)

    def end(self, shard: Shard) -> Offset:
        """See :meth:`schemas.evidence.EvidenceSource.end`."""
        return self._wait(self._bus.bounds(shard)).end

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
