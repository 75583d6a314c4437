"""Running roles in one process: a thread and an event loop each, and nobody dies in silence."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import uvloop

from schemas.errors import AffidavitError

SAME_SIGNAL_SECONDS = 1.0
"""Signals this close together are one wish: some wrappers send theirs to the process and to its group."""

LOOK_SECONDS = 1.0
"""How often the main thread wakes by itself. A signal that arrives in the moment before it goes to sleep is handled
when it wakes, so that is how late a signal may be heard."""

DRAIN_SECONDS = 30.0
"""How long a stopping role may take to finish what it has begun."""


class Stopping:
    """The wish to stop, as a role sees it: ``event``, which lives on the role's loop."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __bool__(self) -> bool:
        return self.event.is_set()

    async def wait(self) -> None:
        """Return when the role shall stop."""
        await self.event.wait()

    def set(self) -> None:
        """Ask the role to stop; from any thread."""
        self._loop.call_soon_threadsafe(self.event.set)


@dataclass(frozen=True, slots=True)
class Role:
    """A part of the process.

    Attributes:
        name: as in ``affidavit run NAME``.
        run: runs until told to stop, then finishes what it has begun and returns. Calls the second argument once
            when it is ready, with its URL or ``""``.
        after: roles that must have stopped before this one is told to, because they feed it.
    """

    name: str
    run: Callable[[Stopping, Callable[[str], None]], Awaitable[None]]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """A role works."""

    role: str
    url: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A role has returned, or failed with ``error``."""

    role: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Signalled:
    """SIGTERM or SIGINT arrived."""

    number: int


Happening = Ready | Ended | Signalled


class Supervisor:
    """Starts roles, waits for a signal or the first failure, stops everything in order.

    Args:
        roles: in the order in which they start.
        say: takes lines for a person.
        ready: called once when all roles are ready, with the URL of each.
        stopping: called once before the first role is told to stop, with the reason.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        say: Callable[[str], None],
        ready: Callable[[dict[str, str]], None],
        stopping: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._roles = {role.name: role for role in roles}
        self._say = say
        self._ready = ready
        self._stopping_now = stopping
        self._urls: dict[str, str] = {}
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping: dict[str, Stopping] = {}
        self._failures: list[Ended] = []
        self.left_behind = False
        """Whether threads still run when :meth:`run` has returned: nothing that they use may be closed."""

    def run(self) -> list[Ended]:
        """Run until a signal or a failure; return the failures, of which a clean stop has none."""
        old = {number: signal.signal(number, self._signalled) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for role in self._roles.values():
                thread = threading.Thread(target=self._thread, args=(role,), name=role.name, daemon=True)
                self._threads[role.name] = thread
                thread.start()
            self._stopping_now(self._wait())
            self._drain()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
        return self._failures

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._happenings.put(Signalled(number))

    def _wait(self) -> str:
        """Until something asks for the end; return what."""
        while True:
            try:
                happening = self._happenings.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            match happening:
                case Ready(role, url):
                    self._urls[role] = url
                    if len(self._urls) == len(self._roles):
                        self._ready(self._urls)
                case Ended() as ended:
                    return self._fail(ended)
                case Signalled(number):
                    name = signal.Signals(number).name
                    self._say(f"{name}: finishing; once more stops at once")
                    return name

    def _drain(self) -> None:
        """Stop the roles, feeders first; a second signal, or the end of the patience, leaves the rest behind."""
        began = time.monotonic()
        told: set[str] = set()
        while running := [name for name, thread in self._threads.items() if thread.is_alive()]:
            for name in running:
                if name not in told and name in self._stopping and not set(self._roles[name].after) & set(running):
                    told.add(name)
                    self._stopping[name].set()
            try:
                happening = self._happenings.get(timeout=0.05)
            except queue.Empty:
                if time.monotonic() > began + DRAIN_SECONDS:
                    self.left_behind = True
                    self._failures += [Ended(name, TimeoutError("did not finish in time")) for name in running]
                    return
                continue
            if isinstance(happening, Signalled) and time.monotonic() > began + SAME_SIGNAL_SECONDS:
                self.left_behind = True
                self._say(f"stopped before {', '.join(running)} had finished; the next start takes up where they were")
                return
            if isinstance(happening, Ended) and happening.error is not None:
                self._fail(happening)

    def _fail(self, ended: Ended) -> str:
        error = ended.error
        why = "it ended by itself" if error is None else str(error)
        if error is not None and not isinstance(error, AffidavitError):
            why = f"bug: {type(error).__name__}: {error}"
        self._say(f"the {ended.role} has failed: {why}; stopping everything")
        self._failures.append(ended)
        return f"the {ended.role} has failed: {why}"

    def _thread(self, role: Role) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live(role))
        except BaseException as raised:
            error = root_cause(raised)
        self._happenings.put(Ended(role.name, error))

    async def _live(self, role: Role) -> None:
        self._stopping[role.name] = Stopping()
        await role.run(self._stopping[role.name], lambda url: self._happenings.put(Ready(role.name, url)))


def root_cause(error: BaseException) -> BaseException:
    """The one error inside task groups that a person must read: ours before any other."""
    while isinstance(error, BaseExceptionGroup):
        ours = [inner for inner in error.exceptions if isinstance(inner, AffidavitError | BaseExceptionGroup)]
        error = (ours or error.exceptions)[0]
    return error
