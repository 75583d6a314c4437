#!/usr/bin/env python3
"""Verify an evidence bundle (affidavit.bundle/1). One file: Python 3.9+, and the package "cryptography". No network.

    python3 verify.py [--policy FILE] [--json] BUNDLE.zip

    B1  every file that the manifest lists is here with its SHA-256, and no other
    B2  the policy names a deployment, its keys, and who must vouch from outside
    B3  every record's entry is in a log whose checkpoint is signed: C2SP signed-note, tlog-checkpoint, tlog-proof
    B4  every part shown is what its entry commits to: HMAC-SHA256 under the salt
    B5  a checkpoint set states the record's log, and is itself in the anchor log, whose checkpoint is signed
    B6  what vouches for that checkpoint verifies (RFC 3161, C2SP tlog-cosignature, Rekor v2), and meets the policy;
        what a revoked key signed was vouched for before its revocation

Exit codes: 0 verified; 1 something contradicts; 2 something is missing; 3 usage. Give the policy that you got from
somebody you trust: the one in the bundle is only what its maker says.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

COMMIT_DOMAIN = b"affidavit/commit/v1\x00"


class Failure(Exception):
    """Something contradicts."""

    code = 1


class Absent(Failure):
    """Something that must be here is not."""

    code = 2


# --- signed notes, checkpoints, Merkle trees


class Key(NamedTuple):
    """A named Ed25519 key; ``kind`` 1 signs notes, 4 cosigns them."""

    name: str
    public: bytes
    kind: int

    @property
    def ident(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public).digest()[:4]


class Note(NamedTuple):
    """A signed note: its text, and name, key id and rest of each signature."""

    text: str
    signatures: list[tuple[str, bytes, bytes]]


class Checkpoint(NamedTuple):
    """Origin, size and root of a log."""

    origin: str
    size: int
    root: bytes


def unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Failure(f"{text[:40]!r} is not base64") from None


def parse_vkey(text: str) -> Key:
    name, _, rest = text.partition("+")
    ident, _, encoded = rest.partition("+")
    raw = unbase64(encoded)
    key = Key(name, raw[1:], raw[0] if raw else 0)
    if len(raw) != 33 or key.kind not in (1, 4) or key.ident.hex() != ident:
        raise Failure(f"{text[:80]!r} is not a verifier key")
    return key


def parse_signature(line: str) -> tuple[str, bytes, bytes]:
    dash, name, encoded = (*line.split(" "), "", "", "")[:3]
    raw = unbase64(encoded)
    if dash != "\u2014" or not name or len(raw) < 5:
        raise Failure(f"{line[:60]!r} is not a signature line")
    return name, raw[:4], raw[4:]


def parse_note(data: bytes) -> Note:
    text = data.decode()
    split = text.rindex("\n\n")
    return Note(text[: split + 1], [parse_signature(line) for line in text[split + 2 :].splitlines()])


def ed25519(public: bytes, signature: bytes, message: bytes, whose: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        raise Failure(f"the signature of {whose} does not verify") from None


def open_checkpoint(data: bytes, keys: list[Key]) -> Checkpoint:
    """The checkpoint of a note, signed by one of the keys under the log's own name."""
    return open_signed(data, keys)[0]


def open_signed(data: bytes, keys: list[Key]) -> tuple[Checkpoint, bytes]:
    """The same, and the key that signed."""
    note = parse_note(data)
    origin, size, root, *rest = note.text.split("\n")
    if rest != [""] or not size.isdigit():
        raise Failure(f"{origin}: not a checkpoint")
    known = [Key(origin, key.public, 1) for key in keys if origin == key.name or origin.startswith(key.name + "/")]
    found = b""
    for name, ident, signature in note.signatures:
        for key in known:
            if (name, ident) == (key.name, key.ident):
                ed25519(key.public, signature, note.text.encode(), origin)
                found = key.public
    if not found:
        raise Failure(f"{origin}: no key of the policy signed its checkpoint")
    return Checkpoint(origin, int(size), unbase64(root)), found


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def check_inclusion(index: int, head: Checkpoint, leaf: bytes, path: list[bytes]) -> None:
    """RFC 9162, section 2.1.3.2."""
    fn, sn, found = index, head.size - 1, leaf
    if not 0 <= index < head.size or any(len(one) != 32 for one in path):
        raise Failure(f"{head.origin}: no leaf {index} in a tree of {head.size}")
    for one in path:
        if sn == 0:
            raise Failure(f"{head.origin}: the proof of leaf {index} is too long")
        if fn & 1 or fn == sn:
            found = hashlib.sha256(b"\x01" + one + found).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + one).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn or found != head.root:
        raise Failure(f"{head.origin}: leaf {index} is not in the tree of size {head.size}")


