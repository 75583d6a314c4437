"""Makes ``log-format.json`` and the worked example of ``docs/log-format.md``. Run it after a change of the format::

    python tests/signer/vectors/generate.py

Everything in it follows from a fixed key, fixed salts and fixed times.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.entry import CONTROL, EVENT, INVALID, Entry, encode_entry, invalid_commitments, pack_commitments
from schemas.parts import CONTENT, METADATA, commit
from signer import merkle
from signer.batch import EMPTY, chain_values, extend
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.checkpoint_set import CheckpointSet, LogHead, encode_set
from signer.cosignature import cosign
from signer.genesis import Genesis, Predecessor, format_genesis, genesis_entry
from signer.keyfile import FileKey, deployment_vkey, fingerprint
from signer.ledger import ledger_key
from signer.note import COSIGNATURE_V1, Note, VerifierKey, format_note, format_vkey, parse_note
from signer.staging import Staged, encode_staging, staging_key

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "log-format.json"
DOCUMENT = HERE.parents[2] / "docs" / "log-format.md"
BEGIN, END = "<!-- example -->\n", "<!-- end of example -->"

KEY = FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
DEPLOYMENT = "audit.example.com"
ORIGIN = f"{DEPLOYMENT}/events/0/2026q4"
OPENED_MS = 1_764_014_400_000
SALTS = (bytes(range(32)), bytes(range(32, 64)))
PARTS = (
    (METADATA, b'{"event_id":"0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11","tenant":"acme","model":"gpt-4o"}'),
    (CONTENT, b'{"messages":[{"role":"user","content":"hi"}]}'),
)
STRAY = (b"someone", b"not a record", [("trace", b"1")])
LEAVES = 300


def genesis(previous: Predecessor | None = None) -> Genesis:
    vkey = format_vkey(VerifierKey(ORIGIN, KEY.public_key))
    schema = hashlib.sha256(b"a schema file").hexdigest()
    return Genesis(
        ORIGIN,
        vkey,
        OPENED_MS,
        "0b1c2d3e",
        0,
        (("metadata.v1", schema),),
        previous,
        "first log of this shard",
    )


def example_entries() -> list[bytes]:
    """Genesis, one event with two parts, one message that is no record."""
    document = format_genesis(genesis())
    commitments = [(kind, commit(salt, kind, data)) for salt, (kind, data) in zip(SALTS, PARTS, strict=True)]
    event = Entry(EVENT, 0, OPENED_MS + 123, pack_commitments(commitments))
    stray = Entry(INVALID, 1, OPENED_MS + 124, invalid_commitments(*STRAY))
    return [genesis_entry(document, OPENED_MS), encode_entry(event), encode_entry(stray)]


def long_log() -> list[bytes]:
    """A log that fills a tile: entries whose commitments are hashes of their index."""
    head = example_entries()
    return head + [
        encode_entry(Entry(EVENT, index - 1, OPENED_MS + 200 + index, b"\x01" + hashlib.sha256(b"%d" % index).digest()))
        for index in range(len(head), LEAVES)
    ]


def vectors() -> dict[str, Any]:
    """All vectors, as JSON types; bytes are hex."""
    document = format_genesis(genesis())
    later = format_genesis(genesis(Predecessor(f"{DEPLOYMENT}/events/0/2026q3", 9, b"\x0a" * 32, b"\x0b" * 32)))
    log = long_log()
    leaves = merkle.leaves(log)
    short, whole = extend(EMPTY, log[:3]), extend(EMPTY, log)
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, short.root), KEY)
    witness = "witness.example.com/w1"
    parsed = parse_note(note)
    cosigned = format_note(
        Note(parsed.text, (*parsed.signatures, cosign(parsed.text, witness, OPENED_MS // 1000, KEY)))
    )
    head = LogHead(ORIGIN, 3, short.root, short.head.chain)
    other = LogHead(f"{DEPLOYMENT}/control/0/2026q4", 1, b"\x0a" * 32, b"\x0b" * 32)

    def full(start: int, end: int) -> bytes:
        return merkle.root_of(leaves[start:end])

    return {
        "seed": bytes(range(32)).hex(),
        "public_key": KEY.public_key.hex(),
        "fingerprint": fingerprint(KEY.public_key),
        "deployment_vkey": deployment_vkey(KEY, DEPLOYMENT),
        "origin": ORIGIN,
        "vkey": genesis().vkey,
        "genesis": document.decode(),
        "genesis_with_predecessor": later.decode(),
        "commitments": [
            {"salt": salt.hex(), "type": kind, "part": data.decode(), "commitment": commit(salt, kind, data).hex()}
            for salt, (kind, data) in zip(SALTS, PARTS, strict=True)
        ],
        "stray": {"key": STRAY[0].decode(), "value": STRAY[1].decode(), "headers": {"trace": "1"}},
        "control_entry": encode_entry(Entry(CONTROL, 7, OPENED_MS, b"\x01" + b"\x0c" * 32)).hex(),
        "entries": [entry.hex() for entry in log],
        "leaves": [item.hex() for item in leaves],
        "chain": [item.hex() for item in chain_values(0, bytes(32), leaves)],
        "roots": {
            str(size): merkle.root_of(leaves[:size]).hex() for size in (0, 1, 2, 3, 4, 7, 8, 255, 256, 257, LEAVES)
        },
        "objects": {path: hashlib.sha256(data).hexdigest() for path, data in whole.objects},
        "inclusion": {
            f"{index} in {size}": [
                merkle.range_hash(start, end, full).hex() for start, end in merkle.inclusion_ranges(index, size)
            ]
            for index, size in ((0, 1), (0, 3), (2, 3), (255, 256), (256, 257), (299, 300), (17, 300))
        },
        "consistency": {
            f"{old} to {new}": [
                merkle.range_hash(start, end, full).hex() for start, end in merkle.consistency_ranges(old, new)
            ]
            for old, new in ((1, 3), (2, 3), (3, 3), (3, 300), (256, 300), (257, 300), (299, 300))
        },
        "checkpoint": note.decode(),
        "cosigned_checkpoint": cosigned.decode(),
        "witness_vkey": format_vkey(VerifierKey(witness, KEY.public_key, COSIGNATURE_V1)),
        "checkpoint_set": encode_set(CheckpointSet(0, OPENED_MS + 10_000, (other, head))).hex(),
        "staging_key": staging_key(ORIGIN, 3, short.root),
        "staging": encode_staging(Staged(0, 3, short.objects)).hex(),
    }


def example(found: dict[str, Any]) -> str:
    """The worked example, as Markdown."""
    short = extend(EMPTY, example_entries())
    lines = [
        "The deployment key that an auditor pins, and the key of the log that follows from it:",
        "",
        f"    {found['deployment_vkey']}",
        f"    {found['vkey']}",
        "",
        f"The genesis document, {len(found['genesis'])} bytes, in `{ledger_key(ORIGIN, 'genesis.json')}`:",
        "",
        "```json",
        found["genesis"].rstrip("\n"),
        "```",
        "",
        "Entry 0 commits to it, entry 1 is an event with two parts, entry 2 a message that is no record:",
        "",
        *(
            line
            for item in found["commitments"]
            for line in (
                f"    part {item['type']}, salt {item['salt']}",
                f"      {item['part']}",
                f"      commitment {item['commitment']}",
            )
        ),
        f"    message with key {STRAY[0].decode()!r}, value {STRAY[1].decode()!r}, header trace = '1'",
        "",
    ]
    for index in range(3):
        lines += [
            f"    entry {index}  {found['entries'][index]}",
            f"    leaf {index}   {found['leaves'][index]}",
            f"    chain {index}  {found['chain'][index]}",
        ]
    lines += ["", f"    root of 3 leaves  {found['roots']['3']}", "", "The objects of the log at size 3:", ""]
    lines += [f"    {path:24} {data.hex()}" for path, data in short.objects]
    lines += ["", "Its checkpoint:", "", "```", found["checkpoint"].rstrip("\n"), "```", ""]
    lines += [
        "The proof that entry 2 is in it, and that size 2 is a beginning of size 3:",
        "",
        *(f"    inclusion    {item}" for item in found["inclusion"]["2 in 3"]),
        *(f"    consistency  {item}" for item in found["consistency"]["2 to 3"]),
        "",
        "A checkpoint set over this log and one other:",
        "",
        f"    {found['checkpoint_set']}",
        "",
    ]
    return "\n".join(lines)


def document_with(text: str, body: str) -> str:
    """The document with the example in its place."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + body + "\n" + END + rest.partition(END)[2]


def main() -> None:
    found = vectors()
    VECTORS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    DOCUMENT.write_text(document_with(DOCUMENT.read_text("utf-8"), example(found)), "utf-8")


if __name__ == "__main__":
    main()
