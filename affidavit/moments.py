"""Times as people give them on the command line. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import MalformedInput


def parse_time(text: str, now: datetime) -> int:
    """Milliseconds since 1970 UTC of a time, or of a span back from ``now``.

    Raises:
        MalformedInput: neither.
    """
    span = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if span:
        unit = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}[span[2]]
        return int((now - int(span[1]) * unit).timestamp() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedInput(f"got time {text!r}, expected 24h, 7d, or one such as 2026-11-24T18:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
