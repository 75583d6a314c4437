"""Helicone's signature of a webhook: HMAC-SHA256 over the body as sent, in hex, in ``Helicone-Signature``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from schemas.errors import AccessDenied

HEADER = "helicone-signature"


def verify_helicone(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now_micros: int) -> None:
    """Refuse a body that none of the secrets signed. There is no time in it: a body sent again is a repeat, and its
    events have the same ids.

    Raises:
        AccessDenied: no signature, or one that does not fit.
    """
    signature = headers.get(HEADER, "")
    if not signature:
        raise AccessDenied("got no Helicone-Signature, expected the HMAC of the body")
    stated = signature.strip().lower().encode("utf-8", "replace")
    for secret in secrets:
        expected = hmac.new(secret, body, hashlib.sha256).hexdigest().encode("ascii")
        if hmac.compare_digest(stated, expected):
            return
    raise AccessDenied("got a Helicone-Signature that no secret of this webhook gives; copy its HMAC key again")
