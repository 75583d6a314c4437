"""The one thread that writes to the SQLite bus: group commit, and waking who waits.

Whoever appends puts its packed messages in a queue; the thread takes everything that has gathered while it was busy
with the last group, writes it in one transaction with one fsync, and answers. So the fsync is shared by as many
appends as arrive during one, with no lingering. The same thread watches for what other processes append.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.errors import AffidavitError, InvariantError, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Position
from stores.bus.batch import Batch, Packed, join
from stores.bus.sqlite_file import BusFile

GROUP_RECORDS = 8192
GROUP_BYTES = 32 * 1024 * 1024
"""A transaction takes no further appends beyond this, so that its latency stays bounded."""

ROW_RECORDS = 256
ROW_BYTES = 512 * 1024
"""A row takes no further messages beyond this: a reader that wants one message reads the whole row."""

POLL_SECONDS = 0.015
"""How long another process's append may go unnoticed while somebody waits."""


class Append(NamedTuple):
    """Messages that one caller wants appended, and the future that gets their positions."""

    messages: Sequence[tuple[Shard, Packed]]
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Position]]


class Hint(NamedTuple):
    """A group's offset to remember, and the future that learns when it is."""

    group: str
    shard: Shard
    offset: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Task(NamedTuple):
    """Something else to do with the writer's connection, between two groups, and the future that gets what it returns.

    ``work`` may raise any :class:`~schemas.errors.AffidavitError`, which the future gets.
    """

    work: Callable[[BusFile], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


Work = Append | Hint | Task


@dataclass(eq=False, slots=True)
class Waiter:
    """Somebody who waits for ``offset`` to become readable."""

    shard: Shard
    offset: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Writer:
    """Owns one connection and one thread, which starts with the first work.

    Args:
        open_file: opens the connection, in the thread.
        shards: all shards of the bus.
        clock: milliseconds since 1970 UTC.
        queue_records, queue_bytes: what may be queued; beyond, appends get ``Unavailable``.
    """

    def __init__(
        self,
        open_file: Callable[[], BusFile],
        shards: Sequence[Shard],
        clock: Callable[[], int],
        *,
        queue_records: int,
        queue_bytes: int,
    ) -> None:
        self._open_file = open_file
        self._shards = shards
        self._clock = clock
        self._queue_records, self._queue_bytes = queue_records, queue_bytes
        self._changed = threading.Condition()
        self._queue: deque[Work] = deque()
        self._records = self._bytes = 0
        self._waiters: set[Waiter] = set()
        self._ends: dict[Shard, int] = dict.fromkeys(shards, 0)
        self._version = -1
        self._thread: threading.Thread | None = None
        self._closing = False
        self._broken: BaseException | None = None

    def submit(self, work: Work) -> None:
        """Queue ``work``; its future is answered when it is durable, or with the reason why not.

        Raises:
            Unavailable: the queue is full, or the bus is closed.
        """
        records, size = (len(work.messages), work.size) if isinstance(work, Append) else (1, 0)
        with self._changed:
            full = self._records + records > self._queue_records or self._bytes + size > self._queue_bytes
            if full and self._queue:  # one append larger than the queue is let in when it is alone
                raise Unavailable(f"the bus has {self._records} messages waiting to be written")
            self._start()
            self._queue.append(work)
            self._records += records
            self._bytes += size
            self._changed.notify()

    def watch(self, waiter: Waiter) -> bool:
        """True if the offset is known to be readable; otherwise the waiter's future is answered when it is."""
        with self._changed:
            if self._ends[waiter.shard] > waiter.offset:
                return True
            self._start()
            self._waiters.add(waiter)
            self._changed.notify()
            return False

    def forget(self, waiter: Waiter) -> None:
        """Stop watching."""
        with self._changed:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Write what is queued, then end the thread. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._broken is not None:
            raise InvariantError("the writer of the bus died") from self._broken
        if self._closing:
            raise Unavailable("the bus is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bus-writer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        group: list[Work] = []
        try:
            file = self._open_file()
            try:
                for group in self._groups():
                    if group:
                        self._work(file, group)
                    self._look(file)
            finally:
                file.close()
        except BaseException as error:
            self._fail(group, error)

    def _groups(self) -> Iterator[list[Work]]:
        """What to write next; an empty group means: look what others wrote. Ends when closed and empty."""
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    waiting = bool(self._waiters)
                    if not self._changed.wait(POLL_SECONDS if waiting else None) and waiting:
                        break
                    if self._waiters and not waiting:
                        break
                group = list(self._take())
            yield group

    def _take(self) -> Iterator[Work]:
        """The next group; a task is a group of its own."""
        records = size = 0
        while self._queue and records < GROUP_RECORDS and size < GROUP_BYTES:
            alone = isinstance(self._queue[0], Task)
            if alone and records:
                break
            work = self._queue.popleft()
            if isinstance(work, Append):
                records += len(work.messages)
                size += work.size
            else:
                records += 1
            yield work
            if alone:
                break
        self._records -= records
        self._bytes -= size

    def _work(self, file: BusFile, group: Sequence[Work]) -> None:
        if not isinstance(group[0], Task):
            self._write(file, [work for work in group if not isinstance(work, Task)])
            return
        try:
            done = group[0].work(file)
        except AffidavitError as error:
            done = error
        _answer([(group[0], done)])

    def _write(self, file: BusFile, group: Sequence[Append | Hint]) -> None:
        by_shard: defaultdict[Shard, list[Packed]] = defaultdict(list)
        hints: dict[tuple[str, Shard], int] = {}
        for work in group:
            if isinstance(work, Append):
                for shard, packed in work.messages:
                    by_shard[shard].append(packed)
            else:
                hints[work.group, work.shard] = work.offset
        rows = {shard: _rows(messages) for shard, messages in by_shard.items()}
        try:
            # If we die before this returns, SQLite has all of the group or none, and nobody was told that it is there.
            placed = file.append(rows, hints, self._clock())
        except AffidavitError as error:
            _answer([(work, error) for work in group])
            return
        # If we die here, all is durable and nobody knows: the client sends again, with the same event ids.
        _answer(list(_positions(group, placed)))
        self._advance({shard: first + len(by_shard[shard]) for shard, (first, _) in placed.items()})
        with suppress(Unavailable, OSError):  # all is answered; a log that stays long is no loss
            file.shorten_log()

    def _look(self, file: BusFile) -> None:
        """Learn what other processes appended, if anybody waits."""
        if not self._waiters:
            return
        try:
            version = file.version()
            if version != self._version:
                self._advance(file.ends(self._shards))
                self._version = version
        except Unavailable:
            return  # the next look will tell; who waits has a timeout

    def _advance(self, ends: Mapping[Shard, int]) -> None:
        with self._changed:
            self._ends.update(ends)
            ready = [waiter for waiter in self._waiters if self._ends[waiter.shard] > waiter.offset]
            self._waiters.difference_update(ready)
        _answer([(waiter, None) for waiter in ready])

    def _fail(self, group: Sequence[Work], error: BaseException) -> None:
        with self._changed:
            self._broken = error
            left = [*group, *self._queue]
            self._queue.clear()
        reason = error if isinstance(error, AffidavitError) else InvariantError("the writer of the bus died")
        reason.__cause__ = error if reason is not error else None
        _answer([(work, reason) for work in left])


Answered = tuple[Work | Waiter, Any]
"""Who asked, and the answer: an ``AffidavitError`` is raised, anything else returned."""


def _rows(messages: Sequence[Packed]) -> list[Batch]:
    rows: list[Batch] = []
    begin = size = 0
    for at, packed in enumerate(messages):
        if at > begin and (at - begin == ROW_RECORDS or size >= ROW_BYTES):
            rows.append(join(messages[begin:at]))
            begin, size = at, 0
        size += len(packed.body)
    rows.append(join(messages[begin:]))
    return rows


def _positions(group: Sequence[Append | Hint], placed: Mapping[Shard, tuple[int, int]]) -> Iterator[Answered]:
    times = {shard: time_ms for shard, (_, time_ms) in placed.items()}
    ends = {shard: first for shard, (first, _) in placed.items()}
    for work in group:
        if isinstance(work, Hint):
            yield work, None
            continue
        positions = []
        for shard, _ in work.messages:
            positions.append(Position(shard, Offset(ends[shard]), times[shard]))
            ends[shard] += 1
        yield work, positions


def _answer(answers: Sequence[Answered]) -> None:
    """Set the results on the loops that wait for them, waking each loop once."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Answered]] = defaultdict(list)
    for answer in answers:
        by_loop[answer[0].loop].append(answer)
    for loop, some in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_results, some)
        except RuntimeError:  # that loop is closed: nobody is left to tell
            continue


def _set_results(answers: Sequence[Answered]) -> None:
    for work, result in answers:
        future: asyncio.Future[object] = work.future  # type: ignore[assignment]
        if future.done():  # cancelled: the messages are written all the same
            continue
        if isinstance(result, AffidavitError):
            future.set_exception(result)
        else:
            future.set_result(result)
