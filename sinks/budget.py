"""The memory that the lanes of one sink share: how large a batch may be, and who waits when lanes become more."""

from __future__ import annotations

import asyncio

BATCHES_PER_LANE = 2
"""One that is delivered, and one that is gathered meanwhile."""


class Budget:
    """Bytes of record values that all lanes together may hold.

    A lane's batch may have its share, ``total / (2 × lanes)``, so lanes that keep to it never wait for each other. When
    lanes are added, those that were there hold more than the new share until they have delivered it, and whoever
    wants to read waits for that. Only a single record that is larger than what was asked for goes beyond the total.
    One loop's tasks use it; it has no lock.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.lanes = 0

    @property
    def share(self) -> int:
        """The most that one batch of one lane may have now, at least 1."""
        return max(1, self._total // (BATCHES_PER_LANE * max(1, self.lanes)))

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def reserve(self, size: int) -> bool:
        """Hold ``size`` more bytes, if the others leave room for them."""
        if self._held and self._held + size > self._total:
            return False
        self._held += size
        return True

    async def room(self) -> None:
        """Return when somebody has given something back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def hold(self, size: int) -> None:
        """Hold ``size`` more bytes (less, if negative) at once: they are there already."""
        self._held += size
        if size < 0:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)


class Account:
    """What one lane holds of a :class:`Budget`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    @property
    def share(self) -> int:
        """See :attr:`Budget.share`."""
        return self._budget.share

    def reserve(self, size: int) -> bool:
        """See :meth:`Budget.reserve`."""
        reserved = self._budget.reserve(size)
        self._held += size if reserved else 0
        return reserved

    async def room(self) -> None:
        """See :meth:`Budget.room`."""
        await self._budget.room()

    def hold(self, size: int) -> None:
        """See :meth:`Budget.hold`."""
        self._held += size
        self._budget.hold(size)

    def close(self) -> None:
        """Hold nothing any more."""
        self.hold(-self._held)
