"""Expiries as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from affidavit.expiry import parse_expiry
from schemas.errors import MalformedInput

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("never", None),
        ("12h", NOW + timedelta(hours=12)),
        ("90d", NOW + timedelta(days=90)),
        ("8w", NOW + timedelta(weeks=8)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T10:00+02:00", datetime(2027, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_accepted(text: str, until: datetime | None) -> None:
    assert parse_expiry(text, NOW) == until


@pytest.mark.parametrize("text", ["", "soon", "0d", "-1d", "1y", "90 d", "2027-13-01", "d"])
def test_refused(text: str) -> None:
    with pytest.raises(MalformedInput, match="got expiry"):
        parse_expiry(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-24", "2020-01-01T00:00Z"])
def test_the_past_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput, match="which has passed"):
        parse_expiry(text, NOW)
