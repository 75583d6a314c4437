"""Keys of source records that are made of several fields."""

from __future__ import annotations

import hashlib

from collector.json_units import encode_content

_MAX = 256


def joined_id(*parts: object) -> str:
    """A key of scalars, as a JSON list; longer than 256 bytes, its hash. ``""`` when the first is missing or one is no
    scalar: then the hash of the record's bytes stands in."""
    if parts[0] in (None, "") or not all(part is None or isinstance(part, str | int | float) for part in parts):
        return ""
    key = encode_content(list(parts))
    return key.decode() if len(key) <= _MAX else "sha256:" + hashlib.sha256(key).hexdigest()
