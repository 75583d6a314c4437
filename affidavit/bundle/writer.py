"""Writing a bundle: one ZIP file, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from affidavit.bundle.readme import readme
from affidavit.bundle.records import BundledRecord
from schemas.errors import AffidavitError, ConfigurationError
from schemas.metadata_binary import decode_metadata
from signer.anchors import CHECKPOINT, parse_evidence_name
from signer.note import Note, format_note, parse_note, parse_signature
from signer.policy import Policy, format_policy
from signer.tlog_proof import TlogProof, format_proof
from signer.vouching import Vouching

SCHEMA = "affidavit.bundle/1"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Times inside say nothing that the manifest does not; without them the same records give the same bytes."""


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """What was written.

    Attributes:
        path: where; ``size`` its bytes, ``sha256`` of the file in hex.
        records: how many; ``unvouched`` of them nobody outside vouches for yet.
        parts: count by status.
    """

    path: Path
    size: int
    sha256: str
    records: int
    unvouched: int
    parts: Mapping[str, int]


@dataclass(slots=True)
class _Writing:
    """The files so far."""

    archive: zipfile.ZipFile
    digests: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        if name in self.digests:
            return
        self.digests[name] = hashlib.sha256(data).hexdigest()
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        self.archive.writestr(info, data)


def write_bundle(
    path: Path, records: Iterable[BundledRecord], policy: Policy, about: Mapping[str, Any]
) -> BundleSummary:
    """Write a bundle.

    Args:
        path: a file that must not exist.
        records: verified, in the order in which they shall stand.
        policy: goes with it.
        about: what was asked for, by whom and when: for the manifest.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
        AffidavitError: what a record raised; nothing is left behind.
    """
    if path.exists():
        raise ConfigurationError(f"{path} exists already: choose another name")
    scratch = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(scratch, "w") as archive:
            summary = _write(_Writing(archive), records, policy, about)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = scratch.stat().st_size
        os.link(scratch, path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return BundleSummary(path, size, digest, *summary)


def _write(
    out: _Writing, records: Iterable[BundledRecord], policy: Policy, about: Mapping[str, Any]
) -> tuple[int, int, dict[str, int]]:
    lines: list[str] = []
    counts: dict[str, int] = {}
    unvouched = 0
    for record in records:
        for name, data in record.files:
            out.add(name, data)
        if record.metadata:
            out.add(f"readable/{record.name}.json", _readable(record.metadata))
        anchor = _anchor(out, record.vouching) if record.vouching else None
        unvouched += anchor is None
        lines.append(json.dumps(record.line | {"anchor": anchor}))
        for status in record.statuses.values():
            counts[status.value] = counts.get(status.value, 0) + 1
    out.add("records.jsonl", "".join(f"{line}\n" for line in lines).encode())
    out.add("policy", format_policy(policy))
    out.add("README.txt", readme(policy, about, len(lines), unvouched, counts).encode())
    for name, source in (("verify.py", "standalone.py"), ("verify.html", "verify.html")):
        out.add(name, (files("affidavit.bundle") / source).read_bytes())
    manifest = {
        "schema": SCHEMA,
        **about,
        "deployment": policy.trust.deployment,
        "records": len(lines),
        "unvouched": unvouched,
        "parts": counts,
        "files": dict(out.digests),
    }
    out.add("manifest.json", json.dumps(manifest, indent=1, default=str).encode() + b"\n")
    return len(lines), unvouched, counts


def _anchor(out: _Writing, vouching: Vouching) -> dict[str, Any]:
    """Write what vouches for a record; what several share is written once."""
    folder = f"anchors/{vouching.anchor_origin.replace('/', '_')}-{vouching.anchor_size}"
    out.add(f"{folder}/{CHECKPOINT}", vouching.note)
    for file, evidence in vouching.evidence:
        out.add(f"{folder}/{file}", evidence)
    entry = f"{folder}/set-{vouching.index}"
    out.add(f"{entry}.bin", vouching.entry)
    proof = TlogProof(vouching.index, vouching.entry_proof, _cosigned(vouching))
    out.add(f"{entry}.tlog-proof", format_proof(proof))
    head = vouching.head
    return {
        "folder": folder,
        "origin": vouching.anchor_origin,
        "size": vouching.anchor_size,
        "set": f"{entry}.bin",
        "set_proof": f"{entry}.tlog-proof",
        "head": {"origin": head.origin, "size": head.size, "root": head.root.hex()},
        "leaf_proof": [base64.b64encode(one).decode() for one in vouching.leaf_proof],
        "time_ms": vouching.time_ms,
        "by": vouching.by,
    }


def _cosigned(vouching: Vouching) -> bytes:
    """The anchored checkpoint with the lines of its witnesses, as other tools expect it."""
    note = parse_note(vouching.note)
    lines = [
        parse_signature(line)
        for file, evidence in vouching.evidence
        if (parse_evidence_name(file) or ("",))[0] == "witness"
        for line in evidence.decode().splitlines()
    ]
    return format_note(Note(note.text, (*note.signatures, *lines)))


def _readable(metadata: bytes) -> bytes:
    """Metadata as JSON: what is set, in the order of the schema."""
    try:
        decoded = decode_metadata(metadata)
    except AffidavitError as error:
        return json.dumps({"unreadable": str(error)}).encode() + b"\n"
    fields = {name: value for name, value in decoded.items() if value not in (None, "", [], {})}
    return json.dumps(fields, indent=1, default=str, ensure_ascii=False).encode() + b"\n"
