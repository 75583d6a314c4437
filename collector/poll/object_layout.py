"""How the keys of a bucket tell the time: which objects are a feed's, and where those of an hour begin. Pure.

``<root><time>…``: a root may hold ``*`` for a folder of any name, and the time is what ``strftime`` makes of a pattern
whose fields run from the year down, each of fixed width. So the order of keys is the order of time, and a listing can
begin at an hour instead of at the beginning of the bucket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

_WIDTHS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}

BEHIND_DIGITS = ":"
"""Sorts behind every key that begins with a year."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of a feed.

    Attributes:
        roots: what stands before the time, without the feed's prefix; ``*`` is one folder of any name that is no time.
        pattern: the time, such as ``%Y/%m/%d/%H/``. ``""``: keys do not tell the time, and every look lists all.
        left_out: a regular expression; what it finds in a key is no object of the feed.
    """

    roots: tuple[str, ...] = ("",)
    pattern: str = ""
    left_out: str = ""

    def floor(self, root: str, seconds: int) -> str:
        """A key that all objects of this moment or a later one are behind."""
        if not self.pattern:
            return ""
        return root + datetime.fromtimestamp(max(seconds, 0), UTC).strftime(self.pattern)

    def ceiling(self, root: str) -> str:
        """A key behind all objects of a root."""
        return root + (BEHIND_DIGITS if self.pattern else "\U0010ffff")

    def holds(self, root: str, key: str) -> bool:
        """Whether an object below ``root`` is the feed's."""
        rest = key[len(root) :]
        if self.pattern and not _times(self.pattern).match(rest):
            return False
        return not key.endswith("/") and not (self.left_out and re.search(self.left_out, key))

    def is_time(self, folder: str) -> bool:
        """Whether a folder's name is the first step of a time, and so no root."""
        return bool(self.pattern) and _times(self.pattern.split("/", 1)[0]).fullmatch(folder) is not None

    def seconds(self, root: str, key: str) -> int | None:
        """The moment that a key tells, in seconds since 1970."""
        width = sum(_WIDTHS.get(part, len(part)) for part in re.findall(r"%.|[^%]", self.pattern))
        try:
            moment = datetime.strptime(key[len(root) :][:width], self.pattern)
        except ValueError:
            return None
        return int(moment.replace(tzinfo=UTC).timestamp())


@lru_cache
def _times(pattern: str) -> re.Pattern[str]:
    """What matches the moments that ``strftime`` writes by a pattern."""
    return re.compile(
        "".join(
            rf"[0-9]{{{_WIDTHS[part]}}}" if part in _WIDTHS else re.escape(part)
            for part in re.findall(r"%.|[^%]", pattern)
        )
    )


BEDROCK = Layout(
    ("AWSLogs/*/BedrockModelInvocationLogs/*/",),
    "%Y/%m/%d/%H/",
    r"/data/|amazon-bedrock-logs-permission-check",
)
"""Below ``data/`` lie bodies and media that records refer to; the check is an empty object that AWS leaves behind."""

LITELLM = Layout(("", "*/"), "%Y-%m-%d/")
"""``s3_v2``: ``<s3_path>/<team?>/<day>/…``."""

CLOUDFLARE = Layout(("",), "%Y%m%d/", r"ownership-challenge|test\.txt")
"""Logpush with ``{DATE}`` in its path."""

VERTEX = Layout(("*/*/",), "%Y/%m/%d/%H:")
"""A sink of Cloud Logging: ``cloudaudit.googleapis.com/data_access/<day>/<from>_<to>_S<n>.json``."""

ANY = Layout()
"""Keys that do not tell the time."""

LAYOUTS = {"bedrock": BEDROCK, "litellm": LITELLM, "cloudflare": CLOUDFLARE, "vertex": VERTEX, "any": ANY}
