"""An event loop in a thread of its own, and the bridge to it from the loops of callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from schemas.errors import Unavailable

T = TypeVar("T")


class LoopThread:
    """Starts with the first call. Callers may live on any loop, for as short as they like."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine over there, and wait for it here. Cancelling the caller cancels it.

        Raises:
            Unavailable: the thread was closed.
        """
        try:
            return await asyncio.wrap_future(self.submit(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Unavailable("the bus is closed") from None
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine over there."""
        with self._lock:
            if self._closed:
                work.close()
                raise Unavailable("the bus is closed")
            return asyncio.run_coroutine_threadsafe(work, self._running())

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run ``last`` over there, then cancel what is still under way and end the thread. Blocks. Once: later calls
        return when the first is done."""
        with self._lock:
            loop, thread, first = self._loop, self._thread, not self._closed
            self._closed = True
        if loop is None or thread is None or not first:
            last.close()
        else:
            try:
                asyncio.run_coroutine_threadsafe(last, loop).result()
            finally:
                loop.call_soon_threadsafe(loop.stop)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
