"""Reads affidavit.events with nothing of Affidavit's: the published schemas, and the keys that were handed out.

    affidavit schemas export ./schemas
    affidavit keys export --tenant acme --month 2026-11 --out acme.keys
    python consume.py --kafka broker:9092 --schemas ./schemas --keys acme.keys

Prints one JSON line per message. docs/consuming.md explains every step.
"""

import argparse
import asyncio
import hashlib
import hmac
import io
import json
import uuid
from pathlib import Path
from types import SimpleNamespace

import fastavro
import zstandard
from aiokafka import AIOKafkaConsumer
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from fastavro.schema import fingerprint, to_parsing_canonical_form

PARTS = {1: "metadata", 2: "content", 3: "source"}
METADATA = "metadata.v1"  # what record.v1 has in its first part
MANIFEST = 1 << 18  # a manifest of codec 2 is at most so much longer than its part


def load_schemas(folder):
    """Every .avsc by its CRC-64-AVRO fingerprint, as header s spells it: eight bytes, little-endian."""
    found = {}
    for path in Path(folder).glob("*.avsc"):
        schema = json.loads(path.read_text())
        crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
        found[crc] = (path.stem, fastavro.parse_schema(schema))
    return found


def load_dictionary(folder):
    """What metadata is compressed with."""
    return zstandard.ZstdCompressionDict((Path(folder) / f"{METADATA}.dict").read_bytes())


def load_keys(path):
    """Subject keys by their id."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return {bytes.fromhex(line["key_id"]): bytes.fromhex(line["key"]) for line in lines}


def decode(schema, data):
    """One Avro value and nothing behind it. What foreign bytes make a decoder raise is anybody's guess."""
    stream = io.BytesIO(data)
    try:
        value = fastavro.schemaless_reader(stream, schema)
    except Exception as error:
        raise ValueError(f"not {schema['name']}: {error!r}") from error
    if stream.read(1):
        raise ValueError("bytes behind the value")
    return value


def header(message, name):
    """A header that is there once. Kafka allows several of one name, and null."""
    found = [value for other, value in message.headers if other == name]
    return found[0] or b"" if len(found) == 1 else b""


def read_commitments(raw):
    """Header c: n times one byte of part type and 32 bytes of commitment, types ascending. None: it is not that."""
    types = raw[::33]
    valid = 0 < len(raw) <= 33 * 32 and len(raw) % 33 == 0 and list(types) == sorted(set(types)) and types[0]
    return {part_type: raw[33 * at + 1 : 33 * at + 33] for at, part_type in enumerate(types)} if valid else None


def open_part(part, event_id, commitment, known, place):
    """The plain bytes of a part. Raises when they are not what was committed to."""
    part_type = bytes([part["type"]])
    key = HKDFExpand(SHA256(), 32, b"affidavit/dek/v1\0" + event_id + part_type).derive(known.keys[part["key_id"]])
    plain = AESGCM(key).decrypt(part["nonce"], part["ciphertext"], part_type + commitment)
    salt, data = plain[:32], unpack(part, plain[32:], known, place)
    text = b"affidavit/commit/v1\0" + part_type + len(data).to_bytes(8, "big") + data
    if len(data) != part["size"] or hmac.digest(salt, text, "sha256") != commitment:
        raise ValueError(f"the bytes of codec {part['codec']} do not match their commitment")
    return data


def unpack(part, data, known, place):
    """The bytes of a part under its codec. Sources of 4 KB and more are kept: later ones may repeat them."""
    codec, runs, schemas = part["codec"], [], dict(known.schemas.values())
    if codec:
        if not 0 < zstandard.frame_content_size(data) <= part["size"] + MANIFEST:
            raise ValueError(f"not a zstd frame of {part['size']} bytes")
        data = zstandard.ZstdDecompressor(dict_data=known.dictionary if codec == 3 else None).decompress(data)
    if codec == 4:
        runs, codec, _, data = decode(schemas["shared.v1"], data).values()
    chunks = decode(schemas["chunks.v1"], data) if codec == 2 else None
    own = chunks["own"] if chunks else data
    if part["type"] == 3 and (chunks or len(own) >= 4096):
        known.seen[place] = own
    if chunks:
        places = [(one["partition"], one["offset"]) for one in chunks["records"]]
        held = [*(known.seen.get(one) for one in places), own]  # record -1 is the last: the part's own bytes
        if None in held:
            raise LookupError("read partition {} offset {} first".format(*places[held.index(None)]))
        data = b"".join(held[one["record"]][one["start"] : one["start"] + one["length"]] for one in chunks["pieces"])
    for run in reversed(runs):  # the last first, so that the places of the others stay what they are
        blob = known.objects / "blobs" / Path(part["address"].split()[run["blob"]]).name
        frame = AESGCM(run["key"]).decrypt(bytes(12), blob.read_bytes(), b"affidavit/run/v1\0")
        if zstandard.frame_content_size(frame) != run["size"]:
            raise ValueError(f"not a run of {run['size']} bytes")
        data = data[: run["at"]] + zstandard.ZstdDecompressor().decompress(frame) + data[run["at"] :]
    return data


