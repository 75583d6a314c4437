"""Writes ledger.v1.json: the bytes of docs/log-format.md, made without a line of the product.

    python tests/schemas/vectors/generate.py > tests/schemas/vectors/ledger.v1.json

Only the standard library and AES-GCM are used, so that the vectors are a second reading of the format and not a copy of
the first. All secrets are counting bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

METADATA = b'{"event_id":"0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11","tenant":"acme","model":"gpt-4o"}'
CONTENT = b'{"messages":[{"role":"user","content":"hi"}]}'
EVENT_ID = UUID("0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11").bytes
NAMESPACE = UUID("6f1d9a54-3c0e-5b8a-9d5e-0a4f6d1c7b20").bytes
TIME_MS = 1764014400123


def counting(start: int, size: int) -> bytes:
    return bytes(range(start, start + size))


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def commit(salt: bytes, part_type: int, data: bytes) -> bytes:
    return mac(salt, b"affidavit/commit/v1\x00" + struct.pack(">BQ", part_type, len(data)) + data)


def entry(kind: int, offset: int, commitments: dict[int, bytes]) -> bytes:
    head = struct.pack(">BBQQB", 1, kind, offset, TIME_MS, len(commitments))
    return head + b"".join(struct.pack(">B32s", *pair) for pair in sorted(commitments.items()))


def chain(leaves: list[bytes]) -> list[bytes]:
    values, last = [], bytes(32)
    for index, leaf in enumerate(leaves):
        last = sha256(b"affidavit/chain/v1\x00" + struct.pack(">Q", index) + last + leaf)
        values.append(last)
    return values


def part_key(subject_key: bytes, part_type: int) -> bytes:
    return mac(subject_key, b"affidavit/dek/v1\x00" + EVENT_ID + struct.pack(">BB", part_type, 1))


def sealed(part_type: int, salt: bytes, data: bytes, commitment: bytes) -> dict[str, Any]:
    subject_key, nonce = counting(0x60, 32), counting(0xA0, 12)
    key = part_key(subject_key, part_type)
    ciphertext = AESGCM(key).encrypt(nonce, salt + data, struct.pack(">B", part_type) + commitment)
    return {
        "type": part_type,
        "salt": salt,
        "data": data,
        "commitment": commitment,
        "subject_key": subject_key,
        "part_key": key,
        "nonce": nonce,
        "ciphertext": ciphertext,
    }


def event_id(*parts: str) -> bytes:
    named = b"".join(struct.pack(">I", len(part.encode())) + part.encode() for part in parts)
    digest = bytearray(hashlib.sha1(NAMESPACE + named).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def invalid(key: bytes, value: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    pieces = [key, value, *(piece for pair in sorted(headers) for piece in pair)]
    return sha256(b"affidavit/invalid/v1\x00" + b"".join(struct.pack(">Q", len(one)) + one for one in pieces))


def avro_long(value: int) -> bytes:
    coded, out = (value << 1) ^ (value >> 63), b""
    while coded > 0x7F:
        out, coded = out + bytes([coded & 0x7F | 0x80]), coded >> 7
    return out + bytes([coded])


def avro_bytes(value: bytes) -> bytes:
    return avro_long(len(value)) + value


def record(parts: list[dict[str, Any]]) -> bytes:
    out = EVENT_ID + avro_bytes(b"acme") + avro_bytes(b"standard") + avro_long(len(parts))
    for part in parts:
        out += avro_long(part["type"]) + counting(0xC0, 16) + avro_long(0) + part["nonce"]
        out += avro_bytes(part["ciphertext"]) + avro_long(len(part["data"])) + avro_bytes(b"")
    return out + avro_long(0)


def vectors() -> dict[str, Any]:
    salts = counting(0x00, 32), counting(0x20, 32)
    commitments = {1: commit(salts[0], 1, METADATA), 2: commit(salts[1], 2, CONTENT)}
    parts = [sealed(1, salts[0], METADATA, commitments[1]), sealed(2, salts[1], CONTENT, commitments[2])]
    headers = [(b"x", b"2"), (b"c", b"none"), (b"x", b"1")]
    stray = invalid(b"key", b"value", headers)
    entries = [
        {"kind": 0, "offset": 2**64 - 1, "commitments": {"1": commit(bytes(32), 1, b"{}")}},
        {"kind": 1, "offset": 42, "commitments": {"1": commitments[1], "2": commitments[2]}},
        {"kind": 2, "offset": 43, "commitments": {"1": commitments[1]}},
        {"kind": 3, "offset": 44, "commitments": {"3": stray}},
    ]
    for one in entries:
        one["time_ms"] = TIME_MS
        one["entry"] = entry(one["kind"], one["offset"], {int(key): value for key, value in one["commitments"].items()})
        one["leaf"] = sha256(b"\x00" + one["entry"])
    for one, value in zip(entries, chain([one["leaf"] for one in entries]), strict=True):
        one["chain"] = value
    ids = [("acme", "litellm", "chatcmpl-1", "prompt", "0"), ("", "", "", "", "7"), ("ä", "b", "cd", "e", "10")]
    return {
        "parts": parts,
        "entries": entries,
        "invalid": {"key": b"key", "value": b"value", "headers": headers, "digest": stray},
        "record": {"event_id": EVENT_ID, "key_id": counting(0xC0, 16), "bytes": record(parts)},
        "event_ids": [{"parts": list(one), "id": event_id(*one)} for one in ids],
        "longs": [
            {"value": value, "bytes": avro_long(value)}
            for value in (0, -1, 1, 63, -64, 64, 8191, 8192, TIME_MS, 2**63 - 1, -(2**63))
        ],
    }


def in_hex(node: Any) -> Any:
    match node:
        case bytes():
            return node.hex()
        case dict():
            return {key: in_hex(value) for key, value in node.items()}
        case list() | tuple():
            return [in_hex(value) for value in node]
    return node


if __name__ == "__main__":
    json.dump(in_hex(vectors()), sys.stdout, indent=2, ensure_ascii=True)
    sys.stdout.write("\n")
