"""Writes chunks.v1.json: parts of codec 2 and 3 (docs/log-format.md §8), made without a line of the product.

    python tests/schemas/vectors/generate_chunks.py > tests/schemas/vectors/chunks.v1.json

Only the standard library and AES-GCM are used. The zstd frame of the manifest is written by hand, as one block that is
not compressed (RFC 8878 §3.1.1). The frame of metadata was made once with the dictionary, and is here to be read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

EVENT_ID = UUID("0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11").bytes
SUBJECT_KEY = bytes(range(32))
RECORDS = [
    (0, 7, b'{"messages":[{"role":"user","content":"hi"}]}'),
    (0, 300, b'{"role":"assistant","content":"hello"}'),
]
OWN = b',,{"role":"user","content":"bye"}'
PIECES = [(0, 0, 43), (-1, 0, 1), (1, 0, 38), (-1, 1, 1), (-1, 2, 31), (0, 43, 2)]
METADATA = bytes.fromhex(
    "4836313039356464312d333361612d356636382d616234382d3261343132663834646135660c70726f6d70740861636d650c63616c6c2d31"
    "1273657373696f6e2d310000000000000000000000000c63616c6c2d3100000000009091f8b8ede2ac060000009091f8b8ede2ac0600000e"
    "6c6974656c6c6d000e6c6974656c6c6d00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "001e636c617564652d736f6e6e65742d35000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000e64656661756c740000"
)
METADATA_FRAME = bytes.fromhex(
    "28b52ffd600d00750200f3c2070c0324bb78226d6df17a39564f93971ec56c1d855e9fb5764f3ad78e892c0112fce57a20d6275cc5d821fb"
    "12f8675682e984bd0c7c0e989d3520a95a333b9e69f56e655dcd942a90a39808"
)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def number(value: int) -> bytes:
    """Avro: zigzag, base 128, least significant group first."""
    coded, out = value * 2 if value >= 0 else -value * 2 - 1, b""
    while coded > 127:
        out, coded = out + bytes([coded % 128 + 128]), coded // 128
    return out + bytes([coded])


def array(items: list[bytes]) -> bytes:
    return (number(len(items)) + b"".join(items) if items else b"") + b"\0"


def manifest(own: bytes) -> bytes:
    records = [number(partition) + number(offset) for partition, offset, _ in RECORDS]
    pieces = [b"".join(map(number, piece)) for piece in PIECES]
    return array(records) + array(pieces) + number(len(own)) + own


def frame(data: bytes) -> bytes:
    """A zstd frame: magic, single segment with a size of one byte, one raw block, the last."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def part(part_type: int, codec: int, data: bytes, packed: bytes, salt: bytes) -> dict[str, object]:
    commitment = mac(salt, b"affidavit/commit/v1\0" + struct.pack(">BQ", part_type, len(data)) + data)
    key = mac(SUBJECT_KEY, b"affidavit/dek/v1\0" + EVENT_ID + bytes([part_type, 1]))
    nonce = bytes(range(200, 212))
    sealed = AESGCM(key).encrypt(nonce, salt + packed, bytes([part_type]) + commitment)
    return {
        "type": part_type,
        "codec": codec,
        "data": data.hex(),
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "commitment": commitment.hex(),
        "part_key": key.hex(),
        "ciphertext": sealed.hex(),
    }


def joined() -> bytes:
    held = [own for _, _, own in RECORDS]
    return b"".join((OWN if record < 0 else held[record])[start : start + length] for record, start, length in PIECES)


def main() -> None:
    written = manifest(OWN)
    vectors = {
        "event_id": EVENT_ID.hex(),
        "records": [{"partition": one, "offset": two, "own": three.hex()} for one, two, three in RECORDS],
        "pieces": PIECES,
        "own": OWN.hex(),
        "manifest": written.hex(),
        "parts": [
            part(3, 2, joined(), frame(written), bytes(range(64, 96))),
            part(1, 3, METADATA, METADATA_FRAME, bytes(range(96, 128))),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
