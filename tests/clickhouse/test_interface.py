"""The read-only HTTP interface, over real loopback sockets, with the clients that people use."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import clickhouse_connect
import httpx
import pytest
import uvicorn
from clickhouse_connect.driver.exceptions import StreamFailureError
from embedded_engine import Database, database_of_its_own
from ledgered import SHARD, log_start, messages
from memory_keys import MemoryKeys

from schemas.errors import AccessDenied, Unavailable
from schemas.ids import Offset
from sinks.clickhouse import ddl
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.interface import Access, create_interface
from sinks.clickhouse.queries import query_names, query_text
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from stores.control import Token

TOKENS = {
    "acme-query": Token("t1", b"", "acme", "", ("query",), 0),
    "acme-content": Token("t2", b"", "acme", "", ("query", "content"), 0),
    "all-content": Token("t3", b"", "*", "", ("query", "content"), 0),
    "ingest": Token("t4", b"", "acme", "gw", ("ingest",), 0),
}
SECRET = "the evil plan"


class Served:
    """A running interface, its address, and what it reported of each access."""

    def __init__(self, database: Database, max_seconds: float = 60.0) -> None:
        self.engine = database
        self.client = database.client()
        self.database = database.database
        self.accesses: list[Access] = []
        self.broken = False
        app = create_interface(database, self._authenticate, self._record, max_seconds=max_seconds)
        config = uvicorn.Config(app, port=0, log_level="critical")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            assert self._thread.is_alive()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def ask(self, token: str, query: str, **parameters: str) -> httpx.Response:
        return httpx.post(self.url, content=query, params=parameters, headers={"X-ClickHouse-Key": token})

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.client.close()

    @staticmethod
    async def _authenticate(_user: str, secret: str) -> Token:
        if secret not in TOKENS:
            raise AccessDenied("unknown token")
        return TOKENS[secret]

    async def _record(self, access: Access) -> None:
        if self.broken:
            raise Unavailable("the log takes nothing")
        self.accesses.append(access)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    database = database_of_its_own()
    client = database.client()
    ddl.migrate(client)
    client.command("INSERT INTO events (topic, offset, tenant, kind) VALUES ('events', 1, 'acme', 'prompt')")
    client.command("INSERT INTO events (topic, offset, tenant, kind) VALUES ('events', 2, 'evil', 'prompt')")
    client.command("INSERT INTO contents (topic, offset, tenant, content) VALUES ('events', 1, 'acme', 'hello')")
    client.command(f"INSERT INTO contents (topic, offset, tenant, content) VALUES ('events', 2, 'evil', '{SECRET}')")
    client.command("CREATE VIEW spoken AS SELECT kind, content FROM events INNER JOIN contents USING (tenant, offset)")
    client.command("CREATE VIEW spoken_again AS SELECT * FROM spoken")
    running = Served(database)
    yield running
    running.close()
    client.close()
    database.close()


@pytest.mark.parametrize("headers", [{}, {"X-ClickHouse-Key": "wrong"}, {"Authorization": "Basic !"}])
def test_nobody_gets_in_without_a_token(served: Served, headers: dict[str, str]) -> None:
    answer = httpx.post(served.url, content="SELECT 1", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["X-ClickHouse-Exception-Code"] == "516"


def test_a_token_in_the_address_is_refused(served: Served) -> None:
    answer = httpx.get(served.url, params={"query": "SELECT 1", "password": "all-content"})
    assert answer.status_code == 401
    assert "ends up in logs" in answer.text
    assert "all-content" not in answer.text


def test_an_ingest_token_does_not_read(served: Served) -> None:
    assert served.ask("ingest", "SELECT 1").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer all-content"},
        {"Authorization": "Basic eDphbGwtY29udGVudA=="},
        {"X-ClickHouse-User": "x", "X-ClickHouse-Key": "all-content"},
    ],
)
def test_the_three_places_of_a_token(served: Served, headers: dict[str, str]) -> None:
    assert httpx.post(served.url, content="SELECT count() FROM events", headers=headers).text == "2\n"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT tenant FROM events",
        "SELECT tenant FROM {database}.events",
        "SELECT tenant FROM (SELECT * FROM events)",
        "WITH q AS (SELECT * FROM events) SELECT tenant FROM q",
        "SELECT a.tenant FROM events AS a INNER JOIN events AS b ON a.offset = b.offset",
        "SELECT tenant FROM events UNION DISTINCT SELECT tenant FROM events",
        "SELECT arrayJoin((SELECT groupArray(tenant) FROM events))",
        "SELECT tenant FROM view(SELECT * FROM events)",
        "SELECT tenant FROM events PREWHERE offset > 0",
        "SELECT tenant FROM {t:Identifier}",
    ],
)
def test_a_tenant_sees_its_own_rows_whatever_the_query(served: Served, query: str) -> None:
    answer = served.ask("acme-query", query.replace("{database}", served.database), param_t="events")
    assert (answer.status_code, answer.text) == (200, "acme\n")


@pytest.mark.parametrize("view", ["spoken", "spoken_again"])
def test_views_over_content_yield_none_to_a_metadata_token(served: Served, view: str) -> None:
    refused = served.ask("acme-query", f"SELECT content FROM {view}")
    assert (refused.status_code, "its scope is query" in refused.text) == (403, True)
    assert served.ask("acme-content", f"SELECT content FROM {view}").text == "hello\n"
    assert served.accesses[-1].content


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT * FROM contents", "which this token may not read"),
        ("SELECT * FROM `contents`", "which this token may not read"),
        ("SELECT * FROM {database}.contents", "which this token may not read"),
        ("SELECT 'x' IN contents", "which this token may not read"),
        ("EXPLAIN SELECT * FROM contents", "which this token may not read"),
        ("SELECT * FROM {c:Identifier}", "which this token may not read"),
        ("SELECT * FROM merge('.*', 'contents')", "table function merge"),
        ("SELECT * FROM merge('events')", "table function merge"),
        ("SELECT * FROM remote('127.0.0.1', {database}.events)", "table function remote"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "table function file"),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "table function url"),
        ("SELECT * FROM mergeTreeIndex('default', 'events')", "table function mergeTreeIndex"),
        ("SELECT * FROM executable('id', 'TSV', 'a String')", "table function executable"),
        ("DESCRIBE file('/etc/passwd')", "statement that is not served"),
        ("SELECT file('/etc/passwd')", "function file"),
        ("SELECT lower(file('/etc/passwd'))", "function file"),
        ("SELECT dictGet('d', 'a', 1)", "function dictGet"),
        ("SELECT joinGet('contents', 'content', 1)", "function joinGet"),
        ("SELECT sleep(3)", "function sleep"),
        ("SELECT 1 INTO OUTFILE '/tmp/affidavit-out'", "INTO OUTFILE"),
        ("SELECT * FROM system.query_log", "table system.query_log"),
        ("SELECT * FROM default.events", "table default.events"),
        ("DROP TABLE events", "statement"),
        ("INSERT INTO events (offset) VALUES (3)", "statement"),
        ("ALTER TABLE events DELETE WHERE 1", "statement"),
        ("SET readonly = 0", "Set statement"),
        ("SYSTEM FLUSH LOGS", "statement"),
        ("KILL QUERY WHERE 1", "KillQuery"),
        ("CREATE TABLE z ENGINE = Memory AS SELECT 1", "statement"),
    ],
)
def test_what_is_not_admitted(served: Served, query: str, reason: str) -> None:
    answer = served.ask("acme-query", query.replace("{database}", served.database), param_c="contents")
    assert answer.status_code == 403
    assert reason in answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE events",
        "SELECT 1 /* ; */ ; -- ;\n DROP TABLE events",
        "SELECT ';'; DROP TABLE events",
    ],
)
def test_one_statement_at_a_time(served: Served, query: str) -> None:
    answer = served.ask("acme-query", query)
    assert answer.status_code == 400
    assert served.ask("acme-query", "SELECT count() FROM events").text == "1\n"


@pytest.mark.parametrize(
    "clause",
    [
        "readonly = 0",
        "additional_table_filters = {'x': '1'}",
        "max_execution_time = 0",
        "allow_introspection_functions = 1",
    ],
)
def test_a_query_cannot_lift_its_settings(served: Served, clause: str) -> None:
    answer = served.ask("acme-query", f"SELECT * FROM events SETTINGS {clause}")
    assert answer.status_code == 403
    name, _, value = clause.partition(" = ")
    assert served.ask("acme-query", "SELECT tenant FROM events", **{name: value}).text == "acme\n"


SPY = "position(content, 'evil plan') > 0"


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT count() FROM contents WHERE throwIf({SPY})",
        f"SELECT count() FROM contents PREWHERE throwIf({SPY})",
        f"SELECT count() FROM contents PREWHERE offset > 0 WHERE throwIf({SPY})",
        f"SELECT count() FROM contents WHERE intDiv(1, not({SPY})) > 5",
        f"SELECT count() FROM (SELECT throwIf({SPY}) AS x FROM contents) WHERE x = 7",
        f"SELECT count() FROM events WHERE offset IN (SELECT offset FROM contents WHERE throwIf({SPY}))",
        f"SELECT count() FROM events AS a INNER JOIN contents AS b ON a.offset = b.offset WHERE throwIf({SPY})",
        f"SELECT count() FROM spoken WHERE throwIf({SPY})",
        f"SELECT max(throwIf({SPY})) FROM contents",
        f"SELECT any(content) FROM contents HAVING throwIf(max({SPY}))",
        f"WITH c AS (SELECT * FROM contents) SELECT sum(1) OVER (ORDER BY throwIf({SPY})) FROM c",
        "SELECT count() FROM events WHERE throwIf(tenant = 'evil')",
    ],
)
def test_a_condition_is_never_evaluated_on_a_strangers_row(served: Served, query: str) -> None:
    assert served.ask("acme-content", query).status_code == 200
    if "tenant = 'evil'" not in query:
        assert served.ask("all-content", query).status_code == 500


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELECT currentDatabase()", "{database}\n"),
        ("SHOW DATABASES", "{database}\n"),
        ("SELECT count() FROM system.tables WHERE database != '{database}'", "0\n"),
        ("SELECT count() FROM system.tables WHERE metadata_path != '' OR notEmpty(data_paths)", "0\n"),
        ("SELECT countIf(name = 'kind') FROM system.columns WHERE table = 'events' AND database = '{database}'", "1\n"),
        ("SELECT name FROM system.databases", "{database}\n"),
        ("EXISTS TABLE events", "1\n"),
        ('EXISTS TABLE "{database}"."events"', "1\n"),
        ('SELECT tenant FROM "{database}"."events"', "acme\n"),
        ("EXISTS TABLE nosuch", "0\n"),
        ("EXISTS {database}.contents", "0\n"),
        ("SELECT {database}.events.tenant FROM {database}.events", "acme\n"),
        ("SELECT events.tenant FROM events", "acme\n"),
        ("WITH events AS (SELECT * FROM events WHERE kind = 'prompt') SELECT tenant FROM events", "acme\n"),
        ("SELECT offset IN (SELECT offset FROM events) FROM events", "1\n"),
        ("SELECT x IN arr FROM (SELECT 1 AS x, [1, 2] AS arr)", "1\n"),
        ("SELECT uniqExactIf(tenant, kind = 'prompt') FROM events", "1\n"),
        ("SELECT row_number() OVER (ORDER BY offset) FROM events", "1\n"),
        ("SELECT count() FROM sessions", "0\n"),
    ],
)
def test_readers_find_their_way_by_the_names_they_know(served: Served, query: str, text: str) -> None:
    answer = served.ask("acme-query", query.replace("{database}", served.database))
    assert answer.text == text.replace("{database}", served.database)


def test_describe_lists_columns_of_tables_and_queries(served: Served) -> None:
    assert "\nkind\tLowCardinality(String)" in served.ask("acme-query", "DESCRIBE TABLE events").text
    assert "\nkind\t" in served.ask("acme-query", f'DESC TABLE "{served.database}"."events"').text
    assert served.ask("acme-query", "DESC (SELECT 1 AS a)").text.startswith("a\tUInt8")
    assert served.ask("acme-query", "DESCRIBE contents").status_code == 403
    assert served.ask("acme-query", "DESCRIBE (SELECT * FROM contents)").status_code == 403


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT * FROM logs", "it is about all tenants"),
        ("SELECT * FROM integrity_chain", "it is about all tenants"),
        ("SELECT * FROM ingest", "expected one of SHOW TABLES"),
        ("SELECT * FROM {database}__all.system_tables", "expected one of SHOW TABLES"),
        ("SELECT * FROM `{database}__all`.`events`", "expected one of SHOW TABLES"),
        ("EXPLAIN ESTIMATE SELECT * FROM events", "EXPLAIN ESTIMATE"),
        ("SELECT * FROM Python(x)", "table function Python"),
        ("SELECT * FROM eval('SELECT 1')", "table function eval"),
        ("SELECT * FROM view(SELECT file('/etc/passwd'))", "function file"),
        ("SELECT * APPLY(file) FROM events", "function file"),
        ("SELECT arrayMap(x -> file(x), ['/etc/passwd'])", "function file"),
        ("SELECT FILE('/etc/passwd')", "function FILE"),
        ("SELECT `file`('/etc/passwd')", "function file"),
        ("SELECT filesystemAvailable()", "function filesystemAvailable"),
        ("SELECT hasColumnInTable('default', 'x', 'y')", "function hasColumnInTable"),
        ("SELECT aiGenerate('x')", "function aiGenerate"),
        ("SELECT CAST(unhex('00') AS AggregateFunction(sum, UInt64))", "aggregate state"),
        ("SELECT 1 WHERE 1 IN contents", "which this token may not read"),
        ("SELECT 1 WHERE 1 IN {database}.contents", "which this token may not read"),
        ("SELECT 1 WHERE 1 IN system.query_log", "expected one of SHOW TABLES"),
        (
            "WITH contents AS (SELECT 1 AS a) SELECT * FROM (SELECT a FROM contents), {database}.contents",
            "may not read",
        ),
        ("SELECT (SELECT content FROM contents LIMIT 1) FROM (WITH contents AS (SELECT 1) SELECT 1)", "may not read"),
        ("SELECT 1 UNION ALL SELECT length(content) FROM contents", "which this token may not read"),
        ("SELECT * FROM events WHERE exists(SELECT 1 FROM contents)", "which this token may not read"),
        ("SELECT 1 ORDER BY (SELECT max(content) FROM contents)", "which this token may not read"),
        ("SELECT 1 LIMIT (SELECT count() FROM contents)", "which this token may not read"),
        ("SELECT sum(1) OVER (ORDER BY (SELECT max(content) FROM contents))", "which this token may not read"),
    ],
)
def test_no_way_around(served: Served, query: str, reason: str) -> None:
    answer = served.ask("acme-query", query.replace("{database}", served.database))
    assert answer.status_code == 403, answer.text
    assert reason in answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize("quotes", ["“”", "‘’", "``", '""'])
def test_quotes_do_not_hide_a_second_statement(served: Served, quotes: str) -> None:
    answer = served.ask("acme-query", f"SELECT 1 AS {quotes[0]}'{quotes[1]} ; SELECT file('/etc/passwd') --'")
    assert answer.status_code == 400
    assert "root:" not in answer.text


def test_a_view_made_later_is_there_for_its_readers(served: Served) -> None:
    served.client.command("CREATE VIEW later AS SELECT tenant, kind FROM events")
    try:
        assert served.ask("acme-query", "SELECT tenant FROM later").text == "acme\n"
    finally:
        served.client.command("DROP VIEW later")
    assert served.ask("acme-query", "SELECT tenant FROM later").status_code == 403


def test_an_error_in_the_middle_of_a_result_is_told(served: Served) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=served.port, username="any", password="all-content")
    query = "SELECT throwIf(number = 3000000) FROM numbers(4000000)"
    try:
        with pytest.raises(StreamFailureError, match="throwIf"), client.query_row_block_stream(query) as blocks:
            for _ in blocks:
                pass
    finally:
        client.close()


def test_queries_run_beside_inserts(served: Served) -> None:
    ended = threading.Event()

    def insert() -> None:
        client = served.engine.client()
        for number in range(10, 30):
            client.command(f"INSERT INTO events (topic, offset, tenant) VALUES ('events', {number}, 'busy')")
        client.close()
        ended.set()

    thread = threading.Thread(target=insert)
    thread.start()
    answers = []
    while not ended.is_set():
        answers.append(served.ask("acme-query", "SELECT tenant FROM events"))
    thread.join()
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "acme\n")}
    assert served.ask("all-content", "SELECT count() FROM events WHERE tenant = 'busy'").text == "20\n"
    served.client.command("DELETE FROM events WHERE tenant = 'busy'")


def test_evidence_over_the_interface_is_that_of_the_engine() -> None:
    database, keys = database_of_its_own(), MemoryKeys()
    sink = ClickHouseSink(database, keys, lambda shard: [log_start(shard)])
    sink.open()
    batch = messages(keys, 40, with_strays=True)
    assert sink.deliver(SHARD, batch) == Delivered()
    sink.close()
    running = Served(database)
    inside = database.client()
    outside = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=running.port,
        username="any",
        password="all-content",
        database=database.database,
        autogenerate_session_id=False,
    )
    try:
        found = [list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(99))) for client in (inside, outside)]
        assert found[0] == found[1]
        assert len(found[0]) == len(batch)
        assert failures(outside) == failures(inside)
    finally:
        outside.close()
        inside.close()
        running.close()
        database.close()


def test_a_query_that_takes_too_long_is_stopped() -> None:
    database = database_of_its_own()
    client = database.client()
    ddl.migrate(client)
    running = Served(database, max_seconds=0.2)
    try:
        answer = running.ask("acme-query", "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "159")
    finally:
        running.close()
        client.close()
        database.close()


def test_what_cannot_be_recorded_is_not_read(served: Served) -> None:
    served.broken = True
    try:
        answer = served.ask("acme-content", "SELECT content FROM contents")
    finally:
        served.broken = False
    assert answer.status_code == 500
    assert "hello" not in answer.text
    assert served.ask("acme-content", "SELECT content FROM contents").text == "hello\n"


def test_a_closing_semicolon_and_comments_are_fine(served: Served) -> None:
    assert served.ask("acme-query", "SELECT 1 /* ; */; -- done;").text == "1\n"
    assert served.ask("acme-query", "SELECT ';--' ").text == ";--\n"


def test_errors_look_like_those_of_clickhouse(served: Served) -> None:
    answer = served.ask("acme-query", "SELECT nosuch FROM events")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "47")
    assert answer.text.startswith("Code: 47. DB::Exception: ")


def test_formats_in_the_query_and_beside_it(served: Served) -> None:
    assert served.ask("acme-query", "SELECT 1 AS a FORMAT JSONEachRow").json() == {"a": 1}
    assert served.ask("acme-query", "SELECT 1 AS a", default_format="JSONEachRow").json() == {"a": 1}
    assert served.ask("acme-query", "SHOW TABLES LIKE 'events'").text == "events\n"
    assert served.ask("acme-query", "SELECT 1", default_format="x'; --").status_code == 400


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_large_results_stream_compressed(served: Served, encoding: str) -> None:
    answer = httpx.get(
        served.url,
        params={"query": "SELECT number FROM numbers(1000000)", "enable_http_compression": "1"},
        headers={"Authorization": "Bearer all-content", "Accept-Encoding": encoding},
    )
    assert answer.headers["Content-Encoding"] == encoding
    if encoding == "gzip":  # httpx reads zstd only with an extra package
        assert answer.text.count("\n") == 1_000_000


def test_clickhouse_connect_over_http(served: Served) -> None:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=served.port, username="any", password="all-content", database=served.database
    )
    try:
        assert client.query("SELECT tenant FROM events ORDER BY tenant").result_rows == [("acme",), ("evil",)]
        found = client.query("SELECT offset FROM events WHERE tenant = {t:String}", parameters={"t": "evil"})
        assert found.result_rows == [(2,)]
    finally:
        client.close()


def test_every_query_is_reported_with_its_outcome(served: Served) -> None:
    served.accesses.clear()
    served.ask("acme-query", "SELECT count() FROM events")
    served.ask("acme-content", "SELECT content FROM contents")
    served.ask("acme-query", "SELECT content FROM contents")
    served.ask("acme-query", "SELEC")
    seen = [(access.token.token_id, access.outcome, access.content) for access in served.accesses]
    assert seen == [("t1", "ok", False), ("t2", "ok", True), ("t1", "denied", False), ("t1", "error", False)]


def test_a_long_query_is_answered_and_an_oversized_one_refused(served: Served) -> None:
    assert served.ask("acme-query", "SELECT length('" + "x" * (3 << 20) + "')").text == f"{3 << 20}\n"
    assert served.ask("acme-query", "SELECT '" + "x" * (4 << 20) + "'").status_code == 413


def test_ping_needs_no_token(served: Served) -> None:
    assert httpx.get(served.url + "ping").text == "Ok.\n"


def test_the_queries_for_auditors_run_over_the_interface(served: Served) -> None:
    told = {"param_origin": "nowhere", "param_size": "1", "param_root": "", "param_first": "0", "param_last": "9"}
    told |= {"param_topic": "events", "param_partition": "0", "param_leaf": "0", "default_format": "TSV"}
    for name in query_names():
        answer = served.ask("all-content", query_text(name), **told)
        assert answer.status_code == 200, (name, answer.text)
        assert "verified" not in answer.text
    assert "of one" in served.ask("acme-content", query_text("root"), **told).text
    assert served.ask("acme-content", query_text("parts"), **told).text == "content\t\t1\nmetadata\t\t1\nsource\t\t1\n"