def leaf_hash(message, commitments):
    """The leaf of the Merkle tree that stands for this message: docs/log-format.md, sections 3.2 and 3.6."""
    kind = 2 if message.topic.endswith("control") else 1
    entry = bytes([1, kind]) + message.offset.to_bytes(8, "big") + message.timestamp.to_bytes(8, "big")
    return hashlib.sha256(b"\0" + entry + bytes([len(commitments) // 33]) + commitments).hexdigest()


def read_part(part, record, commitments, known, place):
    """What is known of one part: its status, and its value where we may have it."""
    if (commitment := commitments.get(part["type"])) is None:
        return {"status": "MISMATCH", "reason": "in the record, and not committed to"}
    if part["key_id"] not in known.keys:
        return {"status": "SEALED"}
    if part["address"]:
        blobs = [known.objects / "blobs" / Path(address).name for address in part["address"].split()]
        if not all(blob.is_file() for blob in blobs):
            return {"status": "ELSEWHERE", "address": part["address"]}
        part = part if part["codec"] == 4 else {**part, "ciphertext": blobs[0].read_bytes()}
    try:
        data = open_part(part, record["event_id"], commitment, known, place)
        text, metadata = data.decode("utf-8", "replace"), dict(known.schemas.values())[METADATA]
        value = decode(metadata, data) if part["type"] == 1 else json.loads(data) if part["type"] == 2 else text
        return {"status": "OK", "value": value}
    except (InvalidTag, ValueError, LookupError, zstandard.ZstdError) as error:
        status = "REPEATS" if isinstance(error, LookupError) else "MISMATCH"
        return {"status": status, "reason": str(error) or type(error).__name__}


def read_message(message, known):
    """One message as a dict. Nothing on the bus makes it raise: anybody may have written there."""
    line = {"partition": message.partition, "offset": message.offset, "bus_time_ms": message.timestamp}
    raw, crc = header(message, "c"), header(message, "s")
    if (commitments := read_commitments(raw)) is None:
        return {**line, "status": "INVALID"}  # no record: the ledger commits to the raw message, section 3.3
    line["leaf"] = leaf_hash(message, raw)
    name, schema = known.schemas.get(crc, ("", None))
    if not name.startswith("record."):
        return {**line, "status": "UNKNOWN_SCHEMA", "fingerprint": crc.hex()}
    try:
        record = decode(schema, message.value or b"")
    except ValueError as error:
        return {**line, "status": "UNDECODABLE", "reason": str(error)}
    place = message.partition, message.offset
    parts = {PARTS.get(part_type, part_type): {"status": "MISSING"} for part_type in commitments}
    for part in record["parts"]:
        parts[PARTS.get(part["type"], part["type"])] = read_part(part, record, commitments, known, place)
    line |= {"event_id": str(uuid.UUID(bytes=record["event_id"])), "tenant": record["tenant"]}
    return {**line, "status": "OK", "parts": parts}


async def main(asked):
    known = SimpleNamespace(seen={}, objects=Path(asked.objects), keys=load_keys(asked.keys) if asked.keys else {})
    known.schemas, known.dictionary = load_schemas(asked.schemas), load_dictionary(asked.schemas)
    async with AIOKafkaConsumer(asked.topic, bootstrap_servers=asked.kafka, auto_offset_reset="earliest") as consumer:
        while batch := await consumer.getmany(timeout_ms=asked.until_silent_ms):
            for message in [message for messages in batch.values() for message in messages]:
                print(json.dumps(read_message(message, known), default=str), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = {"--kafka": None, "--topic": "affidavit.events", "--schemas": None, "--keys": "", "--objects": ""}
    for option, default in options.items():
        parser.add_argument(option, default=default, required=default is None)
    parser.add_argument("--until-silent-ms", type=int, default=10_000)
    asyncio.run(main(parser.parse_args()))
