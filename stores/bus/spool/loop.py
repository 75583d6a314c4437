"""A thread with an event loop of its own, for work that must outlive the loops of those who ask for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from schemas.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


class LoopThread:
    """Runs ``main(stop)`` and whatever :meth:`run` is given on one event loop, in one thread.

    Args:
        name: of the thread.
        main: what runs all the time; it should end soon after ``stop`` is set.
        patience: seconds after which it is cancelled when it does not.
    """

    def __init__(self, name: str, main: Main, patience: float) -> None:
        self._main, self._patience = main, patience
        self._mutex = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(begun)), name=name, daemon=True)
        self._thread.start()
        begun.wait()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``work()`` returns or raises, run on the thread's loop. It goes on there if the caller is cancelled, or
        if the caller's loop ends.

        Raises:
            Unavailable: the thread has been closed.
        """
        here = asyncio.get_running_loop()
        answer: asyncio.Future[T] = here.create_future()

        async def there() -> None:
            try:
                result = await work()
            except BaseException as error:
                _tell(here, answer, answer.set_exception, error)
                if not isinstance(error, Exception):
                    raise
            else:
                _tell(here, answer, answer.set_result, result)

        with self._mutex:
            if self._closed:
                raise Unavailable("the bus is closed")
            asyncio.run_coroutine_threadsafe(there(), self._loop)
        return await answer

    def close(self) -> None:
        """Let what was asked for end, then the thread. Blocks. Closing twice is harmless."""
        with self._mutex:
            first, self._closed = not self._closed, True
        if first:
            with suppress(RuntimeError):  # its loop died with an error, which was logged
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _live(self, begun: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        main = asyncio.create_task(self._main(self._stop))
        main.add_done_callback(_log_death)
        begun.set()
        await self._stop.wait()
        asked = asyncio.all_tasks() - {main, asyncio.current_task()}
        for some in (asked, {main}):
            if some:
                await asyncio.wait(some, timeout=self._patience)
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)


def _tell(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    def settle() -> None:
        if not answer.done():  # cancelled
            tell(what)

    with suppress(RuntimeError):  # that loop is closed: nobody is left to tell
        loop.call_soon_threadsafe(settle)


def _log_death(main: asyncio.Task[None]) -> None:
    if not main.cancelled() and (error := main.exception()) is not None:
        log.critical("%s ended by a bug: what is spooled stays until a restart", main.get_coro(), exc_info=error)
