"""Verifying one record against the log's checkpoint, in O(log n) (``docs/log-format.md`` §10).

::

    E1  the checkpoint of the record's log is signed (steps 1, 2 and 4 of :mod:`signer.verify`)
    E2  the entry at the record's index parses, and stands for its offset
    E3  the inclusion proof, from the tiles, leads from the entry to the root
    E4  each part is as its commitment says, or its absence is accounted for
    E5  what vouches from outside for the earliest head that covers the record verifies
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.entry import Entry, decode_entry
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.evidence import Status
from schemas.ids import Offset, Shard, format_event_id
from signer import merkle
from signer.checkpoint import Checkpoint
from signer.entry_kinds import kind_name
from signer.genesis import Genesis
from signer.ledger import Ledger, shard_logs
from signer.policy import Policy
from signer.report import Finding, worst
from signer.trust import Trust
from signer.verify import read_genesis
from signer.verify_parts import FAILURES, PartFinding, PartVerifier, part_name
from signer.verify_records import Comparison
from signer.verify_tree import read_checkpoint
from signer.vouching import Vouching, find_vouching
from stores.objects import Objects


@dataclass(frozen=True, slots=True)
class EventReport:
    """What is proven of one record.

    Attributes:
        shard, offset: its address on the bus; ``origin`` and ``index`` its address in the ledger.
        kind: ``event``, ``control`` or ``invalid``; ``time_ms`` its time on the bus.
        event_id: as the destination states it, ``""`` where none was asked or none holds the record.
        size, root: of the checkpoint that it was proven against; ``leaf`` and ``proof`` lead to the root.
        policy: SHA-256 of the policy that was used.
        vouched_ms, vouched_by: the earliest time that anchors from outside vouch for, and which; 0 where none does yet.
        statuses: of each part that the ledger commits to, by name; empty where no destination was asked.
        findings: what is wrong.
    """

    shard: Shard
    offset: int
    origin: str
    index: int
    kind: str
    time_ms: int
    event_id: str
    size: int
    root: bytes
    leaf: bytes
    proof: tuple[bytes, ...]
    statuses: dict[str, Status]
    findings: tuple[Finding, ...]
    vouched_ms: int = 0
    vouched_by: str = ""
    policy: bytes = b""

    @property
    def exit_code(self) -> int:
        return worst([finding.exit_code for finding in self.findings])

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; names and meaning of the fields do not change within a major version."""
        return {
            "shard": str(self.shard),
            "offset": self.offset,
            "origin": self.origin,
            "index": self.index,
            "kind": self.kind,
            "time_ms": self.time_ms,
            "event_id": self.event_id,
            "size": self.size,
            "root": self.root.hex(),
            "leaf": self.leaf.hex(),
            "proof": [item.hex() for item in self.proof],
            "vouched_ms": self.vouched_ms,
            "vouched_by": self.vouched_by,
            "policy": self.policy.hex(),
            "statuses": {name: status.value for name, status in self.statuses.items()},
            "exit_code": self.exit_code,
            "findings": [
                {"step": item.step, "message": item.message, "part": item.part, "where": item.where}
                for item in self.findings
            ],
        }


def verify_event(
    objects: Objects, policy: Policy, shard: Shard, offset: int, comparison: Comparison | None = None
) -> EventReport:
    """Prove one record.

    Args:
        objects: where the logs lie.
        policy: whose signatures count, and who vouches from outside.
        shard, offset: the record's address on the bus.
        comparison: the destination whose copy is compared; without it, only the entry is proven.

    Raises:
        VerificationError: the entry is not proven (E1 to E3).
        EvidenceIncomplete: no log holds it: not signed yet, or its log or a tile is not here.
    """
    ledger, trust = Ledger(objects), policy.trust
    origin, start, checkpoint = _log_of(ledger, trust, shard, offset)
    index = offset - start + 1
    data, entry = _entry(ledger, origin, checkpoint.size, index, offset)
    leaf = merkle.leaf(data)
    try:
        proof = ledger.hashes(origin, checkpoint.size, merkle.inclusion_ranges(index, checkpoint.size))
        merkle.verify_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)
    except EvidenceIncomplete as error:
        raise EvidenceIncomplete(str(error), step="E3") from None
    except VerificationError as error:
        raise VerificationError(f"{origin}: {error}", step="E3") from None
    event_id, found, where = _parts(origin, index, entry, shard, offset, comparison)
    findings = _findings(origin, offset, found, where)
    vouching, more = _vouching(objects, policy, origin, index, offset)
    return EventReport(
        shard,
        offset,
        origin,
        index,
        kind_name(entry.kind),
        entry.time_ms,
        event_id,
        checkpoint.size,
        checkpoint.root,
        leaf,
        tuple(proof),
        {part_name(item.part_type): item.status for item in found},
        (*findings, *more),
        vouching.time_ms if vouching else 0,
        vouching.by if vouching else "",
        policy.digest,
    )


