"""What anchors have given to a ledger so far, and having one of them give more."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from affidavit.anchoring import deployment_keys, make_anchor
from affidavit.settings import Settings
from schemas.errors import EvidenceIncomplete
from signer.anchors import AnchoredHead, parse_evidence_name, store, stored_heads
from signer.checkpoint_set import decode_set
from signer.ledger import Ledger
from signer.merkle import consistency_ranges
from signer.origin import ANCHOR_SHARD
from stores.control import Control
from stores.objects import Objects

NEAR = 10_000
"""Leaves of the anchor log before its end in which the newest evidence is looked for first: a day and more."""


class NewestEvidence(NamedTuple):
    """The largest head that an anchor of the settings has vouched for: its leaves, of how many, and when its last set
    was taken (milliseconds since 1970 UTC; 0 and 0 where there is none)."""

    name: str
    kind: str
    size: int
    log_size: int
    time_ms: int
    where: str


class Attested(NamedTuple):
    """What :func:`attest_now` got."""

    name: str
    kind: str
    origin: str
    size: int
    time_ms: int


def newest_evidence(control: Control, objects: Objects, settings: Settings) -> list[NewestEvidence]:
    """One row for each anchor of the settings."""
    found: dict[str, tuple[int, int]] = {}
    size = 0
    with suppress(EvidenceIncomplete):
        head = _newest_head(control, objects)
        size = head.size
        wanted = {f"{own.kind}-{name}" for name, own in settings.anchors.items()}
        found = _newest(objects, head.origin, max(0, size - NEAR))
        if wanted - found.keys() and size > NEAR:
            found = _newest(objects, head.origin, 0) | found
    rows = []
    for name, own in settings.anchors.items():
        at, time_ms = found.get(f"{own.kind}-{name}", (0, 0))
        where = own.url or (str(own.directory) if own.directory else f"s3://{own.bucket}/{own.prefix}".rstrip("/"))
        rows.append(NewestEvidence(name, own.kind, at, size, time_ms, where))
    return rows


def attest_now(control: Control, objects: Objects, settings: Settings, public_key: bytes, name: str) -> Attested:
    """Have one anchor vouch for the newest head, and keep what it gives.

    Raises:
        EvidenceIncomplete: there is no head yet.
        AffidavitError: what the anchor raised.
    """
    head = _newest_head(control, objects)
    anchor = make_anchor(settings, name, deployment_keys(control, public_key))

    def proof(old: int) -> list[bytes]:
        return Ledger(objects).hashes(head.origin, head.size, consistency_ranges(old, head.size))

    try:
        attestation = anchor.attest(head, proof)
    finally:
        anchor.close()
    store(objects, head, anchor, attestation)
    return Attested(name, anchor.kind, head.origin, head.size, attestation.time_ms)


def _newest_head(control: Control, objects: Objects) -> AnchoredHead:
    for log in control.logs():
        if log.shard == ANCHOR_SHARD and not log.closed:
            lock = control.lock(log.origin)
            if lock is not None and Ledger(objects).published(log.origin) is not None:
                return AnchoredHead(log.origin, lock.size, lock.note)
    raise EvidenceIncomplete("the anchor log holds nothing yet: start the signer (affidavit up)")


def _newest(objects: Objects, origin: str, since: int) -> dict[str, tuple[int, int]]:
    """By kind and name: the largest head from ``since`` on, and when its last set was taken."""
    sizes: dict[str, int] = {}
    for head in stored_heads(objects, origin, since=since):
        sizes |= {"-".join(named): head.size for file in head.files if (named := parse_evidence_name(file))}
    ledger = Ledger(objects)
    return {key: (size, _taken(ledger, origin, size)) for key, size in sizes.items()}


def _taken(ledger: Ledger, origin: str, size: int) -> int:
    return decode_set(ledger.entry(origin, size, size - 1)).time_ms if size > 1 else 0
