"""Counts by label values that any thread may add to."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Labels = TypeVar("Labels", bound=Hashable)


class Tally(Generic[Labels]):
    """A counter for each combination of label values.

    Args:
        known: combinations that are there from the start, at 0, so that a rate sees their first increase.
    """

    def __init__(self, known: Iterable[Labels] = ()) -> None:
        self._counts: dict[Labels, int] = dict.fromkeys(known, 0)
        self._lock = threading.Lock()

    def add(self, labels: Labels, by: int = 1) -> None:
        """Count ``by`` more."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + by

    def counts(self) -> dict[Labels, int]:
        """What was counted so far."""
        with self._lock:
            return dict(self._counts)