def check_proof(data: bytes, leaf: bytes, keys: list[Key]) -> tuple[int, Checkpoint, bytes]:
    """A tlog-proof: index of the leaf, the checkpoint that it is in, and the key that signed."""
    head, _, note = data.partition(b"\n\n")
    first, *lines = head.decode().split("\n")
    lines = lines[1:] if lines and lines[0].startswith("extra ") else lines
    if first != "c2sp.org/tlog-proof@v1" or not lines or not lines[0].startswith("index "):
        raise Failure("not a tlog-proof")
    checkpoint, public = open_signed(note, keys)
    index = int(lines[0][6:])
    check_inclusion(index, checkpoint, leaf, [unbase64(line) for line in lines[1:]])
    return index, checkpoint, public


# --- the policy


class Policy(NamedTuple):
    """Who must sign and vouch (C2SP tlog-policy, and lines that begin with "#: ")."""

    logs: list[Key]
    witnesses: dict[str, Key]
    groups: list[tuple[str, int, list[str]]]
    quorum: str
    authorities: dict[str, list[bytes]]
    needed: int
    rekor: dict[str, Key]
    revoked: dict[bytes, datetime]

    def met(self, names: set[str]) -> bool:
        """Whether cosignatures of these witnesses meet the quorum."""
        for group, needed, members in self.groups:
            if sum(member in names for member in members) >= needed:
                names = names | {group}
        return self.quorum in ("", *names)


def parse_policy(data: bytes) -> Policy:
    policy = Policy([], {}, [], "", {}, -1, {}, {})
    quorums = 0
    for line in data.decode().splitlines():
        words = line[3:].split() if line.startswith("#: ") else [] if line.startswith("#") else line.split()
        if not words:
            continue
        kind, rest = words[0] if not line.startswith("#") else "", words[1:]
        if kind == "log":
            policy.logs.append(parse_vkey(rest[0]))
        elif kind == "witness":
            policy.witnesses[rest[0]] = parse_vkey(rest[1])
        elif kind == "group":
            count = {"all": len(rest) - 2, "any": 1}.get(rest[1]) or int(rest[1])
            policy.groups.append((rest[0], count, rest[2:]))
        elif kind == "quorum":
            quorums += 1
            policy = policy._replace(quorum="" if rest[0] == "none" else rest[0])
        elif line.startswith("#: "):
            policy = _own_rule(policy, words[0], rest)
        else:
            raise Failure(f"policy: {line[:60]!r} is no rule")
    if quorums != 1 or not policy.logs:
        raise Failure("policy: expected a log line and one quorum line")
    return policy if policy.needed >= 0 else policy._replace(needed=min(1, len(policy.authorities)))


def _own_rule(policy: Policy, kind: str, rest: list[str]) -> Policy:
    """A rule that tlog-policy has no words for."""
    if kind == "authority":
        policy.authorities[rest[0]] = [unbase64(one) for one in rest[1:]]
    elif kind == "authorities":
        return policy._replace(needed=int(rest[0]))
    elif kind == "rekor":
        policy.rekor[rest[0]] = parse_vkey(rest[1])
    elif kind == "revoked":
        policy.revoked[parse_vkey(rest[0]).public] = datetime.fromisoformat(rest[1].replace("Z", "+00:00"))
    elif kind != "max-age":
        raise Failure(f"policy: #: {kind} is no rule")
    return policy


# --- RFC 3161


