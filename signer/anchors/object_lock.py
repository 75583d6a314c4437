"""Copies of the anchored bytes under Object Lock, in a store that the signer's operator does not own.

::

    <SHA-256 of the origin, hex>/<size, 20 digits>       the anchored bytes, locked in COMPLIANCE mode

A lock protects existence, not truth: a fork can be written beside a copy, and that is what gives it away. What lies
under a key is what was written first (:mod:`stores.objects.s3_versions`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas.errors import LedgerContradiction, MalformedInput, Refused, VerificationError
from signer.anchors import AnchoredHead, AnchorKind, Attestation, ConsistencyProof
from signer.checkpoint import Checkpoint, parse_checkpoint
from signer.clock import wall_clock
from signer.note import VerifierKey, parse_note, verify_note
from stores.objects import NewObject, Objects

INTERVAL_SECONDS = 10.0
RETAIN_DAYS = 2557
"""Seven years: as long as what the copies vouch for is kept, by most rules."""


class LockedCopy(NamedTuple):
    """One copy: the size that its key says, and its bytes."""

    size: int
    note: bytes


class ObjectLockAnchor:
    """Writes a locked copy of each head. An :class:`~signer.anchors.Anchor`.

    Args:
        name: of the anchor.
        objects: the other store; where it is a bucket, it has Object Lock.
        place: which store that is, for people, e.g. ``s3://bucket/prefix``.
        public_keys: our own keys; another copy than ours is proof only when one of them signed it.
        retain_days: how long a copy is locked.
        interval_seconds: how often one is written.
        clock: milliseconds since 1970 UTC.
    """

    kind: AnchorKind = "lock"

    def __init__(
        self,
        name: str,
        objects: Objects,
        place: str,
        public_keys: Sequence[bytes],
        *,
        retain_days: int = RETAIN_DAYS,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.name, self.interval_seconds = name, interval_seconds
        self._objects, self._place, self._public_keys = objects, place, tuple(public_keys)
        self._retain_days, self._clock = retain_days, clock

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        """See :class:`~signer.anchors.Anchor`."""
        key = copy_key(head.origin, head.size)
        self._look_ahead(head, key)
        now_ms = self._clock()
        until = datetime.fromtimestamp(now_ms // 1000, UTC) + timedelta(days=self._retain_days)
        try:
            self._objects.create([NewObject(key, head.note, until)])
        except LedgerContradiction:
            raise self._contradicts(head, key) from None
        receipt = {
            "place": self._place,
            "key": key,
            "sha256": hashlib.sha256(head.note).hexdigest(),
            "retain_until": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "time_ms": now_ms,
        }
        return Attestation(json.dumps(receipt, indent=1).encode() + b"\n", (), now_ms)

    def close(self) -> None:
        """Nothing is held that the store's owner does not close."""

    def _look_ahead(self, head: AnchoredHead, key: str) -> None:
        """A copy of a larger size that we signed: this ledger was set back."""
        folder = key.rpartition("/")[0] + "/"
        for info in self._objects.list(folder, start_after=key):
            shown = self._signed(head.origin, info.key)
            if shown is not None:
                raise LedgerContradiction(
                    f"H8 {head.origin}: {self._place} holds a locked checkpoint of size {shown.size} with root "
                    f"{shown.root.hex()} under our own signature, and the log has size {head.size}: it was set back; "
                    "restore control database and object store from the newest copy, never sign over it"
                )

    def _contradicts(self, head: AnchoredHead, key: str) -> LedgerContradiction | Refused:
        shown = self._signed(head.origin, key)
        if shown is None:
            return Refused(f"{self._place} holds {key} with bytes that none of our keys signed: somebody else wrote it")
        return LedgerContradiction(
            f"H8 {head.origin}: {self._place} holds another checkpoint of size {shown.size} with root "
            f"{shown.root.hex()} under our own signature: the log was forked; find the process that signs with this "
            "key, and decide which history is true"
        )

    def _signed(self, origin: str, key: str) -> Checkpoint | None:
        """The checkpoint that lies there, when one of our keys signed it."""
        try:
            note = parse_note(self._objects.get(key))
            verify_note(note, [VerifierKey(origin, one) for one in self._public_keys])
            found = parse_checkpoint(note.text)
        except (KeyError, MalformedInput, VerificationError):
            return None
        return found if found.origin == origin else None


def copy_key(origin: str, size: int) -> str:
    """Where the copy of a head lies."""
    return f"{hashlib.sha256(origin.encode()).hexdigest()}/{size:020d}"


def locked_copies(objects: Objects, origin: str) -> Iterator[LockedCopy]:
    """The copies of one anchor log, smallest first. Their keys say what they are; nothing else does."""
    folder = copy_key(origin, 0).rpartition("/")[0] + "/"
    for info in objects.list(folder):
        digits = info.key.removeprefix(folder)
        if len(digits) != 20 or not digits.isdigit():
            raise MalformedInput(f"got object {info.key} among the locked copies, expected a size of 20 digits")
        yield LockedCopy(int(digits), objects.get(info.key))
