"""Names of entry kinds, for people."""

from __future__ import annotations

from schemas.entry import CHECKPOINT_SET, CONTROL, EVENT, GENESIS, INVALID

_NAMES = {
    GENESIS: "genesis",
    EVENT: "event",
    CONTROL: "control",
    INVALID: "invalid",
    CHECKPOINT_SET: "checkpoint set",
}


def kind_name(kind: int) -> str:
    """The word for an entry kind, or its number."""
    return _NAMES.get(kind, f"{kind:#04x}")
