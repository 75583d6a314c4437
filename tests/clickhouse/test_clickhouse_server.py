"""The engine that is a server: who we are to it, what it refuses, and what it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_server import PASSWORD, process_server, served_database
from halting_proxy import HaltingProxy
from ledgered import SHARD, log_start, messages
from memory_keys import MemoryKeys

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import Offset
from sinks.clickhouse import ddl
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.server import Compression, Server, ServerEngine
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Pause, Retry


@pytest.fixture
def served() -> Iterator[ServerEngine]:
    with served_database(process_server()) as engine:
        yield engine


def sink_of(engine: ServerEngine, keys: MemoryKeys) -> ClickHouseSink:
    return ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("clickhouse:8123", r"got 'clickhouse:8123' as address of ClickHouse, expected http\(s\)://host:port"),
        ("http://", "expected http"),
        ("ftp://a:1", "expected http"),
        ("http://a/?user=x", "expected http"),
        ("http://sink:secret@a:1", "with a user or password in it, expected none"),
        ("http://a:port", "does not parse"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        ServerEngine(Server(url))
    assert "secret" not in str(raised.value)


def test_certificates_are_for_tls_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected https: certificates are for TLS"):
        ServerEngine(Server("http://a:1", ca_file=tmp_path / "ca.pem"))
    with pytest.raises(ConfigurationError, match=r"there is no file .*ca\.pem"):
        ServerEngine(Server("https://a:1", ca_file=tmp_path / "ca.pem"))
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="a certificate or key for https://a:1 cannot be used"):
        ServerEngine(Server("https://a:1", ca_file=junk))
    with pytest.raises(ConfigurationError, match="a certificate or key for https://a:1 cannot be used"):
        ServerEngine(Server("https://a:1", client_certificate=junk))


def test_the_password_is_in_no_message(keys: MemoryKeys) -> None:
    assert PASSWORD not in repr(Server("http://a", password=PASSWORD))
    sink = sink_of(process_server().engine(password="not " + PASSWORD), keys)
    with pytest.raises(ConfigurationError, match=r"516.*check the user and the password of the sink") as raised:
        sink.open()
    outcome = sink.deliver(SHARD, messages(keys, 1))
    assert isinstance(outcome, Pause)
    assert "check the user and the password of the sink" in outcome.reason
    assert PASSWORD not in str(raised.value) + outcome.reason


def test_a_server_that_is_away_is_waited_for(keys: MemoryKeys) -> None:
    with closing(HaltingProxy(1)) as nowhere:
        sink = sink_of(ServerEngine(Server(nowhere.url)), keys)
        with pytest.raises(Unavailable, match="ClickHouse does not answer for the tables"):
            sink.open()
        with pytest.raises(Unavailable, match="events/0: ClickHouse does not say where to resume"):
            sink.resume(SHARD, Offset(0))
        with pytest.raises(Unavailable, match="events/0 offset 3: ClickHouse does not answer"):
            sink.last(SHARD, Offset(3))
        assert isinstance(sink.deliver(SHARD, messages(keys, 1)), Retry)


def test_a_server_that_does_not_answer_in_time_is_asked_again(keys: MemoryKeys) -> None:
    server = process_server()
    with served_database(server) as engine, closing(HaltingProxy(server.port)) as proxy:
        sink_of(engine, keys).open()
        sink = sink_of(server.engine(database=engine.database, url=proxy.url, receive_seconds=5), keys)
        batch = messages(keys, 20)
        assert sink.deliver(SHARD, batch[:10]) == Delivered()
        proxy.halt_answers()
        outcome = sink.deliver(SHARD, batch[10:])
        assert isinstance(outcome, Retry)
        assert "timed out" in outcome.reason
        proxy.go_on()
        while isinstance(outcome := sink.deliver(SHARD, batch[10:]), Retry):
            assert "still running" in outcome.reason
        assert outcome == Delivered()
        sink.close()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_bodies_are_compressed_as_wished(keys: MemoryKeys, compression: Compression) -> None:
    with served_database(process_server(), compression=compression) as engine:
        sink = sink_of(engine, keys)
        sink.open()
        batch = messages(keys, 50)
        assert sink.resume(SHARD, Offset(0)) == 0
        assert sink.deliver(SHARD, batch[:20]) == Delivered()
        assert sink.deliver(SHARD, batch[20:]) == Delivered()
        with closing(engine.client()) as client:
            assert client.query("SELECT count(), uniqExact(offset) FROM contents").result_rows == [(50, 50)]
            assert failures(client) == []
        sink.close()


def test_the_database_is_made_where_it_is_not(keys: MemoryKeys) -> None:
    engine = process_server().engine(database="made on the way")
    sink = sink_of(engine, keys)
    sink.open()
    assert sink.resume(SHARD, Offset(0)) == 0
    sink.close()
    with closing(engine.client()) as client:
        client.command("DROP DATABASE `made on the way` SYNC")


def test_tables_that_are_made_by_several_at_once_are_made_once(served: ServerEngine, keys: MemoryKeys) -> None:
    barrier = threading.Barrier(3)

    def open_one(_: int) -> None:
        sink = sink_of(served, keys)
        barrier.wait()
        sink.open()
        sink.close()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(open_one, range(3)))
    with closing(served.client()) as client:
        assert ddl.migrate(client) == []
        names = client.query("SELECT DISTINCT name FROM migrations ORDER BY name").result_rows
        assert [name for (name,) in names] == [file.name for file in ddl.files()]
        made = client.query("SELECT count() FROM system.tables WHERE database = currentDatabase()").result_rows
    sink = sink_of(served, keys)
    assert sink.deliver(SHARD, messages(keys, 5)) == Delivered()
    with closing(served.client()) as client:
        assert client.query("SELECT count() FROM events").result_rows == [(5,)]
        assert client.query("SELECT count() FROM system.tables WHERE database = currentDatabase()").result_rows == made
    sink.close()


def test_sessions_are_off(served: ServerEngine) -> None:
    """A server runs one statement of a session at a time, and refuses the next."""
    with closing(served.client({"max_threads": 1})) as client:
        assert client.get_client_setting("session_id") is None
        assert client.params["max_threads"] == 1