class Der(NamedTuple):
    """One DER value: its tag, its content, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes

    def inner(self) -> list[Der]:
        return list(read_der(self.content))


def read_der(data: bytes) -> Iterator[Der]:
    at = 0
    while at < len(data):
        start, tag, length = at, data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise Failure("DER that is cut short")
        at += length
        yield Der(tag, data[at - length : at], data[start:at])


SHA2 = {
    "608648016503040201": hashes.SHA256(),
    "608648016503040202": hashes.SHA384(),
    "608648016503040203": hashes.SHA512(),
}
SIGNED_WITH = {
    "2a864886f70d01010b": hashes.SHA256(),
    "2a864886f70d01010c": hashes.SHA384(),
    "2a864886f70d01010d": hashes.SHA512(),
    "2a8648ce3d040302": hashes.SHA256(),
    "2a8648ce3d040303": hashes.SHA384(),
    "2a8648ce3d040304": hashes.SHA512(),
}
CONTENT_TYPE, MESSAGE_DIGEST = "2a864886f70d010903", "2a864886f70d010904"
SIGNING_CERTIFICATE_V2, TST_INFO = "2a864886f70d010910022f", "2a864886f70d0109100104"


def digest(kind: Any, data: bytes) -> bytes:
    done = hashes.Hash(kind)
    done.update(data)
    return done.finalize()


def check_token(response: bytes, message: bytes, certificate: bytes) -> datetime:
    """The time at which the authority with this certificate stamped ``message``."""
    status, token = next(read_der(response)).inner()
    if status.inner()[0].content not in (b"\x00", b"\x01"):
        raise Failure("a time-stamping authority said no")
    signed = token.inner()[1].inner()[0].inner()
    kind, wrapped = signed[2].inner()
    info = wrapped.inner()[0].content
    if kind.content.hex() != TST_INFO:
        raise Failure("not a time-stamp token")
    signers = signed[-1].inner()
    if len(signers) != 1:
        raise Failure(f"a token with {len(signers)} signers, expected one")
    fields = next(read_der(info)).inner()
    imprint, stamped = fields[2].inner()
    algorithm = SHA2.get(imprint.inner()[0].content.hex())
    if algorithm is None or stamped.content != digest(algorithm, message):
        raise Failure("a token over other bytes")
    _check_signer(signers[0].inner(), info, certificate)
    moment = fields[4].content.decode().rstrip("Z").partition(".")[0]
    return datetime.strptime(moment, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)


def _check_signer(signer: list[Der], info: bytes, certificate: bytes) -> None:
    """The signature of a token, under the pinned certificate and no other."""
    algorithm, attributes, signed_with, signature = signer[2], signer[3], signer[4], signer[5]
    hashed = SHA2.get(algorithm.inner()[0].content.hex())
    if hashed is None or attributes.tag != 0xA0:
        raise Failure("a token signed in a way that is not known here")
    values = {one.inner()[0].content.hex(): one.inner()[1].inner()[0] for one in attributes.inner()}
    if values[MESSAGE_DIGEST].content != digest(hashed, info) or values[CONTENT_TYPE].content.hex() != TST_INFO:
        raise Failure("a token whose signature is over something else")
    named = values.get(SIGNING_CERTIFICATE_V2)
    if named is not None:
        first = named.inner()[0].inner()[0].inner()
        kind = SHA2[first[0].inner()[0].content.hex()] if first[0].tag == 0x30 else hashes.SHA256()
        if next(one for one in first if one.tag == 0x04).content != digest(kind, certificate):
            raise Failure("a token of another certificate than the pinned one")
    message = b"\x31" + attributes.whole[1:]
    key = x509.load_der_x509_certificate(certificate).public_key()
    kind = SIGNED_WITH.get(signed_with.inner()[0].content.hex(), hashed)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.content, message, ec.ECDSA(kind))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature.content, message, padding.PKCS1v15(), kind)
        else:
            raise Failure("an authority with a kind of key that is not known here")
    except InvalidSignature:
        raise Failure("a token that the pinned authority did not sign") from None


def check_rekor(entry: bytes, message: bytes, log: Key) -> None:
    """An entry of a Rekor v2 log over ``message``."""
    found = json.loads(entry)
    body = unbase64(found["canonicalizedBody"])
    proof = found["inclusionProof"]
    head = open_checkpoint(proof["checkpoint"]["envelope"].encode(), [log])
    check_inclusion(int(proof["logIndex"]), head, leaf_hash(body), [unbase64(one) for one in proof.get("hashes", ())])
    spec = json.loads(body)["spec"]["hashedRekordV002"]
    if unbase64(spec["data"]["digest"]) != hashlib.sha256(message).digest():
        raise Failure("a Rekor entry over other bytes")
    key = serialization.load_der_public_key(unbase64(spec["signature"]["verifier"]["publicKey"]["rawBytes"]))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(unbase64(spec["signature"]["content"]), message, ec.ECDSA(hashes.SHA256()))


# --- the bundle


class Bundle:
    """The files of a bundle, in a ZIP file or unpacked."""

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._archive = None if path.is_dir() else zipfile.ZipFile(path)

    def names(self) -> set[str]:
        if self._archive is not None:
            names = self._archive.namelist()
            if len(names) != len(set(names)):
                raise Failure("a file is there twice")
            return set(names)
        assert self._folder is not None
        return {str(one.relative_to(self._folder)) for one in self._folder.rglob("*") if one.is_file()}

    def read(self, name: str) -> bytes:
        try:
            if self._archive is not None:
                return self._archive.read(name)
            assert self._folder is not None
            return (self._folder / name).read_bytes()
        except (KeyError, OSError):
            raise Absent(f"{name} is not here") from None


class Verification:
    """All steps over one bundle; ``problems`` has what is wrong, ``records`` what was found of each."""

    def __init__(self, bundle: Bundle, policy: bytes | None) -> None:
        self.bundle, self._given = bundle, policy
        self.problems: list[tuple[str, str, int]] = []
        self.records: list[dict[str, Any]] = []
        self.manifest: dict[str, Any] = {}
        self.policy_sha256 = ""
        self._anchors: dict[str, tuple[Checkpoint, list[tuple[datetime, str, str]]]] = {}

    def run(self) -> int:
        """Exit code."""
        try:
            self._check_files()
            policy = self._given if self._given is not None else self.bundle.read("policy")
            self.policy, self.policy_sha256 = parse_policy(policy), hashlib.sha256(policy).hexdigest()
        except Failure as error:
            self.problems.append(("B1" if not self.manifest else "B2", str(error), error.code))
            return error.code
        lines = self.bundle.read("records.jsonl").decode().splitlines()
        if len(lines) != self.manifest["records"] or not lines:
            self.problems.append(("B1", f"got {len(lines)} records, the manifest says {self.manifest['records']}", 2))
        for line in lines:
            record = json.loads(line)
            self.records.append(self._record(record))
        codes = [code for _, _, code in self.problems]
        return 1 if 1 in codes else 2 if codes else 0

    def _check_files(self) -> None:
        self.manifest = json.loads(self.bundle.read("manifest.json"))
        if self.manifest["schema"] != "affidavit.bundle/1":
            raise Failure(f"a bundle of another kind: {self.manifest['schema']}")
        listed = self.manifest["files"]
        names = self.bundle.names() - {"manifest.json"}
        for name in sorted(names | set(listed)):
            if name not in listed:
                self.problems.append(("B1", f"{name} is not in the manifest", 1))
            elif name not in names:
                self.problems.append(("B1", f"{name} is not here", 2))
            elif hashlib.sha256(self.bundle.read(name)).hexdigest() != listed[name]:
                self.problems.append(("B1", f"{name} was changed: its SHA-256 is not that of the manifest", 1))

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        entry, address = unbase64(record["entry"]), record["address"]
        found: dict[str, Any] = {
            "address": address,
            "event_id": record["event_id"],
            "parts": {},
            "time": None,
            "by": "",
        }
        for step, work in (("B3", self._entry), ("B4", self._parts), ("B6", self._anchor), ("B6", self._revoked)):
            try:
                work(record, entry, found)
            except Failure as error:
                self.problems.append((step, f"{address}: {error}", error.code))
            except (ValueError, KeyError, IndexError, TypeError, StopIteration, InvalidSignature) as error:
                self.problems.append((step, f"{address}: {type(error).__name__}: {error}", 1))
        found.pop("key", None)
        return found

    def _entry(self, record: dict[str, Any], entry: bytes, found: dict[str, Any]) -> None:
        """B3."""
        index, head, found["key"] = check_proof(self.bundle.read(record["proof"]), leaf_hash(entry), self.policy.logs)
        offset = int.from_bytes(entry[2:10], "big")
        topic, _, where = record["address"].partition("@")
        if (head.origin, index) != (record["origin"], record["index"]) or f"/{topic}/" not in f"/{head.origin}":
            raise Failure(f"the proof is of leaf {index} of {head.origin}")
        if str(offset) != where or offset != record["offset"]:
            raise Failure(f"the entry is of offset {offset}")
        received = int.from_bytes(entry[10:18], "big")
        found["received"] = datetime.fromtimestamp(received / 1000, timezone.utc).isoformat(timespec="milliseconds")

    def _parts(self, record: dict[str, Any], entry: bytes, found: dict[str, Any]) -> None:
        """B4. Entry: version, kind, offset, time, count, then part type and commitment of each."""
        commitments = {entry[at]: entry[at + 1 : at + 33] for at in range(19, len(entry), 33)}
        if entry[0] != 1 or entry[18] != len(commitments) or len(entry) != 19 + 33 * len(commitments):
            raise Failure("not an entry")
        said = {part["part_type"]: part for part in record["parts"]}
        if said.keys() != commitments.keys():
            raise Failure("the parts are not those of the entry")
        for kind, part in said.items():
            found["parts"][part["name"]] = part["status"]
            if part["file"] is None:
                continue
            data = self.bundle.read(part["file"])
            message = COMMIT_DOMAIN + bytes((kind,)) + len(data).to_bytes(8, "big") + data
            if hmac.new(bytes.fromhex(part["salt"]), message, hashlib.sha256).digest() != commitments[kind]:
                found["parts"][part["name"]] = "MISMATCH"
                raise Failure(f"{part['file']} is not what the entry commits to")

    def _anchor(self, record: dict[str, Any], entry: bytes, found: dict[str, Any]) -> None:
        """B5 and B6."""
        anchor = record["anchor"]
        wanted = bool(self.policy.quorum) or self.policy.needed > 0
        if anchor is None:
            if wanted:
                raise Absent("nobody vouches for it from outside, and the policy demands it")
            return
        stated = anchor["head"]
        head = Checkpoint(stated["origin"], stated["size"], bytes.fromhex(stated["root"]))
        if head.origin != record["origin"]:
            raise Failure("the set is about another log")
        check_inclusion(record["index"], head, leaf_hash(entry), [unbase64(one) for one in anchor["leaf_proof"]])
        taken = self.bundle.read(anchor["set"])
        if head not in read_set(taken):
            raise Failure("the checkpoint set does not state this head")
        _, anchored, _ = check_proof(self.bundle.read(anchor["set_proof"]), leaf_hash(taken), self.policy.logs)
        found["time"], found["by"] = self._vouched(anchor["folder"], anchored)
        if found["time"] is None and wanted:
            raise Absent("what vouches for it does not meet the policy")

    def _revoked(self, record: dict[str, Any], entry: bytes, found: dict[str, Any]) -> None:
        """B6, for keys that somebody else may have had."""
        since = self.policy.revoked.get(found.get("key", b""))
        if since is not None and (found["time"] is None or datetime.fromisoformat(found["time"]) >= since):
            raise Failure(f"its key is revoked since {since.isoformat()}, and nobody vouches that it existed before")

    def _vouched(self, folder: str, anchored: Checkpoint) -> tuple[str | None, str]:
        """Since when, and by whom, the checkpoint in a folder is vouched for."""
        if folder not in self._anchors:
            note = self.bundle.read(f"{folder}/checkpoint")
            names = sorted(name for name in self.bundle.names() if name.startswith(f"{folder}/"))
            self._anchors[folder] = (open_checkpoint(note, self.policy.logs), self._attestations(folder, names, note))
        head, times = self._anchors[folder]
        if head != anchored:
            raise Failure(f"{folder}: the checkpoint is not the one that the set is in")
        used = [one for one in times if one[2] == "tsa"][: self.policy.needed]
        cosigned = [one for one in times if one[2] == "witness"]
        enough = [n for n in range(len(cosigned) + 1) if self.policy.met({name for _, name, _ in cosigned[:n]})]
        if len(used) < self.policy.needed or not enough:
            return None, ""
        used = used + cosigned[: enough[0]] or times[:1]
        if not used:
            return None, ""
        return max(time for time, _, _ in used).isoformat(), ", ".join(name for _, name, _ in used)

    def _attestations(self, folder: str, names: list[str], note: bytes) -> list[tuple[datetime, str, str]]:
        """Time, name and kind of what vouches for a checkpoint, the earliest first."""
        times: list[tuple[datetime, str, str]] = []
        for path in names:
            kind, _, file = path[len(folder) + 1 :].partition("-")
            name = file.partition(".")[0]
            if kind == "tsa" and file.endswith(".tsr") and name in self.policy.authorities:
                certificate = self.policy.authorities[name][0]
                times.append((check_token(self.bundle.read(path), note, certificate), name, kind))
            elif kind == "rekor" and name in self.policy.rekor:
                check_rekor(self.bundle.read(path), note, self.policy.rekor[name])
            elif kind == "witness" and name in self.policy.witnesses:
                times.append((self._cosigned(self.bundle.read(path), note, self.policy.witnesses[name]), name, kind))
        return sorted(times)

    @staticmethod
    def _cosigned(lines: bytes, note: bytes, key: Key) -> datetime:
        for name, ident, payload in (parse_signature(line) for line in lines.decode().splitlines()):
            if (name, ident) == (key.name, key.ident):
                seconds = int.from_bytes(payload[:8], "big")
                message = f"cosignature/v1\ntime {seconds}\n{parse_note(note).text}".encode()
                ed25519(key.public, payload[8:], message, f"witness {name}")
                return datetime.fromtimestamp(seconds, timezone.utc)
        raise Failure(f"no cosignature of {key.name}")


def read_set(data: bytes) -> list[Checkpoint]:
    """The heads that a checkpoint set states."""
    if data[:2] != b"\x01\x20":
        raise Failure("not a checkpoint set")
    at, heads = 52, []
    for _ in range(int.from_bytes(data[50:52], "big")):
        start = at + 1
        at = start + data[at]
        size = int.from_bytes(data[at : at + 8], "big")
        heads.append(Checkpoint(data[start:at].decode(), size, data[at + 8 : at + 40]))
        at += 72
    return heads


def report(verification: Verification, code: int, given: bool) -> Iterator[str]:
    """The verdict, for people."""
    yield {0: "VERIFIED", 1: "DOES NOT VERIFY", 2: "INCOMPLETE"}.get(code, "ERROR")
    manifest = verification.manifest
    yield f"{manifest.get('deployment', '')}: {manifest.get('selection', '')}, made {manifest.get('created', '')}"
    yield f"by the policy with SHA-256 {verification.policy_sha256}"
    for record in verification.records:
        parts = ", ".join(f"{name} {status}" for name, status in record["parts"].items())
        since = f"existed at {record['time']} at the latest, by {record['by']}" if record["time"] else "nobody vouches"
        yield f"  {record['address']}  received {record.get('received', '?')}; {since}; {parts}"
    for step, message, _ in verification.problems:
        yield f"  {step} {message}"
    if not given:
        yield "The policy came with the bundle: its maker chose whom you believe. Give yours with --policy."


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Verify an evidence bundle, offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--policy", type=Path, help="whom to believe: the policy that you got another way")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    try:
        arguments = parser.parse_args()
        given = arguments.policy.read_bytes() if arguments.policy else None
        verification = Verification(Bundle(arguments.bundle), given)
    except SystemExit as stop:
        return 0 if stop.code == 0 else 3
    except (OSError, zipfile.BadZipFile) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 3
    code = verification.run()
    if arguments.json:
        problems = [
            {"step": step, "message": message, "exit_code": one} for step, message, one in verification.problems
        ]
        fields = {"exit_code": code, "policy": verification.policy_sha256, "records": verification.records}
        print(json.dumps({**fields, "problems": problems}, indent=1))
    else:
        print("\n".join(report(verification, code, given is not None)))
    return code


if __name__ == "__main__":
    sys.exit(main())
