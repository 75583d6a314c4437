"""How far outside evidence reaches for one record: the chain of proofs from its leaf to what an anchor has seen.

::

    leaf of the record ── inclusion ──▶ head of its log, as a checkpoint set states it
    entry of that set  ── inclusion ──▶ head of the anchor log
    that head          ── attested by time-stamping authorities, witnesses, Rekor

So whoever has these, and the policy, needs nothing else of the ledger. O(log n) reads; the search begins at the
earliest set that covers the leaf, so that the time found is the earliest.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer import merkle
from signer.anchors import parse_evidence_name, stored_heads
from signer.attested import check_evidence, covered_since, open_head
from signer.checkpoint_set import LogHead, decode_set
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
    """The earliest attested head that covers a leaf of a log; ``None`` while there is none.

    Raises:
        VerificationError: something on the way does not verify.
        EvidenceIncomplete: something on the way is not here.
    """
    if not policy.authorities and not policy.witnesses:
        return None
    ledger, trust = Ledger(objects), policy.trust
    for log in shard_logs(ledger.origins(trust.deployment), ANCHOR_SHARD):
        name = str(log)
        anchors = _Sets(ledger, name, read_checkpoint(ledger, name, trust).size)
        place = anchors.first(origin, index)
        if place is None:
            continue
        for stored in stored_heads(objects, name, since=place + 1):
            note, root = open_head(objects, stored, trust)
            evidence: list[tuple[str, bytes]] = []
            vouched = []
            for file in stored.files:
                named = parse_evidence_name(file)
                if named is None:
                    continue
                data = objects.get(stored.key(file))
                try:
                    one = check_evidence(*named, data, note, policy)
                except (VerificationError, MalformedInput, UnicodeDecodeError) as error:
                    raise VerificationError(f"{stored.key(file)}: {error}", step="A7") from None
                if one is not None:
                    vouched.append(one)
                    evidence.append((file, data))
            since = covered_since(vouched, policy)
            if since is None:
                continue
            entry = ledger.entry(name, stored.size, place)
            head = next(head for head in decode_set(entry).heads if head.origin == origin)
            entry_proof = ledger.hashes(name, stored.size, merkle.inclusion_ranges(place, stored.size))
            leaf_proof = ledger.hashes(origin, head.size, merkle.inclusion_ranges(index, head.size))
            merkle.verify_inclusion(place, stored.size, merkle.leaf(entry), entry_proof, root)
            leaf = merkle.leaf(ledger.entry(origin, head.size, index))
            merkle.verify_inclusion(index, head.size, leaf, leaf_proof, head.root)
            return Vouching(
                head,
                tuple(leaf_proof),
                name,
                place,
                entry,
                stored.size,
                note,
                tuple(entry_proof),
                tuple(evidence),
                *since,
            )
    return None


class _Sets:
    """Looks for sets in an anchor log without walking over it: sizes in sets never decrease."""

    def __init__(self, ledger: Ledger, origin: str, size: int) -> None:
        self._ledger, self._origin, self._size = ledger, origin, size

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
            first = decode_set(self._ledger.entry(self._origin, self._size, at))
            entries = [(at, first)]
            for step in (-1, 1):
                near = at + step
                while 1 <= near < self._size:
                    one = decode_set(self._ledger.entry(self._origin, self._size, near))
                    if one.sequence != first.sequence:
                        break
                    entries.append((near, one))
                    near += step
        except MalformedInput as error:
            raise VerificationError(f"{self._origin}: {error}", step="A2") from None
        except EvidenceIncomplete as error:
            raise EvidenceIncomplete(str(error), step="A2") from None
        for place, entry in entries:
            for head in entry.heads:
                if head.origin == log:
                    return place if head.size > index else None
        return None
