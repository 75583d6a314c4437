"""The supervisor: an ordered stop, a loud failure, and no role left behind in silence."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from affidavit import supervisor
from affidavit.supervisor import Role, Stopping, Supervisor
from schemas.errors import Unavailable

Report = Callable[[str], None]


class Recorder:
    """Roles that write down what happens to them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ended: list[str] = []

    def role(self, name: str, after: tuple[str, ...] = ()) -> Role:
        async def run(stop: Stopping, ready: Report) -> None:
            ready(f"http://{name}")
            await stop.wait()
            assert stop
            self.ended.append(name)

        return Role(name, run, after)

    def supervise(self, *roles: Role, ready: Callable[[dict[str, str]], None]) -> list[supervisor.Ended]:
        return Supervisor(roles, self.said.append, ready).run()


def interrupt(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_stops_roles_in_order_once_all_are_ready() -> None:
    recorder = Recorder()
    urls: dict[str, str] = {}

    def ready(seen: dict[str, str]) -> None:
        urls.update(seen)
        interrupt()

    roles = [
        recorder.role("last", after=("middle",)),
        recorder.role("middle", after=("first",)),
        recorder.role("first"),
    ]
    assert recorder.supervise(*roles, ready=ready) == []
    assert recorder.ended == ["first", "middle", "last"]
    assert urls == {name: f"http://{name}" for name in recorder.ended}
    assert "SIGTERM" in recorder.said[0]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Unavailable("the disk is full"), "the broken has failed: the disk is full; stopping everything"),
        (KeyError("x"), "the broken has failed: bug: KeyError: 'x'; stopping everything"),
        (None, "the broken has failed: it ended by itself; stopping everything"),
    ],
)
def test_a_role_that_ends_stops_the_others_and_says_why(error: Exception | None, says: str) -> None:
    async def broken(stop: Stopping, ready: Report) -> None:
        ready("")
        if error is not None:
            raise error

    recorder = Recorder()
    failures = recorder.supervise(recorder.role("whole"), Role("broken", broken), ready=lambda _: None)
    assert [(ended.role, ended.error) for ended in failures] == [("broken", error)]
    assert recorder.ended == ["whole"]
    assert recorder.said == [says]


def test_a_role_that_does_not_finish_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "DRAIN_SECONDS", 0.2)
    loops: list[asyncio.AbstractEventLoop] = []
    release = asyncio.Event()

    async def stuck(stop: Stopping, ready: Report) -> None:
        loops.append(asyncio.get_running_loop())
        ready("")
        await release.wait()

    recorder = Recorder()
    failures = recorder.supervise(Role("stuck", stuck), ready=interrupt)
    assert [(ended.role, str(ended.error)) for ended in failures] == [("stuck", "did not finish in time")]
    loops[0].call_soon_threadsafe(release.set)


def test_a_second_signal_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SAME_SIGNAL_SECONDS", 0.0)
    loops: list[asyncio.AbstractEventLoop] = []
    release = asyncio.Event()

    async def slow(stop: Stopping, ready: Report) -> None:
        loops.append(asyncio.get_running_loop())
        ready("")
        await stop.wait()
        interrupt()
        await release.wait()

    recorder = Recorder()
    assert recorder.supervise(Role("slow", slow), ready=interrupt) == []
    assert "stopped before slow had finished" in recorder.said[-1]
    loops[0].call_soon_threadsafe(release.set)


def test_the_old_signal_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    recorder = Recorder()
    recorder.supervise(recorder.role("one"), ready=interrupt)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
