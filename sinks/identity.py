"""Whether a topic is still the one that it was, and a record still the one that was delivered.

A topic that was deleted and created again has other messages at the same offsets, and everything that stands on offsets
would go on without a word.
"""

from __future__ import annotations

from schemas.entry import CONTROL, EVENT, INVALID, invalid_commitments, leaf_hash, pack_entry, valid_commitments
from schemas.errors import LedgerContradiction
from schemas.ids import CONTROL as CONTROL_TOPIC
from schemas.ids import Shard
from stores.bus import Bus


def entry_commitments(commitments: bytes, key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> bytes:
    """What the ledger's entry of a message holds: its own commitments, or if they are not valid those to its raw bytes
    (:func:`schemas.entry.invalid_commitments`). No two messages have the same, but for copies of strays."""
    return commitments if valid_commitments(commitments) else invalid_commitments(key, value, list(headers))


def stated_leaf(
    shard: Shard,
    offset: int,
    time_ms: int,
    commitments: bytes,
    key: bytes,
    value: bytes,
    headers: tuple[tuple[str, bytes], ...],
) -> bytes:
    """The ledger's leaf of a message (32 bytes), if what is stated of it is true."""
    kind = INVALID if not valid_commitments(commitments) else CONTROL if shard.topic == CONTROL_TOPIC else EVENT
    entry = pack_entry(kind, offset, time_ms, entry_commitments(commitments, key, value, headers))
    return leaf_hash(entry)


class Identities:
    """The identity of each topic as this process met it first. Across restarts the destination must know; see
    :class:`sinks.contract.Remembering`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._met: dict[str, str] = {}

    async def check(self, topic: str) -> None:
        """Return if the topic is the one that was met first.

        Raises:
            LedgerContradiction: it was deleted and created again meanwhile.
            Unavailable: the bus does not answer.
        """
        now = await self._bus.identity(topic)
        met = self._met.setdefault(topic, now)
        if now != met:
            raise LedgerContradiction(
                f"topic {topic}: got identity {now}, expected {met}: it was deleted and created again, and its offsets "
                "stand for other messages now; restore the topic, or deliver to a new destination"
            )
