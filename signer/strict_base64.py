"""Base64 (RFC 4648 §4) as signed notes need it: the standard alphabet, padding, nothing else.

``base64.b64decode`` skips characters it does not know, so ``!!AA==`` would decode; here it is refused.
"""

from __future__ import annotations

import base64
import re

from schemas.errors import MalformedInput

_FORM = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def encode(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str, *, canonical: bool = True) -> bytes:
    """Read base64.

    Args:
        text: what :func:`encode` wrote.
        canonical: refuse unused bits that are not zero. Signature lines of notes are read leniently, as other
            implementations read them; keys and hashes are not.

    Raises:
        MalformedInput: another alphabet, spaces, wrong padding, or (canonical) a second spelling of the same bytes.
    """
    if _FORM.fullmatch(text) is None:
        raise MalformedInput(f"got {text[:80]!r}, expected base64 with padding")
    data = base64.b64decode(text)
    if canonical and encode(data) != text:
        raise MalformedInput(f"got {text[:80]!r}, expected base64 whose unused bits are zero")
    return data
