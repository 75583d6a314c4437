"""Reading an expiry as people write it. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import MalformedInput

_SPAN = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """``never``, a span from now (``12h``, ``90d``, ``8w``), or a date or time (``2027-01-31``, UTC unless it says).

    Raises:
        MalformedInput: something else, or a moment that has passed.
    """
    if text == "never":
        return None
    span = _SPAN.fullmatch(text)
    if span:
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedInput(
            f"got expiry {text!r}, expected never, 90d, 12h, 8w, or a date such as 2027-01-31"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= now:
        raise MalformedInput(f"got expiry {text!r}, which has passed")
    return moment
