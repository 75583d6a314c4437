"""A second verifier, written from ``docs/log-format.md`` and nothing else: no import of ours, the standard library and
one Ed25519 implementation. It is simple, not fast; it and the real one must agree about every ledger.

    problems = verify(objects, "audit.example.com+4ffeabe4+AQOh…", now_ms)      # objects: key → bytes
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FRESHNESS_MS = 60_000
MAX_STEP_BACK_MS = 60_000


class Failure(Exception):
    """A contradiction: exit code 1."""

    code = 1


class Absent(Failure):
    """Something is not there, or stale: exit code 2."""

    code = 2


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def exit_code(objects: Mapping[str, bytes], deployment_key: str, now_ms: int) -> int:
    """0, 1 or 2, for the whole ledger of a deployment."""
    codes = {problem.code for problem in verify(objects, deployment_key, now_ms)}
    return 1 if 1 in codes else 2 if codes else 0


def verify(objects: Mapping[str, bytes], deployment_key: str, now_ms: int) -> list[Failure]:
    """Everything that is wrong, at most one thing for each log."""
    deployment, public = parse_vkey(deployment_key)
    prefix = f"ledger/{deployment}/"
    logs = sorted(
        key.removeprefix("ledger/").removesuffix("/genesis.json")
        for key in objects
        if key.startswith(prefix) and key.endswith("/genesis.json")
    )
    anchors = [log for log in logs if re.fullmatch(re.escape(deployment) + r"/anchor/[0-9]{4}q[1-4][.0-9]*", log)]
    anchors.sort(key=order)
    problems: list[Failure] = []
    history: dict[str, list[tuple[int, bytes, bytes]]] = {}
    listed = False
    try:
        if not anchors:
            raise Absent("A1: no anchor log")
        history, listed = verify_anchors(objects, anchors, public, now_ms, problems), True
    except Failure as failure:
        problems.append(failure)
    shards = [log for log in logs if log not in anchors]
    problems += [Absent(f"A5: {log} is listed and is not here") for log in history if log not in shards]
    problems += links(objects, shards)
    records = 0
    for log in shards:
        try:
            opened = json.loads(objects[f"ledger/{log}/genesis.json"])["opened_ms"]
            if listed and log not in history and not _followed(log, history) and now_ms - opened > FRESHNESS_MS:
                problems.append(Absent(f"A5: {log} is not listed"))
            records += verify_shard(objects, log, public, history.get(log, []))
        except Failure as failure:
            problems.append(failure)
        except (ValueError, KeyError, TypeError) as error:
            problems.append(Failure(f"{log}: {error}"))
    if not records and not problems:
        problems.append(Absent("no record at all"))
    return problems


def order(log: str) -> tuple[str, str, int]:
    """Logs of one shard in the order of their opening."""
    shard, _, term = log.rpartition("/")
    quarter, _, number = term.partition(".")
    return shard, quarter, int(number or 1)


def links(objects: Mapping[str, bytes], logs: list[str]) -> list[Failure]:
    """Steps 15 and 16, over the logs of shards."""
    problems: list[Failure] = []
    before = ""
    for log in sorted(logs, key=order):
        try:
            genesis = json.loads(objects[f"ledger/{log}/genesis.json"])
            if before.rpartition("/")[0] != log.rpartition("/")[0]:
                before = ""
            last, before = before, log
            follow(objects, last, log, genesis["previous"])
            if genesis["previous"] is not None:
                end = (
                    json.loads(objects[f"ledger/{last}/genesis.json"])["start_offset"] + genesis["previous"]["size"] - 1
                )
                if genesis["start_offset"] != end:
                    raise Absent(f"16: {log} begins at {genesis['start_offset']}, {last} ended at {end}")
        except Failure as failure:
            problems.append(failure)
        except (ValueError, KeyError, TypeError) as error:
            problems.append(Failure(f"15: {log}: {error}"))
    return problems


def follow(objects: Mapping[str, bytes], last: str, log: str, previous: dict[str, object] | None) -> None:
    """Step 15: ``log`` follows ``last``, and names its end."""
    if previous is None:
        if last:
            raise Failure(f"15: {log} names no log before it")
        return
    if previous["origin"] != last:
        here = f"ledger/{previous['origin']}/genesis.json" in objects
        raise (Failure if here else Absent)(f"15: {log} follows {previous['origin']}")
    lines = objects[f"ledger/{last}/checkpoint"].decode().split("\n")
    size, root = int(lines[1]), base64.b64decode(lines[2]).hex()
    if size < int(str(previous["size"])):
        raise Absent(f"15: {last} ends at {size}")
    chain = chain_of(read_entries(objects, last, size))[-1].hex()
    if (size, root, chain) != (previous["size"], previous["root"], previous["chain"]):
        raise Failure(f"15: {log} follows another end of {last}")


def parse_vkey(text: str) -> tuple[str, bytes]:
    name, key_id, encoded = text.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if raw[0] != 1 or len(raw) != 33 or key_id != sha(name.encode() + b"\n" + raw)[:4].hex():
        raise Failure(f"not a verifier key: {text}")
    return name, raw[1:]


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha(b"")
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha(b"\x01" + root_of(hashes[:split]) + root_of(hashes[split:]))


def checkpoint(objects: Mapping[str, bytes], log: str, public: bytes) -> tuple[int, bytes]:
    """Steps 1 and 2."""
    data = objects.get(f"ledger/{log}/checkpoint")
    if data is None:
        raise Absent(f"1: {log} has no checkpoint")
    try:
        text, _, lines = data.decode().rpartition("\n\n")
        text += "\n"
        origin, decimal, encoded = text.removesuffix("\n").split("\n")
        root = base64.b64decode(encoded, validate=True)
        signed = False
        for line in lines.removesuffix("\n").split("\n"):
            dash, name, value = line.split(" ")
            raw = base64.b64decode(value, validate=True)
            if dash != "\u2014" or base64.b64encode(raw).decode() != value or not lines.endswith("\n"):
                raise Failure(f"1: {log}: not a signature line: {line}")
            if name == log and raw[:4] == sha(log.encode() + b"\n\x01" + public)[:4]:
                Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], text.encode())
                signed = True
    except (ValueError, InvalidSignature) as error:
        raise Failure(f"1: {log}: {error!r}") from error
    if not signed or base64.b64encode(root).decode() != encoded or str(int(decimal)) != decimal or len(root) != 32:
        raise Failure(f"1: {log}: not signed by the key, or badly spelt")
    if origin != log:
        raise Failure(f"2: {log}: of {origin}")
    if decimal == "0":
        raise Absent(f"2: {log}: empty")
    return int(decimal), root


def number(index: int) -> str:
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text


def tile(objects: Mapping[str, bytes], log: str, level: str, index: int, width: int) -> bytes | None:
    """A tile or bundle; ``None`` when it must be cut from the full one. Step 3."""
    path = f"ledger/{log}/tile/{level}/{number(index)}"
    if width < 256 and f"{path}.p/{width}" in objects:
        return objects[f"{path}.p/{width}"]
    if path not in objects:
        raise Absent(f"3: {path} ({width}) is not there")
    return None if width < 256 else objects[path]


def read_entries(objects: Mapping[str, bytes], log: str, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range((size + 255) // 256):
        width = min(256, size - 256 * index)
        data = tile(objects, log, "entries", index, width)
        found = split_bundle(objects[f"ledger/{log}/tile/entries/{number(index)}"] if data is None else data)
        if len(found) < width or (data is not None and len(found) != width):
            raise Failure(f"3: {log}: bundle {index} holds {len(found)} entries")
        entries += found[:width]
    return entries


def split_bundle(data: bytes) -> list[bytes]:
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    if at != len(data):
        raise Failure("3: a bundle is cut short")
    return entries


def check_tiles(objects: Mapping[str, bytes], log: str, leaves: list[bytes]) -> None:
    """Steps 6, 7 and 14."""
    level, hashes = 0, leaves
    expected: dict[str, bytes] = {}
    while hashes:
        for index in range((len(hashes) + 255) // 256):
            mine = b"".join(hashes[256 * index : 256 * index + 256])
            expected[f"ledger/{log}/tile/{level}/{number(index)}"] = mine
            data = tile(objects, log, str(level), index, len(mine) // 32)
            if data is not None and data != mine:
                raise Failure(f"{'7' if level else '6'}: {log}: tile {level}/{index}")
        hashes = [root_of(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    for key in objects:
        if not key.startswith(f"ledger/{log}/tile/"):
            continue
        match = re.fullmatch(r"(.*/tile/(?:entries|[0-9]+)/(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", key)
        if match is None:
            raise Failure(f"14: {key} belongs to no log")
        path, width = match[1], int(match[2] or 256)
        if "/entries/" in path:
            index = int(path.rpartition("/entries/")[2].replace("/", "").replace("x", ""))
            there = [sha(b"\x00" + entry) for entry in split_bundle(objects[key])]
            mine = b"".join(leaves[256 * index : 256 * index + 256])
            if len(mine) >= 32 * width and b"".join(there) != mine[: 32 * width]:
                raise Failure(f"14: {key}")
        elif len(expected.get(path, b"")) >= 32 * width and objects[key] != expected[path][: 32 * width]:
            raise Failure(f"14: {key}")


def verify_tree(objects: Mapping[str, bytes], log: str, public: bytes) -> tuple[dict[str, object], list[bytes], bytes]:
    """Steps 1 to 8 and 14; returns genesis document, entries and root."""
    size, root = checkpoint(objects, log, public)
    document = objects[f"ledger/{log}/genesis.json"]
    try:
        genesis = json.loads(document)
    except ValueError as error:
        raise Failure(f"4: {log}: {error}") from error
    if genesis["origin"] != log or parse_vkey(genesis["vkey"]) != (log, public):
        raise Failure(f"4: {log}: genesis of another log or key")
    entries = read_entries(objects, log, size)
    message = b"affidavit/commit/v1\x00\x10" + struct.pack(">Q", len(document)) + document
    commitment = hmac.digest(bytes(32), message, "sha256")
    head = struct.pack(">BBQQB", 1, 0, 2**64 - 1, genesis["opened_ms"], 1)
    if entries[0] != head + b"\x10" + commitment:
        raise Failure(f"4: {log}: entry 0 does not commit to the genesis document")
    leaves = [sha(b"\x00" + entry) for entry in entries]
    check_tiles(objects, log, leaves)
    if root_of(leaves) != root:
        raise Failure(f"8: {log}: root")
    return genesis, entries, root


def chain_of(entries: list[bytes]) -> list[bytes]:
    value, values = bytes(32), []
    for index, entry in enumerate(entries):
        value = sha(b"affidavit/chain/v1\x00" + struct.pack(">Q", index) + value + sha(b"\x00" + entry))
        values.append(value)
    return values


def verify_shard(objects: Mapping[str, bytes], log: str, public: bytes, heads: list[tuple[int, bytes, bytes]]) -> int:
    """Steps 1 to 11, 13 and 14 for a log of events or control; returns its records."""
    genesis, entries, _ = verify_tree(objects, log, public)
    last_ms = 0
    for index, entry in enumerate(entries[1:], 1):
        version, kind, offset, time_ms, count = struct.unpack_from(">BBQQB", entry)
        types = list(entry[19::33])
        if version != 1 or kind not in (3, 2 if "/control/" in log else 1) or len(entry) != 19 + 33 * count:
            raise Failure(f"5: {log}: entry {index}")
        if not 1 <= count <= 32 or types != sorted(set(types)) or 0 in types:
            raise Failure(f"5: {log}: entry {index}: part types {types}")
        if offset != int(str(genesis["start_offset"])) + index - 1:
            raise Failure(f"9: {log}: entry {index}: offset {offset}")
        if time_ms < last_ms - MAX_STEP_BACK_MS:
            raise Failure(f"10: {log}: entry {index}")
        last_ms = max(last_ms, time_ms)
    chain = chain_of(entries)
    leaves = [sha(b"\x00" + entry) for entry in entries]
    for size, root, value in heads:
        if size > len(entries):
            raise Absent(f"13: {log}: a set has seen size {size}")
        if root_of(leaves[:size]) != root or chain[size - 1] != value:
            raise Failure(f"13: {log}: another history at size {size}")
    return len(entries) - 1


def verify_anchors(
    objects: Mapping[str, bytes], logs: list[str], public: bytes, now_ms: int, problems: list[Failure]
) -> dict[str, list[tuple[int, bytes, bytes]]]:
    """Steps A1 to A4, and 15 between anchor logs; returns what the sets say of each log."""
    history: dict[str, list[tuple[int, bytes, bytes]]] = {}
    sets: list[tuple[int, int, dict[str, tuple[int, bytes, bytes]]]] = []
    last = ""
    for log in logs:
        genesis, entries, _ = verify_tree(objects, log, public)
        previous = genesis["previous"]
        assert previous is None or isinstance(previous, dict)
        follow(objects, last, log, previous)
        last = log
        read_sets(log, genesis, entries[1:], sets)
    if not sets:
        raise Absent(f"A2: {last}: no set")
    listed: set[str] = set()
    for sequence, _, heads in sets:
        if any(not _followed(log, heads) for log in listed - heads.keys()):
            raise Failure(f"A3: set {sequence} leaves out a log")
        for name, head in heads.items():
            before = history.setdefault(name, [])
            if before and (head[0] < before[-1][0] or (head[0] == before[-1][0] and head != before[-1])):
                raise Failure(f"A3: {name} at set {sequence}")
            before.append(head)
        listed = set(heads)
    if now_ms - sets[-1][1] > FRESHNESS_MS:
        problems.append(Absent(f"A4: {last}: last set is {now_ms - sets[-1][1]} ms old"))
    return history


def _followed(log: str, others: Iterable[str]) -> bool:
    """Whether another of the same shard, of a later term, is among them."""
    shard, term = log.rsplit("/", 1)
    later = [other.rsplit("/", 1) for other in others]
    return any(one == shard and _order(when) > _order(term) for one, when in later)


def _order(term: str) -> tuple[str, int]:
    quarter, _, number = term.partition(".")
    return quarter, int(number or 1)


def read_sets(
    log: str,
    genesis: dict[str, object],
    entries: list[bytes],
    sets: list[tuple[int, int, dict[str, tuple[int, bytes, bytes]]]],
) -> None:
    """Step A2: the sets of one anchor log, which go on where ``sets`` end."""
    expected = int(str(genesis["start_offset"]))
    last_ms = sets[-1][1] if sets else int(str(genesis["opened_ms"]))
    if sets and expected != sets[-1][0] + 1:
        raise Failure(f"A2: {log}: begins at set {expected}")
    began = len(sets)
    for data in entries:
        version, kind, sequence, time_ms, _, count = struct.unpack_from(">BBQQ32sH", data)
        at, heads = 52, {}
        for _ in range(count):
            length = data[at]
            name = data[at + 1 : at + 1 + length].decode("ascii")
            heads[name] = struct.unpack_from(">Q32s32s", data, at + 1 + length)
            at += 1 + length + 72
        if version != 1 or kind != 0x20 or at != len(data) or list(heads) != sorted(heads) or len(heads) != count:
            raise Failure(f"A2: {log}: not a checkpoint set")
        if len(sets) > began and sets[-1][0] == sequence:
            sets[-1][2].update(heads)
            continue
        if sequence != expected or time_ms < last_ms:
            raise Failure(f"A2: {log}: set {sequence}, expected {expected}")
        sets.append((sequence, time_ms, heads))
        expected, last_ms = sequence + 1, time_ms
