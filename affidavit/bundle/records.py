"""From addresses to what a bundle says of each record. Reads ledger and destination."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.entry import decode_entry
from schemas.errors import EvidenceIncomplete, VerificationError
from schemas.evidence import Evidence, Status
from schemas.ids import Offset, Shard, format_event_id
from schemas.parts import CONTENT, METADATA, SOURCE
from signer import merkle
from signer.disclosure import Disclosed, Discloser
from signer.entry_kinds import kind_name
from signer.ledger import Ledger
from signer.policy import Policy, policy_of
from signer.tlog_proof import TlogProof, format_proof
from signer.verify_event import verify_event
from signer.verify_parts import FAILURES, part_name
from signer.verify_records import Comparison
from signer.vouching import Voucher, Vouching
from stores.objects import Objects

FILE_NAMES = {METADATA: "metadata.avro", CONTENT: "content.json", SOURCE: "source.bin"}


@dataclass(frozen=True, slots=True)
class BundledRecord:
    """One record of a bundle.

    Attributes:
        address: ``<topic>/<partition>@<offset>``; ``name`` the same for file names.
        line: its line in ``records.jsonl``, without what its anchor adds.
        files: the files that it brings, in order.
        vouching: what vouches for it from outside; ``None`` where nothing does yet.
        metadata: its metadata part, where it is disclosed.
        statuses: by part.
    """

    address: str
    name: str
    line: dict[str, Any]
    files: tuple[tuple[str, bytes], ...]
    vouching: Vouching | None
    metadata: bytes
    statuses: dict[str, Status]


def bundled_records(
    objects: Objects, policy: Policy, comparison: Comparison, places: Sequence[tuple[Shard, int]]
) -> Iterator[BundledRecord]:
    """The records at these addresses, verified as they are read.

    Raises:
        VerificationError: one is not as its entry says; nothing that does not verify goes into a bundle.
        EvidenceIncomplete: one is not signed yet, or the destination does not hold it.
    """
    discloser, ledger, voucher = Discloser(comparison), Ledger(objects), Voucher(objects, policy)
    inside = policy_of(policy.trust)
    for shard, offset in places:
        report = verify_event(objects, inside, shard, offset)
        entry = ledger.entry(report.origin, report.size, report.index)
        parsed = decode_entry(entry)
        evidence = _held(comparison, shard, offset)
        parts = discloser.disclose(report.origin, report.index, parsed.kind, parsed.commitments, evidence)
        for one in parts:
            if one.finding.status in FAILURES:
                what = f"{part_name(one.finding.part_type)} {one.finding.status.value}"
                raise VerificationError(f"{shard}@{offset}: {what}: {one.finding.message or 'is not there'}", step="E4")
        proof = TlogProof(report.index, report.proof, ledger.checkpoint(report.origin))
        note = _note_of_size(ledger, report.origin, report.size, proof)
        vouching = voucher.find(report.origin, report.index)
        yield _record(shard, offset, report.origin, entry, parsed.kind, parsed.time_ms, evidence, parts, note, vouching)


def _note_of_size(ledger: Ledger, origin: str, size: int, proof: TlogProof) -> TlogProof:
    """The proof to the checkpoint that is published now, which may have grown since the record was verified."""
    from signer.checkpoint import parse_checkpoint
    from signer.note import parse_note

    now = parse_checkpoint(parse_note(proof.note).text).size
    if now == size:
        return proof
    hashes = ledger.hashes(origin, now, merkle.inclusion_ranges(proof.index, now))
    return TlogProof(proof.index, tuple(hashes), proof.note)


def _held(comparison: Comparison, shard: Shard, offset: int) -> Evidence:
    held = list(comparison.source.scan(shard, Offset(offset), Offset(offset + 1)))
    if len(held) != 1:
        raise EvidenceIncomplete(
            f"{shard}@{offset}: {comparison.source.name} holds it {len(held)} times, expected once"
        )
    return held[0]


def _record(
    shard: Shard,
    offset: int,
    origin: str,
    entry: bytes,
    kind: int,
    time_ms: int,
    evidence: Evidence,
    parts: Sequence[Disclosed],
    proof: TlogProof,
    vouching: Vouching | None,
) -> BundledRecord:
    name = f"{shard.topic}-{shard.partition}-{offset}"
    files: list[tuple[str, bytes]] = [(f"proofs/{name}.tlog-proof", format_proof(proof))]
    said: list[dict[str, Any]] = []
    metadata = b""
    for one in parts:
        part_type = one.finding.part_type
        where = None
        if one.part is not None:
            where = f"parts/{name}/{FILE_NAMES.get(part_type, f'part-{part_type:#04x}')}"
            files.append((where, one.part.data))
            metadata = one.part.data if part_type == METADATA else metadata
        said.append(
            {
                "part_type": part_type,
                "name": part_name(part_type),
                "status": one.finding.status.value,
                "message": one.finding.message,
                "salt": one.part.salt.hex() if one.part else None,
                "file": where,
            }
        )
    line = {
        "address": f"{shard}@{offset}",
        "origin": origin,
        "offset": offset,
        "index": proof.index,
        "kind": kind_name(kind),
        "time_ms": time_ms,
        "event_id": format_event_id(evidence.event_id) if len(evidence.event_id) == 16 else "",
        "entry": base64.b64encode(entry).decode(),
        "proof": f"proofs/{name}.tlog-proof",
        "parts": said,
    }
    statuses = {part_name(one.finding.part_type): one.finding.status for one in parts}
    return BundledRecord(str(line["address"]), name, line, tuple(files), vouching, metadata, statuses)
