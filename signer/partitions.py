"""How many partitions a topic had when a log was opened: a part of the genesis document's reason. Pure.

When a topic gets more partitions its keys move to other shards, so every log of it ends there. Whoever opens a log
writes the count into the signed document, so that whoever owns the shard later can tell, whatever happened in between.
"""

from __future__ import annotations

import re

from schemas.ids import EVENTS

_RECORDED = re.compile(r"(?:^|; )partitions of [a-z]+: (?:[0-9]{1,9} → )?([0-9]{1,9})$")


def with_partitions(reason: str, topic: str, count: int) -> str:
    """``reason``, and how many partitions the topic has; only events have more than one."""
    return f"{reason}; partitions of {topic}: {count}" if topic == EVENTS else reason


def grown_reason(topic: str, before: int, after: int) -> str:
    """The reason for closing a log because the topic has grown."""
    return f"partitions of {topic}: {before} → {after}"


def recorded_partitions(reason: str) -> int | None:
    """The count that a log's reason records; ``None`` when it records none."""
    found = _RECORDED.search(reason)
    return int(found[1]) if found else None
