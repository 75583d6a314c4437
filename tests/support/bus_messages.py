"""Messages of ours for tests of the bus: valid, small, and no two alike."""

from __future__ import annotations

from typing import Any

from schemas.entry import pack_commitments
from schemas.fingerprints import RECORD_V1
from stores.bus import Outgoing

COMMITMENTS = pack_commitments([(1, b"m" * 32), (2, b"c" * 32), (3, b"s" * 32)])
PRINT = RECORD_V1


def message(number: int, key: bytes = b"session", topic: str = "events", **changes: Any) -> Outgoing:
    """A message whose event id is ``number``; its value is opaque bytes, not a record."""
    value = b"value %d" % number
    return Outgoing(topic, key, value, 1 + number % 10, number.to_bytes(16, "big"), COMMITMENTS, PRINT)._replace(
        **changes
    )
