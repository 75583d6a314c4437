"""Waiting that ends when somebody says stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from schemas.errors import Unavailable

T = TypeVar("T")


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until ``stop`` is set."""
    if seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()


async def unless(stop: asyncio.Event, question: Coroutine[Any, Any, T]) -> T:
    """The answer to a question that changes nothing; when ``stop`` is set before it comes, the question is dropped.

    Raises:
        Unavailable: ``stop`` came first.
    """
    answer, stopped = asyncio.ensure_future(question), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((answer, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Unavailable("stopped before the bus had answered", retry_after=0.0)
        return answer.result()
    finally:
        answer.cancel()
        stopped.cancel()
        await asyncio.gather(answer, stopped, return_exceptions=True)
