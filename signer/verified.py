"""What a verification has already verified, so that the next one goes on behind it. Pure.

A log only grows, and a tree of which the root is known fixes all that is in it. So it is enough to keep, of each log, a
size at the end of a full bundle, root and chain there, and what the rules for entries need of those before. The next
verification rebuilds the right edge of the tree from the tiles at that size, and compares its root with the kept one:
what was verified once is then known to be unchanged, as far as it is still there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.errors import MalformedInput
from signer.merkle import HASH_BYTES
from signer.tiles import FULL_WIDTH

SCHEMA = "affidavit.verified/1"


class RulesState(NamedTuple):
    """What :class:`signer.verify_entries.EntryRules` has counted."""

    invalid: int = 0
    first_ms: int = 0
    last_ms: int = 0
    steps_back: int = 0
    largest_step_ms: int = 0


NOTHING = RulesState()
"""Before the first entry."""


class VerifiedUpTo(NamedTuple):
    """One log: a multiple of 256 leaves, root and chain after them, 32 bytes each."""

    size: int
    root: bytes
    chain: bytes
    rules: RulesState


def format_verified(deployment: str, checked_ms: int, logs: Mapping[str, VerifiedUpTo]) -> bytes:
    """The state as JSON."""
    rows = {
        origin: {"size": one.size, "root": one.root.hex(), "chain": one.chain.hex(), "rules": list(one.rules)}
        for origin, one in sorted(logs.items())
    }
    fields = {"schema": SCHEMA, "deployment": deployment, "checked_ms": checked_ms, "logs": rows}
    return json.dumps(fields, indent=1).encode() + b"\n"


def parse_verified(data: bytes, deployment: str) -> dict[str, VerifiedUpTo]:
    """Read what :func:`format_verified` wrote for the same deployment.

    Raises:
        MalformedInput: anything else.
    """
    try:
        found: dict[str, Any] = json.loads(data)
        if (found["schema"], found["deployment"]) != (SCHEMA, deployment):
            raise MalformedInput(f"got a state of {found['deployment']} ({found['schema']}), expected {deployment}")
        logs = {
            str(origin): VerifiedUpTo(
                int(row["size"]),
                bytes.fromhex(row["root"]),
                bytes.fromhex(row["chain"]),
                RulesState(*map(int, row["rules"])),
            )
            for origin, row in found["logs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedInput(f"got a state that does not parse: {error!r}") from None
    for origin, one in logs.items():
        if one.size % FULL_WIDTH or one.size <= 0 or {len(one.root), len(one.chain)} != {HASH_BYTES}:
            raise MalformedInput(f"got a state of {origin} at size {one.size}, expected a multiple of {FULL_WIDTH}")
    return logs
