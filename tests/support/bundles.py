"""Bundles over a ledger with a real authority and a witness."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outside_world import Outside

from affidavit.bundle.records import bundled_records
from affidavit.bundle.writer import BundleSummary, write_bundle
from schemas.ids import Shard
from signer.verify_records import Comparison

ABOUT = {"selection": "session s-1", "created": "2026-11-26T12:00:00Z", "operator": "ada", "file": "b.zip", "note": ""}


@dataclass
class Bundled:
    """A bundle, and the ledger that it is of."""

    made: Outside
    path: Path
    policy: Path
    summary: BundleSummary


def write(made: Outside, path: Path, places: list[tuple[Shard, int]], **changes: Any) -> BundleSummary:
    """Write a bundle of these records."""
    source = asyncio.run(made.world.evidence())
    policy = changes.pop("policy", made.policy)
    keys = changes.pop("keys", made.world.keys)
    comparison = Comparison(source, keys, made.world.objects.open)
    return write_bundle(path, bundled_records(made.world.objects, policy, comparison, places), policy, ABOUT)
