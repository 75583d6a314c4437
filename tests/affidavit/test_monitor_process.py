"""The monitor of a process over loopback: scrapes, a stuck role, readiness as it comes and goes, who is told what."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

import pytest
from memory_bus import MemoryBus
from monitor_readings import CLICKHOUSE, SIGNER, SPOOL
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from affidavit.monitor.listener import monitored
from affidavit.monitor.probe import Probe
from affidavit.monitor.process import Monitor
from affidavit.monitor.pulse import STUCK_SECONDS, Pulse
from affidavit.monitor.server import serving
from affidavit.settings import Settings
from affidavit.supervisor import Role, Stopping, Supervisor
from schemas.errors import ConfigurationError, EvidenceIncomplete, Unavailable
from schemas.ids import Offset, Shard
from signer.loop import Signed

EVENTS = Shard("events", 0)
WAIT_SECONDS = 20.0


class Answer(NamedTuple):
    status: int
    media_type: str
    text: str

    @property
    def document(self) -> dict[str, object]:
        return json.loads(self.text)


def get(url: str, **headers: str) -> Answer:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return Answer(answer.status, answer.headers["content-type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers["content-type"], error.read().decode())


class Seconds:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Running:
    """Roles of a process, each on a thread and a loop of its own as the supervisor runs them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._stops: dict[str, Stopping] = {}
        self._threads: list[threading.Thread] = []

    def start(self, name: str, live: Callable[[Stopping, Callable[[str], None]], object]) -> None:
        """Run a role, and return when it has begun."""
        begun = threading.Event()

        async def run(stop: Stopping, ready: Callable[[str], None]) -> None:
            self._stops[name] = stop
            begun.set()
            await live(stop, ready)  # type: ignore[misc]

        async def main() -> None:
            await self._monitor.watched(Role(name, run)).run(Stopping(), lambda url: None)

        self._threads.append(threading.Thread(target=lambda: asyncio.run(main())))
        self._threads[-1].start()
        assert begun.wait(WAIT_SECONDS)

    def stop(self) -> None:
        for (name, stop), thread in zip(self._stops.items(), self._threads, strict=True):
            with suppress(RuntimeError):  # its loop is closed: it has ended by itself
                stop.set()
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive(), name


@contextmanager
def running(monitor: Monitor) -> Iterator[Running]:
    roles = Running(monitor)
    try:
        yield roles
    finally:
        roles.stop()


async def idle(stop: Stopping, ready: Callable[[str], None]) -> None:
    ready("")
    await stop.wait()


