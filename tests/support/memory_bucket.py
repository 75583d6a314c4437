"""A bucket in memory, with a clock of its own: what was put may become visible later, as with a replica.

    bucket = MemoryBucket("logs", now=1_787_300_000)
    bucket.put("AWSLogs/…/09/a.json.gz", b"…", visible_in=40)
    bucket.now += 60

``faults`` are raised by the next requests, one each. ``requests`` counts listings and reads.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from collector.poll.object_cursor import Listed
from collector.poll.object_sweep import Folders, Listing
from schemas.errors import LimitExceeded


@dataclass(slots=True)
class _Object:
    listed: Listed
    data: bytes
    visible_at: int


@dataclass
class MemoryBucket:
    """Implements :class:`collector.poll.object_sweep.Bucket`."""

    name: str = "logs"
    now: int = 1_787_300_000
    page: int = 1000
    chunk: int = 1 << 20
    faults: list[Exception] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    others: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []
        self.closed = False

    def put(self, key: str, data: bytes, *, visible_in: int = 0) -> None:
        """Write an object; listings show it ``visible_in`` seconds later, as modified now."""
        listed = Listed(self.now, key, hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))
        if key not in self._objects:
            bisect.insort(self._keys, key)
        self._objects[key] = _Object(listed, data, self.now + visible_in)

    def remove(self, key: str) -> None:
        """Delete an object."""
        del self._objects[key]
        self._keys.remove(key)

    def list(self, prefix: str, behind: str) -> Listing:
        self._request("list")
        keys: list[str] = []
        for key in self._keys[bisect.bisect_right(self._keys, max(prefix[:-1], behind)) :]:
            if key.startswith(prefix) and self._is_visible(key):
                if len(keys) == self.page:
                    return Listing([self._objects[one].listed for one in keys], self.now, True)
                keys.append(key)
            elif key > prefix and not key.startswith(prefix):
                break
        return Listing([self._objects[key].listed for key in keys], self.now, False)

    def folders(self, prefix: str) -> Folders:
        self._request("folders")
        rest = (key[len(prefix) :] for key in self._keys if key.startswith(prefix) and self._is_visible(key))
        return Folders(sorted({prefix + one.partition("/")[0] + "/" for one in rest if "/" in one}), self.now)

    def open(self, key: str, etag: str) -> Iterator[bytes]:
        self._request("open")
        found = self._objects[key]
        if found.listed.etag != etag:
            raise KeyError(key)
        return (found.data[at : at + self.chunk] for at in range(0, len(found.data), self.chunk))

    def fetch(self, bucket: str, key: str, limit: int) -> bytes:
        self._request("fetch")
        if bucket != self.name:
            data = self.others[bucket][key]
        elif self._is_visible(key):
            data = self._objects[key].data
        else:
            raise KeyError(key)
        if len(data) > limit:
            raise LimitExceeded(f"got an object of {len(data)} bytes, expected at most {limit}")
        return data

    def close(self) -> None:
        self.closed = True

    def _is_visible(self, key: str) -> bool:
        held = self._objects.get(key)
        return held is not None and held.visible_at <= self.now

    def _request(self, kind: str) -> None:
        self.requests[kind] += 1
        if self.faults:
            raise self.faults.pop(0)
