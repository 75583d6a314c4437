"""How long to wait for a bus: its silence becomes an error like its others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.errors import Unavailable


@asynccontextmanager
async def answering(seconds: float) -> AsyncIterator[None]:
    """Cancel what is inside after ``seconds``.

    Raises:
        Unavailable: it took longer. What it was to write may be written, or be written later.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable(f"the bus did not answer within {seconds:g} s") from error
