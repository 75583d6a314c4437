"""Object keys: which names an object may have, whatever the store."""

from __future__ import annotations

import re
from datetime import datetime

from schemas.errors import MalformedInput

MAX_KEY_BYTES = 1024
"""S3's limit."""

MAX_SEGMENT_BYTES = 200
"""A file name may have 255 bytes, and the local store puts a temporary name's ending behind."""

_SEGMENT = re.compile(rf"[A-Za-z0-9._=@+-]{{1,{MAX_SEGMENT_BYTES}}}")


def check_key(key: str) -> str:
    """Return ``key`` when it may name an object.

    Raises:
        MalformedInput: it is not segments of ``[A-Za-z0-9._=@+-]`` joined by ``/``, has ``.`` or ``..`` as a segment,
            or is too long.
    """
    if len(key) > MAX_KEY_BYTES or not all(is_segment(segment) for segment in key.split("/")):
        raise MalformedInput(
            f"got object key {key[:200]!r}, expected at most {MAX_KEY_BYTES} bytes of segments joined by /, each 1 to "
            f"{MAX_SEGMENT_BYTES} of [A-Za-z0-9._=@+-], none of them . or .."
        )
    return key


def is_segment(name: str) -> bool:
    """Whether ``name`` may stand between two ``/`` of a key."""
    return _SEGMENT.fullmatch(name) is not None and name not in (".", "..")


def check_date(until: datetime) -> datetime:
    """Return ``until`` when it says which moment it means.

    Raises:
        MalformedInput: it has no time zone.
    """
    if until.tzinfo is None:
        raise MalformedInput(f"got retention date {until.isoformat()} without a time zone, expected UTC")
    return until
