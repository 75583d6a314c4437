"""Evidence from ClickHouse: what the tables hold comes back byte for byte, and a column that lies is shown to lie."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.entry import invalid_commitments, unpack_commitments
from schemas.evidence import Evidence
from schemas.ids import CONTROL, Offset, Shard
from schemas.metadata import schema
from schemas.parts import METADATA, commit
from sinks.clickhouse import evidence
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from stores.bus import Message

LAST = Offset(1 << 40)


@pytest.fixture
def client(engine: Database) -> Iterator[Client]:
    client = engine.client({"mutations_sync": 2})
    yield client
    client.close()


@pytest.fixture
def batch(engine: Database, keys: MemoryKeys) -> list[Message]:
    return delivered(engine, keys)


def delivered(engine: Database, keys: MemoryKeys, count: int = 30) -> list[Message]:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    batch = messages(keys, count, with_strays=True)
    assert sink.deliver(SHARD, batch) == Delivered()
    sink.close()
    return batch


def opens(found: Evidence, message: Message) -> bool:
    """Whether every part given matches its commitment."""
    committed = unpack_commitments(message.commitments)
    return all(commit(part.salt, part.type, part.data) == committed[part.type] for part in found.opened)


def test_evidence_is_what_was_sealed(client: Client, batch: list[Message]) -> None:
    source = ClickHouseEvidence(client)
    found = list(source.scan(SHARD, Offset(0), LAST))
    expected = proofs(batch, log_start())
    assert [item.offset for item in found] == [message.offset for message in batch]
    assert [(item.leaf, item.chain) for item in found] == [(proof.leaf, proof.chain) for proof in expected]
    for item, message in zip(found[:30], batch[:30], strict=True):
        assert [part.type for part in item.opened] == [1, 2, 3]
        assert opens(item, message)
        assert item.event_id == message.event_id
    for item, message in zip(found[30:34], batch[30:34], strict=True):
        assert item.opened == ()
        assert (item.record, item.key) == (message.value, message.key)
        assert invalid_commitments(item.key, item.record, list(item.headers)) == invalid_commitments(
            message.key, message.value, list(message.headers)
        )
    assert source.end(SHARD) == len(batch)
    assert source.end(Shard(CONTROL, 0)) == 0


def test_a_range_is_scanned_and_no_more(client: Client, batch: list[Message]) -> None:
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(5), Offset(9)))
    assert [item.offset for item in found] == [5, 6, 7, 8]


def test_windows_join_without_a_seam(client: Client, batch: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "READ_AHEAD_BYTES", 3000)
    monkeypatch.setattr(evidence, "PLAN_OFFSETS", 11)
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), LAST))
    assert [item.offset for item in found] == [message.offset for message in batch]


def test_a_row_that_is_there_twice_is_given_twice(client: Client, batch: list[Message]) -> None:
    client.command("INSERT INTO contents SELECT * FROM contents WHERE offset = 7")
    found = [item.offset for item in ClickHouseEvidence(client).scan(SHARD, Offset(6), Offset(9))]
    assert found == [6, 7, 7, 8]


def _other_value(kind: object) -> str:
    inner = kind[1] if isinstance(kind, list) else kind
    if isinstance(inner, dict):
        return {"array": "['forged']", "map": "map('forged', '1')"}.get(inner["type"], "toDateTime64('2001-01-01', 6)")
    return {"string": "'forged'", "long": "-7", "double": "0.125", "boolean": "false"}[inner]  # type: ignore[index]


def test_every_column_is_held_against_the_signed_metadata(engine: Database, keys: MemoryKeys, client: Client) -> None:
    fields = [field for field in schema("metadata.v1")["fields"] if field["name"] != "tenant"]
    batch = delivered(engine, keys, len(fields))
    forged = [
        f"`{field['name']}` = if(offset = {offset}, CAST({_other_value(field['type'])} AS "
        f"{column_type(client, field['name'])}), `{field['name']}`)"
        for offset, field in enumerate(fields)
    ]
    client.command(f"ALTER TABLE events UPDATE {', '.join(forged)} WHERE 1")
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(len(fields))))
    for item, message, field in zip(found, batch, fields, strict=False):
        assert not opens(item, message), field["name"]
        assert item.where == f"clickhouse events, columns {field['name']} differ from the signed metadata"


def column_type(client: Client, name: str) -> str:
    ((found,),) = client.query(
        f"SELECT type FROM system.columns WHERE database = currentDatabase() AND table = 'events' AND name = '{name}'"
    ).result_rows
    return str(found)


def test_a_changed_column_is_shown_where_the_signed_bytes_are_intact(client: Client, batch: list[Message]) -> None:
    client.command("ALTER TABLE events UPDATE outcome = 'ok', dlp_rules = ['none'] WHERE offset = 3")
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(30)))
    assert [item.offset for item in found if not opens(item, batch[item.offset])] == [3]
    assert found[3].where == "clickhouse events, columns outcome, dlp_rules differ from the signed metadata"
    assert found[3].opened[0].type == METADATA


def test_changed_bytes_do_not_match_their_commitment(client: Client, batch: list[Message]) -> None:
    client.command("ALTER TABLE events UPDATE metadata_raw = concat(metadata_raw, 'x') WHERE offset = 1")
    client.command("ALTER TABLE events UPDATE metadata_raw = substring(metadata_raw, 1, 60) WHERE offset = 4")
    client.command("ALTER TABLE events UPDATE metadata_raw = '' WHERE offset = 5")
    client.command("ALTER TABLE contents UPDATE content = replaceAll(content, 'text', 'test') WHERE offset = 2")
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(30)))
    assert [item.offset for item in found if not opens(item, batch[item.offset])] == [1, 2, 4, 5]


def test_a_sealed_record_keeps_its_proof(engine: Database, keys: MemoryKeys, client: Client) -> None:
    batch = messages(keys, 8)
    for key in list(keys._keys.values()):
        keys.destroy(key.key_id)
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    assert sink.deliver(SHARD, batch) == Delivered()
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), LAST))
    assert [item.opened for item in found] == [()] * 8
    assert [item.leaf for item in found] == [proof.leaf for proof in proofs(batch, log_start())]
    assert [item.event_id for item in found] == [message.event_id for message in batch]
    rows = client.query(
        "SELECT DISTINCT metadata_status, content_status, source_status, kind != '' FROM events"
    ).result_rows
    assert list(rows) == [("sealed", "sealed", "sealed", True)]
    sink.close()
