"""Content that is too large for one event: its beginning, its end, and where to find all of it. Pure.

Nothing is cut silently: what stands in place of the content says that it does, how long the whole is, and its SHA-256.
"""

from __future__ import annotations

import hashlib

import orjson

LEAST = 256
"""Characters of beginning and of end, below which shortening makes no sense."""


def shorten(content: bytes, room: int) -> bytes | None:
    """JSON that stands in for ``content`` and has at most ``room`` bytes; ``None`` when not even the least fits."""
    text = content.decode("utf-8", "replace")
    digest = hashlib.sha256(content).hexdigest()
    keep = max(LEAST, room // 2)
    while True:
        standing_in = orjson.dumps(
            {
                "shortened": True,
                "bytes": len(content),
                "sha256": digest,
                "beginning": text[:keep],
                "end": text[-keep:],
            }
        )
        if len(standing_in) <= room:
            return standing_in
        if keep == LEAST:
            return None
        keep = max(LEAST, keep // 2)
