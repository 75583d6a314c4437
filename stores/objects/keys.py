"""Object keys: which names an object may have, whatever the store."""

from __future__ import annotations

import re
from datetime import datetime

from schemas.errors import MalformedInput

MAX_KEY_BYTES = 1024
"""S3's limit."""

MAX_SEGMENT_BYTES = 200
"""A file name may have 255 bytes, and the local store puts a temporary name's ending behind."""

_KEY = re.compile(r"(?:[A-Za-z0-9._=@+-]+/)*[A-Za-z0-9._=@+-]+", re.ASCII)


def check_key(key: str) -> str:
    """Return ``key`` when it may name an object.

    Raises:
        MalformedInput: it is not segments of ``[A-Za-z0-9._=@+-]`` joined by ``/``, has ``.`` or ``..`` as a segment,
            or is too long.
    """
    if len(key) > MAX_KEY_BYTES or _KEY.fullmatch(key) is None:
        raise MalformedInput(f"got object key {key[:200]!r}, expected segments of [A-Za-z0-9._=@+-] joined by /")
    for segment in key.split("/"):
        if segment in (".", "..") or len(segment) > MAX_SEGMENT_BYTES:
            raise MalformedInput(f"got object key {key[:200]!r}, expected no . or .. and segments of 1 to 200 bytes")
    return key


def check_date(until: datetime) -> datetime:
    """Return ``until`` when it says which moment it means.

    Raises:
        MalformedInput: it has no time zone.
    """
    if until.tzinfo is None:
        raise MalformedInput(f"got retention date {until.isoformat()} without a time zone, expected UTC")
    return until