def _vouching(
    objects: Objects, policy: Policy, origin: str, index: int, offset: int
) -> tuple[Vouching | None, tuple[Finding, ...]]:
    """Step E5."""
    try:
        vouching = find_vouching(objects, policy, origin, index)
    except VerificationError as error:
        return None, (Finding("E5", str(error), error.exit_code, origin, offset),)
    if vouching is None and policy.asks_for_anchors:
        message = f"nobody vouches for it yet: the policy demands {policy.demands()}"
        return None, (Finding("E5", message, EvidenceIncomplete.exit_code, origin, offset),)
    return vouching, ()


def _log_of(ledger: Ledger, trust: Trust, shard: Shard, offset: int) -> tuple[str, int, Checkpoint]:
    """The newest log of a shard that holds an offset, its first offset, and its checkpoint."""
    absent = ""
    later: Genesis | None = None
    for log in reversed(shard_logs(ledger.origins(trust.deployment), shard)):
        origin = str(log)
        genesis, _ = read_genesis(ledger, origin, trust)
        if genesis.start_offset <= offset:
            checkpoint = read_checkpoint(ledger, origin, trust)
            end = genesis.start_offset + checkpoint.size - 1
            if offset < end:
                return origin, genesis.start_offset, checkpoint
            absent = absent or _why_absent(origin, end, later)
        later = genesis
    raise EvidenceIncomplete(
        f"{shard} offset {offset}: {absent or f'no log of {trust.deployment} holds it'}", step="E1"
    )


def _why_absent(origin: str, end: int, later: Genesis | None) -> str:
    if later is None:
        return f"{origin} is signed up to offset {end - 1}"
    return f"never signed, between {origin} and {later.origin}, which says why: {later.reason}"


def _entry(ledger: Ledger, origin: str, size: int, index: int, offset: int) -> tuple[bytes, Entry]:
    try:
        data = ledger.entry(origin, size, index)
        entry = decode_entry(data)
    except EvidenceIncomplete as error:
        raise EvidenceIncomplete(str(error), step="E2") from None
    except MalformedInput as error:
        raise VerificationError(f"{origin}: entry {index}: {error}", step="E2") from None
    if entry.offset != offset:
        raise VerificationError(f"{origin}: entry {index}: got offset {entry.offset}, expected {offset}", step="E2")
    return data, entry


def _parts(
    origin: str, index: int, entry: Entry, shard: Shard, offset: int, comparison: Comparison | None
) -> tuple[str, Sequence[PartFinding], str]:
    if comparison is None:
        return "", [], ""
    verifier = PartVerifier(comparison.keys, comparison.fetch, comparison.erasures, comparison.source)
    held = list(comparison.source.scan(shard, Offset(offset), Offset(offset + 1)))
    if not held:
        return "", verifier.absent(origin, index, entry.commitments), comparison.source.name
    evidence = held[0]
    found = verifier.record(origin, index, entry.kind, entry.commitments, evidence)
    if len(held) > 1:
        found = [item._replace(status=Status.MISMATCH, message="the record is there more than once") for item in found]
    event_id = format_event_id(evidence.event_id) if len(evidence.event_id) == 16 else ""
    return event_id, found, evidence.where


def _findings(origin: str, offset: int, found: Sequence[PartFinding], where: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "E4",
            f"{item.status.value}: {item.message or 'is committed to and is not there'}",
            VerificationError.exit_code,
            origin,
            offset,
            part_name(item.part_type),
            where,
        )
        for item in found
        if item.status in FAILURES
    )
