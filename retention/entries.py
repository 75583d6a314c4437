"""The entries of the register of matters and holds, and their bytes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import MalformedInput

FORMAT = "affidavit.register/1"

FIRST = "0" * 64
"""What the first entry names as the one before."""

WHATS = (
    "matter.create",
    "matter.close",
    "hold.place",
    "hold.extend",
    "release.request",
    "release.approve",
    "release.cancel",
    "early.request",
    "early.approve",
    "policy.apply",
    "policy.approve",
    "policy.cancel",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        number: 1, 2, 3 …
        previous: SHA-256 of the entry before, in hex.
        at_ms: milliseconds since 1970 UTC.
        by: the person whose token was used; ``token_id`` names that.
        what: of :data:`WHATS`.
        details: depend on it.
    """

    number: int
    previous: str
    at_ms: int
    by: str
    token_id: str
    what: str
    details: Mapping[str, Any]


def encode_entry(entry: Entry) -> bytes:
    """An entry as it is kept: JSON, one spelling for each."""
    document = {
        "format": FORMAT,
        "number": entry.number,
        "previous": entry.previous,
        "at_ms": entry.at_ms,
        "by": entry.by,
        "token_id": entry.token_id,
        "what": entry.what,
        "details": entry.details,
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def decode_entry(data: bytes) -> Entry:
    """Read what :func:`encode_entry` wrote.

    Raises:
        MalformedInput: something else.
    """
    try:
        given = dict(json.loads(data))
        if given.pop("format") != FORMAT:
            raise MalformedInput(f"got an entry of another format, expected {FORMAT}")
        entry = Entry(**given)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedInput(f"got no entry of the register of holds: {type(error).__name__} {error}") from None
    if encode_entry(entry) != data:
        raise MalformedInput("got an entry of the register of holds in another spelling")
    return entry


def digest_of(data: bytes) -> str:
    """What the next entry calls this one: SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
