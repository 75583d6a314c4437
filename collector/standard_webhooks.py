"""Signatures of Standard Webhooks (standardwebhooks.com, 1.0): HMAC-SHA256 over id, time and raw body. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence

from schemas.errors import AccessDenied

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

TOLERANCE_SECONDS = 300
"""How far a timestamp may lie from our clock, either way: for how long a body that was overheard can be replayed. A
replay gets the same event ids."""

PREFIX = b"whsec_"

MAX_SIGNATURES = 16
"""Signatures of one header that are looked at; a sender that changes its secret has two."""

_SECONDS = re.compile(r"[0-9]{1,12}")


def verify_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now_micros: int) -> None:
    """Check that one of ``secrets`` signed this body, and lately.

    Args:
        headers: names in lower case.
        body: exactly as received.
        secrets: ``whsec_`` and standard base64; two while they are changed.

    Raises:
        AccessDenied: it is unsigned, signed by another secret, or too old; or a secret of ours is not base64.
    """
    name, stamp, signatures = (headers.get(one, "") for one in (ID, TIMESTAMP, SIGNATURE))
    if not (name and stamp and signatures):
        raise AccessDenied(f"got no {ID}, {TIMESTAMP} and {SIGNATURE}; generate a signing secret at the sender")
    if not _SECONDS.fullmatch(stamp):
        raise AccessDenied(f"got {TIMESTAMP} {stamp[:32]!r}, expected seconds since 1970")
    age = now_micros // 1_000_000 - int(stamp)
    if abs(age) > TOLERANCE_SECONDS:
        raise AccessDenied(f"signed {age} s ago by our clock, expected at most {TOLERANCE_SECONDS}; set the clocks")
    signed = f"{name}.{stamp}.".encode("latin-1", "replace") + body
    given = list(_signatures(signatures))
    for secret in secrets:
        wanted = hmac.digest(_key(secret), signed, hashlib.sha256)
        if any(hmac.compare_digest(wanted, one) for one in given):
            return
    raise AccessDenied("the signature is of another secret; copy the signing secret of the sender into the settings")


def sign_standard(name: str, stamp: int, body: bytes, secret: bytes) -> str:
    """The ``webhook-signature`` of a message; what :func:`verify_standard` checks."""
    digest = hmac.digest(_key(secret), f"{name}.{stamp}.".encode("latin-1") + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def _signatures(header: str) -> Iterator[bytes]:
    """The digests of version 1; others, such as ``v1a`` of asymmetric keys, are not ours to check."""
    for one in header.split(" ")[:MAX_SIGNATURES]:
        version, _, encoded = one.partition(",")
        if version == "v1":
            try:
                yield base64.b64decode(encoded.encode("ascii"), validate=True)
            except ValueError:
                continue


def _key(secret: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise AccessDenied("the secret of this webhook is not whsec_ and base64; copy it anew into the settings")
    return key
