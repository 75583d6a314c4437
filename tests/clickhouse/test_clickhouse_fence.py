"""The fence: whatever a process does that has lost its shard and does not know it, each offset is there once.

The ghost speaks through a proxy that holds back what it sends, or what it is answered; its successor speaks directly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_server import ClickHouseServer, process_server, served_database
from embedded_engine import Database
from halting_proxy import HaltingProxy
from ledgered import SHARD, log_start, messages, proofs
from load import wait_until
from memory_keys import MemoryKeys

from schemas.errors import Unavailable
from schemas.ids import EVENTS, Offset, Shard
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.fence import Fence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.server import ServerEngine
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Outcome, Retry
from stores.bus import Message

pytestmark = pytest.mark.slow

COUNT = 900
"""Messages of a test; a batch of 300 is about 300 kB as rows."""

RUNNING_INSERTS = "SELECT countIf(query_kind = 'Insert' AND NOT is_cancelled) FROM system.processes"


class Stage:
    """A server, a ghost behind a proxy, and its successor."""

    def __init__(self, server: ClickHouseServer, engine: ServerEngine, keys: MemoryKeys) -> None:
        self.proxy = HaltingProxy(server.port)
        self.engine = engine
        self.batch = messages(keys, COUNT)
        behind = server.engine(database=engine.database, url=self.proxy.url, compression="none")
        self.ghost, self.successor = (
            ClickHouseSink(one, keys, lambda shard: [log_start(shard)]) for one in (behind, engine)
        )
        self._thread = ThreadPoolExecutor(1)
        self.ghost.open()

    def sent_by_the_ghost(self, low: int, high: int) -> Future[Outcome]:
        """It delivers, in a thread of its own, until the proxy holds it back."""
        outcome = self._thread.submit(self.ghost.deliver, SHARD, self.batch[low:high])
        assert self.proxy.halted.wait(30)
        return outcome

    def taken_over(self, expected: int) -> None:
        """The successor resumes, asking again while the ghost's insert runs."""
        while True:
            try:
                found = self.successor.resume(SHARD, Offset(0))
            except Unavailable as error:
                if "still running" not in str(error):
                    raise
            else:
                assert found == expected
                return

    def delivered(self, low: int, high: int, step: int) -> None:
        for at in range(low, high, step):
            assert self.successor.deliver(SHARD, self.batch[at : min(at + step, high)]) == Delivered()

    def check(self, count: int = COUNT) -> None:
        check(self.engine, self.batch[:count])

    def close(self) -> None:
        self.proxy.close()
        self._thread.shutdown()
        self.ghost.close()
        self.successor.close()


@pytest.fixture
def stage(keys: MemoryKeys) -> Iterator[Stage]:
    server = process_server()
    with served_database(server) as engine, closing(Stage(server, engine, keys)) as stage:
        yield stage


def check(engine: Engine, batch: list[Message]) -> None:
    """Each offset once in both tables, the chain unbroken, the proofs those of the ledger."""
    with closing(engine.client()) as client:
        for table in ("events", "contents"):
            rows = client.query(f"SELECT count(), uniqExact(offset) FROM {table}").result_rows
            assert rows == [(len(batch), len(batch))], table
        assert failures(client) == []
        found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(1 << 40)))
        assert [(item.leaf, item.chain) for item in found] == [
            (proof.leaf, proof.chain) for proof in proofs(batch, log_start())
        ]


def fenced(outcome: Outcome) -> bool:
    return isinstance(outcome, Retry) and "another process has taken events/0" in outcome.reason


