"""The settings of holds and retention. See :mod:`affidavit.settings`."""

from __future__ import annotations

from pydantic import Field

from affidavit.sections import Section


class RetentionSettings(Section):
    """Matters, holds, and how they end."""

    release_delay_days: int = Field(default=30, ge=0, le=3650)
    """How long what a hold is released from is still held after the release was approved, so that a mistake can be
    taken back. Counts from the approval; a change of it does not move delays that run."""
