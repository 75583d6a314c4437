"""Origins, the names of logs: ``<deployment>/events/<partition>/<term>``, ``…/control/…``, ``…/anchor/<term>``.

An origin is the first line of every checkpoint, the name of the key that signs it, and the folder of its objects.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.errors import MalformedInput
from schemas.ids import ANCHOR, CONTROL, EVENTS, Shard

MAX_ORIGIN_BYTES = 255
"""A checkpoint set writes the length of an origin in one byte."""

ANCHOR_SHARD = Shard(ANCHOR, 0)

_DEPLOYMENT = re.compile(r"(?!\.+(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.+(?:/|$))[A-Za-z0-9._-]+)*")
_TERM = re.compile(r"[0-9]{4}q[1-4](?:\.(?:[2-9]|[1-9][0-9]+))?")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


class Origin(NamedTuple):
    """One log: whose, of which shard, in which term.

    ``term`` is the quarter in which the log was opened, ``2026q4``; further logs of the same quarter (a new key, a
    topic created again) are ``2026q4.2``, ``2026q4.3`` …
    """

    deployment: str
    shard: Shard
    term: str

    def __str__(self) -> str:
        middle = ANCHOR if self.shard == ANCHOR_SHARD else str(self.shard)
        return f"{self.deployment}/{middle}/{self.term}"


def parse_origin(text: str) -> Origin:
    """Read what ``str(origin)`` wrote.

    Raises:
        MalformedInput: not an origin of ours, or longer than 255 bytes.
    """
    origin = _parse(text)
    if origin is None or str(origin) != text or len(text) > MAX_ORIGIN_BYTES:
        raise MalformedInput(
            f"got origin {text[:300]!r}, expected <deployment>/<events or control>/<partition>/<term> or "
            f"<deployment>/anchor/<term>, at most {MAX_ORIGIN_BYTES} characters"
        )
    return origin


def check_deployment(name: str) -> str:
    """Return ``name`` if a deployment can be called so: a URL without its scheme, e.g. ``audit.example.com``."""
    if _DEPLOYMENT.fullmatch(name) is None or len(name) > MAX_ORIGIN_BYTES - 48:
        raise MalformedInput(
            f"got deployment name {name[:300]!r}, expected letters, digits, '.', '_', '-' and '/', such as "
            f"audit.example.com, at most {MAX_ORIGIN_BYTES - 48} characters"
        )
    return name


def term_at(time_ms: int) -> str:
    """The first term of the quarter that holds ``time_ms`` (milliseconds since 1970 UTC)."""
    opened = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{opened.year:04d}q{(opened.month + 2) // 3}"


def term_order(term: str) -> tuple[str, int]:
    """The key by which terms of a shard sort in the order of their opening."""
    quarter, _, number = term.partition(".")
    return quarter, int(number or 1)


def next_term(before: str, now_ms: int) -> str:
    """The term of a log that is opened at ``now_ms`` and follows one of term ``before``; later than it, even where the
    clock has gone back."""
    quarter, number = term_order(before)
    return term_at(now_ms) if term_at(now_ms) > quarter else f"{quarter}.{number + 1}"


def is_over(term: str, now_ms: int) -> bool:
    """Whether the quarter of a term has ended."""
    return term_at(now_ms) > term_order(term)[0]


def quarter_reason(term: str, now_ms: int) -> str:
    """The reason for closing a log because its quarter has ended."""
    return f"quarter: {term_order(term)[0]} → {term_at(now_ms)}"


def _parse(text: str) -> Origin | None:
    rest, _, term = text.rpartition("/")
    rest, _, last = rest.rpartition("/")
    if last == ANCHOR:
        deployment, shard = rest, ANCHOR_SHARD
    else:
        deployment, _, topic = rest.rpartition("/")
        if topic not in (EVENTS, CONTROL) or _NUMBER.fullmatch(last) is None:
            return None
        shard = Shard(topic, int(last))
    if _TERM.fullmatch(term) is None or _DEPLOYMENT.fullmatch(deployment) is None:
        return None
    return Origin(deployment, shard, term)