def test_a_ghost_that_has_sent_nothing_yet_is_refused_until_it_resumes(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    assert stage.ghost.deliver(SHARD, stage.batch[:300]) == Delivered()
    stage.taken_over(300)
    stage.delivered(300, 700, 150)
    for _ in range(3):
        assert fenced(stage.ghost.deliver(SHARD, stage.batch[300:600]))
    stage.check(700)
    assert stage.ghost.resume(SHARD, Offset(0)) == 700
    assert stage.ghost.deliver(SHARD, stage.batch[700:]) == Delivered()
    assert fenced(stage.successor.deliver(SHARD, stage.batch[700:]))
    stage.check()


def test_a_request_that_arrives_after_the_successor_has_delivered_is_refused(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    assert stage.ghost.deliver(SHARD, stage.batch[:300]) == Delivered()
    stage.proxy.halt_requests(after=0)
    outcome = stage.sent_by_the_ghost(300, 600)
    stage.taken_over(300)
    stage.delivered(300, COUNT, 200)
    stage.proxy.go_on()
    assert fenced(outcome.result())
    stage.check()


def test_half_a_body_that_goes_on_is_waited_for(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    stage.proxy.halt_requests(after=100_000)
    outcome = stage.sent_by_the_ghost(0, 300)
    with pytest.raises(Unavailable, match="events/0: 1 inserts that began before are still running"):
        stage.successor.resume(SHARD, Offset(0))
    stage.proxy.go_on()
    assert outcome.result() == Delivered()
    stage.taken_over(300)
    stage.delivered(300, COUNT, 250)
    assert fenced(stage.ghost.deliver(SHARD, stage.batch[300:400]))
    stage.check()


def test_half_a_body_that_does_not_go_on_is_given_up_by_the_server(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    stage.proxy.halt_requests(after=100_000)
    outcome = stage.sent_by_the_ghost(0, 300)
    stage.taken_over(0)
    stage.delivered(0, 500, 70)
    stage.proxy.go_on()
    # An error of the reader makes it look for the rows that were refused, and they are all there, by another's hand.
    assert outcome.result() == Delivered()
    assert fenced(stage.ghost.deliver(SHARD, stage.batch[500:]))
    stage.delivered(500, COUNT, 200)
    stage.check()


def test_half_a_body_whose_connection_dies_inserts_nothing(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    for after in (20_000, 100_000, 200_000):
        stage.proxy.halt_requests(after=after)
        outcome = stage.sent_by_the_ghost(0, 300)
        stage.proxy.cut()
        result = outcome.result()
        assert isinstance(result, Retry)
        assert not fenced(result)
    stage.taken_over(0)
    with closing(stage.engine.client()) as client:
        assert client.query("SELECT count() FROM events UNION ALL SELECT count() FROM contents").result_rows == [
            (0,),
            (0,),
        ]
    stage.delivered(0, COUNT, 300)
    stage.check()


def test_an_answer_that_comes_late_changes_nothing(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    assert stage.ghost.deliver(SHARD, stage.batch[:10]) == Delivered()
    stage.proxy.halt_answers()
    outcome = stage.sent_by_the_ghost(10, 310)
    stage.taken_over(310)
    stage.delivered(310, COUNT, 99)
    stage.proxy.go_on()
    assert outcome.result() == Delivered()
    assert fenced(stage.ghost.deliver(SHARD, stage.batch[310:400]))
    stage.check()


def test_an_answer_that_never_comes_is_followed_by_a_look(stage: Stage) -> None:
    """The same process goes on: its rows are there, and it finds them."""
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    assert stage.ghost.deliver(SHARD, stage.batch[:10]) == Delivered()
    stage.proxy.halt_answers()
    outcome = stage.sent_by_the_ghost(10, 310)
    stage.proxy.cut()
    assert isinstance(outcome.result(), Retry)
    result = stage.ghost.deliver(SHARD, stage.batch[10:310])
    while isinstance(result, Retry):
        assert "still running" in result.reason
        result = stage.ghost.deliver(SHARD, stage.batch[10:310])
    assert result == Delivered()
    stage.check(310)


def test_the_shards_of_a_process_are_fenced_each_for_itself(stage: Stage) -> None:
    other = Shard(EVENTS, 1)
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    assert stage.ghost.resume(other, Offset(0)) == 0
    stage.taken_over(0)
    moved = [message._replace(shard=other) for message in stage.batch[:20]]
    assert stage.ghost.deliver(other, moved) == Delivered()
    assert fenced(stage.ghost.deliver(SHARD, stage.batch[:20]))


@pytest.fixture(params=["embedded", "server"])
def any_engine(request: pytest.FixtureRequest, engine: Database, keys: MemoryKeys) -> Iterator[Engine]:
    """Both kinds, with the tables in place."""

    def opened(one: Engine) -> Engine:
        ClickHouseSink(one, keys, lambda shard: []).open()
        return one

    if request.param == "embedded":
        yield opened(engine)
    else:
        with served_database(process_server()) as served:
            yield opened(served)


def test_of_two_that_raise_at_once_one_has_the_shard(any_engine: Engine) -> None:
    """Whatever the order of their steps, at most one may insert in the end, and it is the one that was told so."""
    clients = [any_engine.client() for _ in range(4)]
    for _ in range(5):
        fences = [Fence(SHARD, any_engine.database) for _ in clients]
        barrier = threading.Barrier(len(fences))

        def take(fence: Fence, client: object, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                fence.take(client)  # type: ignore[arg-type]
            except Unavailable:
                return False
            return True

        with ThreadPoolExecutor(len(fences)) as threads:
            took = list(threads.map(take, fences, clients))
        holding = [holds(fence, clients[0]) for fence in fences]
        assert sum(holding) == 1
        assert all(told for told, held in zip(took, holding, strict=True) if held)
    for client in clients:
        client.close()


def holds(fence: Fence, client: object) -> bool:
    try:
        client.query(f"SELECT 1 WHERE {fence.condition}")  # type: ignore[attr-defined]
    except DatabaseError as error:
        if error.code != 395:
            raise
        return False
    return True


def test_renewing_takes_the_shard_from_nobody(any_engine: Engine) -> None:
    with closing(any_engine.client()) as client:
        old, new = Fence(SHARD, any_engine.database), Fence(SHARD, any_engine.database)
        old.take(client)
        before = old.condition
        old.renew(client)
        assert old.condition != before
        assert holds(old, client)
        new.take(client)
        with pytest.raises(Unavailable, match="another process has taken events/0"):
            old.renew(client)
        with pytest.raises(Unavailable, match="another process has taken events/0"):
            old.check()
        assert holds(new, client)
        assert not holds(old, client)
        old.take(client)
        old.check()
        assert holds(old, client)


def test_an_insert_that_lasts_is_killed(stage: Stage) -> None:
    assert stage.ghost.resume(SHARD, Offset(0)) == 0
    stage.proxy.halt_requests(after=100_000)
    outcome = stage.sent_by_the_ghost(0, 300)
    fence = Fence(SHARD, stage.engine.database, kill_seconds=0.0)
    with closing(stage.engine.client()) as client:
        with pytest.raises(Unavailable, match="still running"):
            fence.take(client)
        # Only an insert that was killed can fail now: the fence was raised after it had looked at it.
        wait_until(lambda: client.query(RUNNING_INSERTS).result_rows == [(0,)], 30)
        stage.proxy.go_on()
        assert isinstance(outcome.result(), Retry)
        fence.take(client)
    stage.taken_over(0)
    stage.delivered(0, COUNT, 300)
    stage.check()
