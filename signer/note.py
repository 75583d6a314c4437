"""Signed notes and their keys (C2SP signed-note). Pure.

A note is text that ends with a line break, an empty line, and signature lines ``— <name> <base64>``. What is signed is
the text with its last line break. A key has a name, because a signature is only worth what its name promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import MalformedInput, VerificationError
from signer import strict_base64

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
"""Signature types. A cosignature signs a timestamp with the text, see :mod:`signer.cosignature`."""

KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32

MAX_SIGNATURES = 100
"""The limit of other implementations; a note must be read at least up to 16 signatures."""

_DASH = "\u2014 "


class SigningKey(Protocol):
    """An Ed25519 key that signs. A file today (:mod:`signer.keyfile`); a KMS or an HSM needs only these two."""

    @property
    def public_key(self) -> bytes:
        """32 raw bytes (RFC 8032)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes of pure Ed25519, which are the same for the same message. May block on a remote service; raises
        :class:`~schemas.errors.Unavailable` when that cannot be reached."""
        ...


class Signature(NamedTuple):
    """A signature line: who claims to have signed, with which key, and the bytes after the key id."""

    name: str
    key_id: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as parsed; nothing in it has been verified. ``text`` ends with a line break."""

    text: str
    signatures: tuple[Signature, ...]


class VerifierKey(NamedTuple):
    """A named public key. ``algorithm`` is :data:`ED25519` or :data:`COSIGNATURE_V1`, ``public_key`` 32 raw bytes."""

    name: str
    public_key: bytes
    algorithm: int = ED25519

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.public_key, self.algorithm)


def key_id(name: str, public_key: bytes, algorithm: int = ED25519) -> bytes:
    """The four bytes that name a key on a signature line: SHA-256 over name, line break, type, public key."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((algorithm,)) + public_key).digest()[:KEY_ID_BYTES]


def is_key_name(name: str) -> bool:
    """Whether a name may stand on a signature line: not empty, no space, no ``+``, no control character."""
    return bool(name) and not any(char.isspace() or char == "+" or char < " " for char in name) and _is_utf8(name)


def format_vkey(key: VerifierKey) -> str:
    """``<name>+<key id in hex>+<base64(type ‖ public key)>``, the text form of a verifier key."""
    if not is_key_name(key.name) or len(key.public_key) != PUBLIC_KEY_BYTES:
        raise MalformedInput(f"got key name {key.name!r}, expected a name without spaces and '+', and 32 bytes of key")
    return f"{key.name}+{key.key_id.hex()}+{strict_base64.encode(bytes((key.algorithm,)) + key.public_key)}"


def parse_vkey(text: str) -> VerifierKey:
    """Read what :func:`format_vkey` wrote.

    Raises:
        MalformedInput: not a verifier key, of an algorithm we do not have, or its key id is that of another key.
    """
    name, _, rest = text.partition("+")
    stated, _, encoded = rest.partition("+")
    raw = strict_base64.decode(encoded)
    if not is_key_name(name) or len(raw) != 1 + PUBLIC_KEY_BYTES or raw[0] not in (ED25519, COSIGNATURE_V1):
        raise MalformedInput(f"got verifier key {text[:120]!r}, expected <name>+<8 hex digits>+<base64> of Ed25519")
    key = VerifierKey(name, raw[1:], raw[0])
    if stated != key.key_id.hex():
        raise MalformedInput(f"got key id {stated!r} for {name!r}, expected {key.key_id.hex()}")
    return key


def format_note(note: Note) -> bytes:
    """The bytes of a note."""
    return (note.text + "\n" + "".join(format_signature(item) for item in note.signatures)).encode()


def format_signature(signature: Signature) -> str:
    """One signature line, with its line break."""
    return f"{_DASH}{signature.name} {strict_base64.encode(signature.key_id + signature.payload)}\n"


def parse_signature(line: str) -> Signature:
    """Read one signature line, with or without its line break. Unused bits of the base64 may be anything."""
    name, space, encoded = line.removesuffix("\n").removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not is_key_name(name):
        raise MalformedInput(f"got signature line {line[:120]!r}, expected '{_DASH}<name> <base64>'")
    raw = strict_base64.decode(encoded, canonical=False)
    if len(raw) <= KEY_ID_BYTES:
        raise MalformedInput(f"got a signature of {len(raw)} bytes by {name!r}, expected a key id and more")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def parse_note(data: bytes) -> Note:
    """Split a note at its **last** empty line (the text may hold others).

    Raises:
        MalformedInput: not UTF-8, control characters, no signature, more than :data:`MAX_SIGNATURES`, or a line that is
            not a signature.
    """
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedInput(f"got a note that is not UTF-8 at byte {error.start}") from None
    if any(char < " " and char != "\n" for char in whole):
        raise MalformedInput("got a control character in a note, expected none but line breaks")
    split = whole.rfind("\n\n")
    if split < 0 or not whole.endswith("\n"):
        raise MalformedInput("got a note without an empty line before its signatures, or without a final line break")
    lines = whole[split + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise MalformedInput(f"got a note with {len(lines)} signatures, expected 1 to {MAX_SIGNATURES}")
    return Note(whole[: split + 1], tuple(parse_signature(line) for line in lines))


def sign_note(text: str, name: str, key: SigningKey) -> bytes:
    """A note over ``text`` with one Ed25519 signature under ``name``."""
    if not text.endswith("\n") or not is_key_name(name):
        raise MalformedInput(f"got text by {name!r} without a final line break, or a name that is no key name")
    signature = Signature(name, key_id(name, key.public_key), key.sign(text.encode()))
    return format_note(Note(text, (signature,)))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    """Check the Ed25519 signatures of the keys that we know; return those that signed, in the order of the note.

    Signatures of unknown keys are ignored, also a second one of the same key.

    Raises:
        VerificationError: a known key's signature does not verify, or no known key signed.
    """
    known = {(key.name, key.key_id): key for key in keys if key.algorithm == ED25519}
    signed: list[VerifierKey] = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in signed:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature.payload, note.text.encode())
        except InvalidSignature:
            raise VerificationError(f"the signature of {key.name} ({key.key_id.hex()}) does not verify") from None
        signed.append(key)
    if not signed:
        have = ", ".join(f"{item.name} ({item.key_id.hex()})" for item in note.signatures[:8])
        want = ", ".join(f"{name} ({ident.hex()})" for name, ident in known) or "none"
        raise VerificationError(f"got signatures by {have}, expected one by a trusted key: {want}")
    return signed


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
