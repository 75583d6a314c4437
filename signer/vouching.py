"""How far outside evidence reaches for one record: the chain of proofs from its leaf to what an anchor has seen.

::

    leaf of the record ── inclusion ──▶ head of its log, as a checkpoint set states it
    entry of that set  ── inclusion ──▶ head of the anchor log
    that head          ── attested by time-stamping authorities, witnesses, Rekor

So whoever has these, and the policy, needs nothing else of the ledger. O(log n) reads; the search begins at the
earliest set that covers the leaf, so that the time found is the earliest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer import merkle
from signer.anchors import StoredHead, parse_evidence_name, stored_heads
from signer.attested import check_evidence, covered_since, open_head
from signer.checkpoint_set import CheckpointSet, LogHead, decode_set
from signer.ledger import Ledger, shard_logs
from signer.origin import ANCHOR_SHARD
from signer.policy import Policy
from signer.verify_tree import read_checkpoint
from stores.objects import Objects


@dataclass(frozen=True, slots=True)
class Vouching:
    """The chain for one leaf.

    Attributes:
        head: the state of the record's log that a set states; the leaf is in it.
        leaf_proof: inclusion proof of the leaf in ``head``.
        anchor_origin, index, entry: the set's entry that states it, and where in which anchor log it stands.
        anchor_size, note: the head of the anchor log that is attested, and its anchored bytes.
        entry_proof: inclusion proof of the entry in it.
        evidence: file name and bytes of each attestation of it that the policy lists.
        time_ms, by: since when the policy is satisfied, and by whom.
    """

    head: LogHead
    leaf_proof: tuple[bytes, ...]
    anchor_origin: str
    index: int
    entry: bytes
    anchor_size: int
    note: bytes
    entry_proof: tuple[bytes, ...]
    evidence: tuple[tuple[str, bytes], ...]
    time_ms: int
    by: str


def find_vouching(objects: Objects, policy: Policy, origin: str, index: int) -> Vouching | None:
    """The earliest attested head that covers a leaf of a log; ``None`` while there is none. For many leaves, use one
    :class:`Voucher`.

    Raises:
        VerificationError: something on the way does not verify.
        EvidenceIncomplete: something on the way is not here.
    """
    return Voucher(objects, policy).find(origin, index)


class Voucher:
    """Finds what vouches for leaves; remembers what it has read and verified. Use one per thread."""

    def __init__(self, objects: Objects, policy: Policy) -> None:
        self._objects, self._policy, self._ledger = objects, policy, Ledger(objects)
        self._logs: list[_Sets] | None = None
        self._heads: dict[tuple[str, int], list[StoredHead]] = {}
        self._opened: dict[tuple[str, int], _Attested | None] = {}

    def find(self, origin: str, index: int) -> Vouching | None:
        """See :func:`find_vouching`."""
        if not self._policy.authorities and not self._policy.witnesses:
            return None
        for anchors in self._anchor_logs():
            place = anchors.first(origin, index)
            if place is None:
                continue
            for stored in self._stored(anchors.origin, place + 1):
                attested = self._attested(stored)
                if attested is not None:
                    return self._chain(anchors.origin, place, attested, origin, index)
        return None

    def _anchor_logs(self) -> list[_Sets]:
        if self._logs is None:
            trust = self._policy.trust
            names = [str(log) for log in shard_logs(self._ledger.origins(trust.deployment), ANCHOR_SHARD)]
            self._logs = [_Sets(self._ledger, name, read_checkpoint(self._ledger, name, trust).size) for name in names]
        return self._logs

    def _stored(self, origin: str, since: int) -> Iterator[StoredHead]:
        """The stored heads from ``since`` on; the first of them answers nearly always, so the others are read when
        asked for."""
        yield from self._heads.get((origin, since), ())
        known = len(self._heads.setdefault((origin, since), []))
        for stored in islice(stored_heads(self._objects, origin, since=since), known, None):
            self._heads[origin, since].append(stored)
            yield stored

    def _attested(self, stored: StoredHead) -> _Attested | None:
        """A head that the policy accepts, with what vouches for it."""
        key = (stored.origin, stored.size)
        if key not in self._opened:
            self._opened[key] = self._open(stored)
        return self._opened[key]

    def _open(self, stored: StoredHead) -> _Attested | None:
        note, root = open_head(self._objects, stored, self._policy.trust)
        evidence: list[tuple[str, bytes]] = []
        vouched = []
        for file in stored.files:
            named = parse_evidence_name(file)
            if named is None:
                continue
            data = self._objects.get(stored.key(file))
            try:
                one = check_evidence(*named, data, note, self._policy)
            except (VerificationError, MalformedInput, UnicodeDecodeError) as error:
                raise VerificationError(f"{stored.key(file)}: {error}", step="A7") from None
            if one is not None:
                vouched.append(one)
                evidence.append((file, data))
        since = covered_since(vouched, self._policy)
        return None if since is None else _Attested(stored.size, note, root, tuple(evidence), *since)

    def _chain(self, name: str, place: int, attested: _Attested, origin: str, index: int) -> Vouching:
        """The proofs, each verified."""
        ledger = self._ledger
        entry = ledger.entry(name, attested.size, place)
        head = next(head for head in decode_set(entry).heads if head.origin == origin)
        entry_proof = ledger.hashes(name, attested.size, merkle.inclusion_ranges(place, attested.size))
        leaf_proof = ledger.hashes(origin, head.size, merkle.inclusion_ranges(index, head.size))
        merkle.verify_inclusion(place, attested.size, merkle.leaf(entry), entry_proof, attested.root)
        leaf = merkle.leaf(ledger.entry(origin, head.size, index))
        merkle.verify_inclusion(index, head.size, leaf, leaf_proof, head.root)
        return Vouching(
            head,
            tuple(leaf_proof),
            name,
            place,
            entry,
            attested.size,
            attested.note,
            tuple(entry_proof),
            attested.evidence,
            attested.time_ms,
            attested.by,
        )


@dataclass(frozen=True, slots=True)
class _Attested:
    """A head that the policy accepts."""

    size: int
    note: bytes
    root: bytes
    evidence: tuple[tuple[str, bytes], ...]
    time_ms: int
    by: str


class _Sets:
    """Looks for sets in an anchor log without walking over it: sizes in sets never decrease."""

    def __init__(self, ledger: Ledger, origin: str, size: int) -> None:
        self._ledger, self.origin, self._size = ledger, origin, size
        self._decoded: dict[int, CheckpointSet] = {}

    def first(self, log: str, index: int) -> int | None:
        """The index of the first entry that states a log with leaf ``index``; ``None`` when none does."""
        low, high = 1, self._size
        while low < high:
            middle = (low + high) // 2
            if self._covers(middle, log, index):
                high = middle
            else:
                low = middle + 1
        return self._stated(low, log, index)

    def _covers(self, at: int, log: str, index: int) -> bool:
        """Whether the set that the entry belongs to states the log with that leaf."""
        return self._stated(at, log, index) is not None

    def _stated(self, at: int, log: str, index: int) -> int | None:
        """Which entry, of the set that the entry at ``at`` belongs to, states the log with that leaf."""
        if at >= self._size:
            return None
        try:
            first = self._set(at)
            entries = [(at, first)]
            for step in (-1, 1):
                near = at + step
                while 1 <= near < self._size:
                    one = self._set(near)
                    if one.sequence != first.sequence:
                        break
                    entries.append((near, one))
                    near += step
        except MalformedInput as error:
            raise VerificationError(f"{self.origin}: {error}", step="A2") from None
        except EvidenceIncomplete as error:
            raise EvidenceIncomplete(str(error), step="A2") from None
        for place, entry in entries:
            for head in entry.heads:
                if head.origin == log:
                    return place if head.size > index else None
        return None

    def _set(self, at: int) -> CheckpointSet:
        if at not in self._decoded:
            self._decoded[at] = decode_set(self._ledger.entry(self.origin, self._size, at))
        return self._decoded[at]
