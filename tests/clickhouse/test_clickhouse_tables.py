"""The tables, the Avro schema and the types of the code name the same fields."""

from __future__ import annotations

import re

import fastavro
from embedded_engine import Database

from schemas.metadata import Metadata, schema
from sinks.clickhouse import ddl
from sinks.clickhouse.rows import row_schema

FIELDS = schema("metadata.v1")["fields"]


def column_of(kind: object) -> str:
    """The ClickHouse type of a metadata field, low cardinality aside."""
    if isinstance(kind, list):
        return f"Nullable({column_of(kind[1])})"
    if isinstance(kind, dict):
        if "logicalType" in kind:
            return "DateTime64(6, 'UTC')"
        return {"array": "Array(String)", "map": "Map(String, String)"}[kind["type"]]
    return {"string": "String", "long": "Int64", "double": "Float64", "boolean": "Bool"}[str(kind)]


def columns(engine: Database, table: str) -> dict[str, str]:
    client = engine.client()
    ddl.migrate(client)
    rows = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
        f"AND table = '{table}' AND default_kind NOT IN ('ALIAS') ORDER BY position"
    ).result_rows
    client.close()
    return {name: re.sub(r"LowCardinality\((\w+)\)", r"\1", kind) for name, kind in rows}


def test_metadata_type_and_avro_schema_agree() -> None:
    assert list(Metadata.__annotations__) == [field["name"] for field in FIELDS]


def test_every_metadata_field_is_a_column_of_its_type_in_its_place(engine: Database) -> None:
    found = columns(engine, "events")
    wanted = {field["name"]: column_of(field["type"]) for field in FIELDS}
    assert {name: kind for name, kind in found.items() if name in wanted} == wanted
    assert [name for name in found if name in wanted] == list(wanted)


def test_text_columns_are_never_null(engine: Database) -> None:
    assert [name for name, kind in columns(engine, "events").items() if kind.startswith("Nullable(String")] == []


def test_the_row_schema_is_avro_and_names_the_columns_of_ingest(engine: Database) -> None:
    fastavro.parse_schema(row_schema())
    names = [field["name"] for field in row_schema()["fields"]]  # type: ignore[index,attr-defined]
    assert sorted(names) == sorted(columns(engine, "ingest"))


def test_every_target_has_a_deduplication_window_and_syncs(engine: Database) -> None:
    client = engine.client()
    ddl.migrate(client)
    for table in ("events", "contents"):
        ((created,),) = client.query(
            f"SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
        ).result_rows
        assert "non_replicated_deduplication_window = 1000" in created
        assert "fsync_after_insert = 1" in created
        assert "fsync_part_directory = 1" in created
    client.close()