def monitor_of(*roles: str, clock: Callable[[], float] | None = None) -> Monitor:
    return Monitor(roles, version="1.2.3", **({"clock": clock} if clock else {}))


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread, which has nothing that could be waited for."""
    pause = threading.Event()
    for _ in range(int(WAIT_SECONDS / 0.01)):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


def test_a_scrape_gives_prometheus_text_or_openmetrics() -> None:
    monitor = monitor_of("signer")
    monitor.watch_signer(lambda: SIGNER)
    with serving(monitor, "127.0.0.1", 0) as url:
        plain = get(f"{url}/metrics")
        open_ = get(f"{url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
        zipped = urllib.request.Request(f"{url}/metrics", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(zipped, timeout=WAIT_SECONDS) as answer:
            assert answer.headers["content-encoding"] == "gzip"
    assert plain.media_type == "text/plain; version=0.0.4; charset=utf-8"
    assert open_.media_type.startswith("application/openmetrics-text; version=1.0.0")
    names = {metric.name for metric in parse(plain.text)}
    assert {"affidavit_build_info", "affidavit_role_ready", "process_resident_memory_bytes", "python_info"} <= names
    assert {metric.name for metric in parse_openmetrics(open_.text)} >= {"affidavit_build", "affidavit_role_ready"}


def test_two_monitors_share_nothing() -> None:
    one, other = monitor_of("signer"), monitor_of("archive")
    one.signing.signed(Signed(EVENTS, "origin", 2, 1, 0, 0.001))
    assert one.signing.snapshot()
    assert not other.signing.snapshot()


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}.*choose another port"),
            serving(monitor_of("signer"), "127.0.0.1", port),
        ):
            pass


def configured(**monitor: object) -> Settings:
    return Settings.model_validate({"monitor": monitor})


def test_of_processes_with_the_default_port_the_second_takes_a_free_one(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as taken:
        with suppress(OSError):  # somebody else has it, which is as good
            taken.enter_context(socket.create_server(("127.0.0.1", 9464)))
        with monitored(monitor_of("signer"), configured()) as url:
            assert get(f"{url}/livez").status == 200
            assert not url.endswith(":9464")
            assert f"this process is watched at {url}" in caplog.text


def test_a_port_that_was_asked_for_is_not_replaced_by_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = configured(port=taken.getsockname()[1])
        with (
            pytest.raises(ConfigurationError, match="choose another port"),
            monitored(monitor_of("signer"), settings),
        ):
            pass


def test_it_can_be_switched_off_and_given_a_token() -> None:
    with monitored(monitor_of("signer"), configured(enabled=False)) as url:
        assert url == ""
    with monitored(monitor_of("signer"), configured(port=0, token="s3cret")) as url:
        assert get(f"{url}/metrics").status == 401
        assert get(f"{url}/metrics", Authorization="Bearer s3cret").status == 200


def test_the_listener_is_gone_afterwards() -> None:
    with serving(monitor_of("signer"), "127.0.0.1", 0) as url:
        pass
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(f"{url}/livez")
    assert "monitor" not in {thread.name for thread in threading.enumerate()}


def test_a_role_goes_from_starting_to_ready_to_stopping_to_ended() -> None:
    monitor = monitor_of("collector")
    may_be_ready, may_end = threading.Event(), threading.Event()

    async def live(stop: Stopping, ready: Callable[[str], None]) -> None:
        await asyncio.to_thread(may_be_ready.wait)
        ready("http://127.0.0.1:1")
        await stop.wait()
        await asyncio.to_thread(may_end.wait)

    with serving(monitor, "127.0.0.1", 0) as url, running(monitor) as roles:

        def said() -> str:
            return get(f"{url}/readyz").text

        roles.start("collector", live)
        assert said() == "not ready\ncollector: it is starting\n"
        may_be_ready.set()
        until(lambda: said() == "ready\n")
        assert get(f"{url}/readyz").status == 200
        roles._stops["collector"].set()
        until(lambda: said() == "not ready\ncollector: it is stopping\n")
        assert get(f"{url}/livez").status == 200, "who drains is alive"
        may_end.set()
        until(lambda: said() == "not ready\ncollector: it has ended\n")
        assert get(f"{url}/livez").status == 200


def test_a_role_that_fails_says_why_and_fails_as_before() -> None:
    monitor = monitor_of("archive")

    async def live(stop: Stopping, ready: Callable[[str], None]) -> None:
        raise ExceptionGroup("tasks", [EvidenceIncomplete("the bus begins\nat 5")])

    supervisor = Supervisor([monitor.watched(Role("archive", live))], lambda line: None, lambda urls: None)
    failures = supervisor.run()
    assert isinstance(failures[0].error, EvidenceIncomplete)
    assert [tuple(one) for one in monitor.unready()] == [("archive", "it has ended: the bus begins at 5")]
    assert not monitor.stuck()


def test_a_stuck_loop_is_named_while_the_others_go_on() -> None:
    clock = Seconds()
    monitor = monitor_of("collector", "signer", clock=clock)
    release, blocked = threading.Event(), threading.Event()

    async def stuck(stop: Stopping, ready: Callable[[str], None]) -> None:
        ready("")
        await asyncio.sleep(0)
        blocked.set()
        release.wait()  # on the loop itself, which is the mistake
        await stop.wait()

    with serving(monitor, "127.0.0.1", 0) as url, running(monitor) as roles:
        roles.start("collector", idle)
        roles.start("signer", stuck)
        try:
            assert blocked.wait(WAIT_SECONDS)
            until(lambda: get(f"{url}/readyz").status == 200)
            clock.now += STUCK_SECONDS + 1
            until(lambda: monitor.role_readings()[0].silence == 0)
            assert get(f"{url}/livez") == (
                503,
                "text/plain; charset=utf-8",
                "not live\nsigner: its event loop has not answered for 31 s\n",
            )
            assert get(f"{url}/readyz?verbose").document == {
                "status": "not ready",
                "roles": {
                    "collector": {"ready": True},
                    "signer": {"ready": False, "reason": "its event loop has not answered for 31 s"},
                },
            }
            text = get(f"{url}/metrics").text
            assert 'affidavit_role_heartbeat_age_seconds{role="signer"} 31.0' in text
            assert 'affidavit_role_ready{role="signer"} 0.0' in text
            assert 'affidavit_role_ready{role="collector"} 1.0' in text
        finally:
            release.set()
        until(lambda: get(f"{url}/livez").status == 200)


def test_a_snapshot_that_hangs_does_not_hold_up_the_answer_to_whether_it_lives() -> None:
    monitor = monitor_of("signer")
    release, asked = threading.Event(), threading.Event()

    def hang() -> object:
        asked.set()
        release.wait(WAIT_SECONDS)
        return SIGNER

    monitor.watch_signer(hang)  # type: ignore[arg-type]
    with serving(monitor, "127.0.0.1", 0) as url:
        scrape = threading.Thread(target=get, args=(f"{url}/metrics",))
        scrape.start()
        try:
            assert asked.wait(WAIT_SECONDS)
            assert get(f"{url}/livez").status == 200
        finally:
            release.set()
            scrape.join(WAIT_SECONDS)


def test_a_snapshot_that_cannot_be_read_is_counted_and_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    monitor = monitor_of("signer", "clickhouse")

    def broken() -> object:
        raise RuntimeError("changed size during iteration")

    monitor.watch_signer(broken)  # type: ignore[arg-type]
    monitor.watch_sink("clickhouse", lambda: CLICKHOUSE)
    monitor.watch_spool(lambda: SPOOL.state, SPOOL.limits)
    with serving(monitor, "127.0.0.1", 0) as url, running(monitor) as roles:
        roles.start("signer", idle)
        roles.start("clickhouse", idle)
        until(lambda: "signer: its state cannot be read" in get(f"{url}/readyz").text)
        assert "clickhouse" not in get(f"{url}/readyz").text
        text = get(f"{url}/metrics").text
    assert 'affidavit_reading_errors_total{part="signer"}' in text
    assert "affidavit_signer_state" not in text
    assert "affidavit_sink_lag_records" in text
    assert "affidavit_spool_records 7.0" in text
    assert "the snapshot of the signer could not be read" in caplog.text


def test_what_keeps_each_role_from_its_work() -> None:
    monitor = monitor_of("signer", "clickhouse")
    signer, sink = [SIGNER], [CLICKHOUSE]
    monitor.watch_signer(lambda: signer[0])
    monitor.watch_sink("clickhouse", lambda: sink[0])
    with running(monitor) as roles:
        roles.start("signer", idle)
        roles.start("clickhouse", idle)
        until(lambda: all(one.phase == "running" for one in monitor.role_readings()))

        def said() -> dict[str, str]:
            return {one.role: one.reason for one in monitor.unready()}

        assert said() == {"signer": "events/0 has halted: H7 the bus ends at offset 90"}, "a paused sink is ready"
        opening = replace(SIGNER.shards[0], state="opening", last_message="the control database is away")
        halted = replace(SIGNER.anchors, owned=False, state="halted", last_message="a log has become shorter")
        signer[0] = replace(SIGNER, shards=(opening,), anchors=halted)
        failed = replace(CLICKHOUSE.shards[0], state="failed", last_reason="x" * 1000)
        sink[0] = replace(CLICKHOUSE, shards=(failed,))
        assert said()["signer"] == (
            "control/0: its log is not open: the control database is away; "
            "the anchor log has halted: a log has become shorter"
        )
        assert len(said()["clickhouse"]) == 300
        signer[0] = replace(SIGNER, shards=SIGNER.shards[:1])
        sink[0] = replace(CLICKHOUSE, shards=())
        assert said() == {}, "who owns no shard has nothing to wait for"


async def test_a_collector_is_ready_while_its_question_is_answered_yes() -> None:
    monitor, away = monitor_of("collector"), [""]
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def ask() -> None:
        asked.put_nowait(away[0])
        if away[0]:
            raise Unavailable(away[0])

    probe = Probe(ask, every=0.001)
    monitor.watch_collector(probe, lambda: 5, 10)
    monitor._pulses["collector"].phase = "running"
    assert [tuple(one) for one in monitor.unready()] == [("collector", "was not asked yet")]
    stop = asyncio.Event()
    watching = asyncio.create_task(probe.watch(stop))

    async def answered(what: str) -> None:
        """An answer to a question that was asked after now."""
        while not asked.empty():
            asked.get_nowait()
        for _ in range(2):
            while await asked.get() != what:
                pass

    await answered("")
    assert not monitor.unready()
    away[0] = "the brokers do not answer"
    await answered(away[0])
    assert [tuple(one) for one in monitor.unready()] == [("collector", "the brokers do not answer")]
    stop.set()
    await watching


async def test_no_answer_is_a_no() -> None:
    clock = Seconds()

    async def never() -> None:
        await asyncio.Event().wait()

    probe = Probe(never, every=0.001, patience=0.001, clock=clock)
    stop = asyncio.Event()
    watching = asyncio.create_task(probe.watch(stop))
    while probe.reason() == "was not asked yet":
        await asyncio.sleep(0)
    assert probe.reason() == "no answer within 0.001 s"
    stop.set()
    await watching
    clock.now += 60
    assert probe.reason() == "no answer for 60 s"


async def test_a_question_with_a_bug_is_a_no_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    calls: asyncio.Queue[None] = asyncio.Queue()

    async def wrong() -> None:
        calls.put_nowait(None)
        raise KeyError("secret value")

    probe = Probe(wrong, every=0.001)
    stop = asyncio.Event()
    watching = asyncio.create_task(probe.watch(stop))
    for _ in range(3):
        await calls.get()
    assert probe.reason() == "bug: KeyError"
    assert "a probe failed" in caplog.text
    stop.set()
    await watching


async def test_a_pulse_beats_until_it_is_told_to_stop() -> None:
    clock, stop = Seconds(), asyncio.Event()
    pulse = Pulse(clock)
    clock.now += 5
    assert pulse.silence() == 5
    beating = asyncio.create_task(pulse.beat(stop))
    await asyncio.sleep(0)
    assert pulse.silence() == 0
    stop.set()
    await beating
    clock.now += 7
    assert pulse.silence() == 7
    pulse.end("")
    assert pulse.silence() == 0


@pytest.mark.parametrize(
    "header", ["", "Bearer wrong", "Bearer ", "bearer s3cret", "Basic s3cret", "Bearer s3cret\xe9"]
)
def test_a_scraper_without_the_token_gets_nothing(header: str) -> None:
    with serving(monitor_of("signer"), "127.0.0.1", 0, token="s3cret") as url:
        answer = get(f"{url}/metrics", **({"Authorization": header} if header else {}))
    assert answer.status == 401
    assert "affidavit_" not in answer.text
    assert "s3cret" not in answer.text


def test_with_a_token_reasons_are_for_bearers_and_names_for_everybody() -> None:
    monitor = monitor_of("signer")
    monitor._pulses["signer"].end("cannot reach db.internal.example")
    with serving(monitor, "127.0.0.1", 0, token="s3cret") as url:
        bearer = {"Authorization": "Bearer s3cret"}
        assert get(f"{url}/metrics", **bearer).status == 200
        assert get(f"{url}/readyz").text == "not ready\nsigner\n"
        assert "db.internal" not in get(f"{url}/readyz?verbose").text
        assert "db.internal" in get(f"{url}/readyz?verbose", **bearer).text
        assert get(f"{url}/livez").status == 200


@pytest.mark.parametrize("path", ["/", "/metric", "/debug", "/readyz/x", "/docs"])
def test_there_is_nothing_else(path: str) -> None:
    with serving(monitor_of("signer"), "127.0.0.1", 0) as url:
        assert get(url + path).status == 404


def test_nothing_can_be_sent_to_it() -> None:
    with serving(monitor_of("signer"), "127.0.0.1", 0) as url:
        request = urllib.request.Request(f"{url}/metrics", data=b"x")
        with pytest.raises(urllib.error.HTTPError, match="405") as refused:
            urllib.request.urlopen(request, timeout=WAIT_SECONDS)
        refused.value.close()


async def test_errors_of_the_bus_are_counted_by_call_and_class() -> None:
    monitor = monitor_of("signer")
    bus = monitor.watch_bus(MemoryBus())
    other = monitor.watch_bus(MemoryBus())
    for one in (bus, other):
        with pytest.raises(EvidenceIncomplete, match="no longer on the bus"):
            await one.read(EVENTS, Offset(-1), max_records=1, max_bytes=1)
    assert monitor.reading().bus_errors["read", "EvidenceIncomplete"] == 2


def test_batches_are_counted_by_shard() -> None:
    monitor = monitor_of("signer")
    monitor.watch_signer(lambda: SIGNER)
    for records, seconds in ((1, 0.002), (500, 0.02), (32_768, 0.2)):
        monitor.signing.signed(Signed(EVENTS, "origin", 1, records, 0, seconds))
    with serving(monitor, "127.0.0.1", 0) as url:
        text = get(f"{url}/metrics").text
    assert 'affidavit_signer_batch_records_bucket{le="1000.0",shard="events/0"} 2.0' in text
    assert 'affidavit_signer_batch_records_sum{shard="events/0"} 33269.0' in text
    assert 'affidavit_signer_batch_seconds_bucket{le="0.003",shard="events/0"} 1.0' in text
    assert 'affidavit_signer_batch_seconds_count{shard="events/0"} 3.0' in text
