"""A question that only the role's own loop may ask, and the last answer, which anybody may read."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from schemas.errors import AffidavitError

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
PATIENCE_SECONDS = 5.0
"""A question without an answer for this long is answered no."""


class Probe:
    """Asks again and again.

    Args:
        ask: returns when all is well; raises an :class:`~schemas.errors.AffidavitError` with the reason when not.
        every, patience: seconds between two questions, and for one answer.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        *,
        every: float = EVERY_SECONDS,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._every, self._patience, self._clock = every, patience, clock
        self._reason = "was not asked yet"
        self._answered = clock()

    async def watch(self, stop: asyncio.Event) -> None:
        """Ask until ``stop`` is set."""
        while not stop.is_set():
            self._reason = await self._answer()
            self._answered = self._clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await stop.wait()

    def reason(self) -> str:
        """Why the last answer was no; ``""`` when it was yes, and is no older than two questions may take."""
        age = self._clock() - self._answered
        if age > 2 * (self._every + self._patience):
            return f"no answer for {age:.0f} s"
        return self._reason

    async def _answer(self) -> str:
        try:
            async with asyncio.timeout(self._patience):
                await self._ask()
        except TimeoutError:
            return f"no answer within {self._patience:g} s"
        except AffidavitError as error:
            return str(error) or type(error).__name__
        except Exception as error:
            log.exception("a probe failed")
            return f"bug: {type(error).__name__}"
        return ""
