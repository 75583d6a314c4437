"""What each reader sees: a database of views per tenant, in place of row policies, which chDB has not got.

A reader's view says ``SELECT * FROM events PREWHERE tenant = '…'``. ``PREWHERE`` and not ``WHERE``: the engine is free
to move conditions of the outer query next to a ``WHERE`` and to evaluate them first, and a condition that fails on
purpose (``throwIf(position(content, 'secret'))``) would tell of rows that it never returns. ``PREWHERE`` is applied
while rows are read, before anything else sees them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Collection, Mapping
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from sinks.clickhouse.admission import admit, named_tables
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.functions import callable_functions
from sinks.clickhouse.quoting import quote, quote_name
from sinks.clickhouse.reader import Reader, Tree

ALL_TENANTS = "*"
"""Tenant of a token that sees every row."""

ROW_TABLES = ("events", "contents")
"""Tables with a column ``tenant``: of others a tenant sees nothing. ``integrity_*`` views are about whole shards."""

SHARED_TABLES = ("directory_people", "directory_aliases", "directory_loads")
"""Tables with a column ``tenant`` whose rows of ``*`` are for all tenants."""

CONTENT_TABLES = frozenset({"contents"})

DESCRIBING = frozenset(
    {
        "aggregate_function_combinators",
        "build_options",
        "collations",
        "contributors",
        "data_type_families",
        "formats",
        "functions",
        "keywords",
        "licenses",
        "numbers",
        "one",
        "table_engines",
        "table_functions",
        "time_zones",
    }
)
"""System tables that describe the engine and hold nothing of ours."""

HONOURED = frozenset(
    [
        "date_time_output_format",
        "enable_json_type",
        "extremes",
        "join_use_nulls",
        "max_block_size",
        "max_result_rows",
        "output_format_native_use_flattened_dynamic_and_json_serialization",
        "result_overflow_mode",
        "session_timezone",
    ]
)
HONOURED_PREFIX = "output_format_"
"""Settings that a client may choose; others that clients send are left alone. ``system.settings`` says which."""

_NEEDS_CONTENT = "its scope is query, it needs content"
_NEEDS_ALL = "it is about all tenants, and the token is of one"


def is_honoured(setting: str) -> bool:
    """Whether a client may choose this setting."""
    return setting in HONOURED or setting.startswith(HONOURED_PREFIX)


class _Own(NamedTuple):
    """A table or view of ours."""

    name: str
    engine: str
    select: str


class Catalogue:
    """Readers of one engine. Safe to use from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._built: dict[str, tuple[tuple[_Own, ...], Mapping[str, str], frozenset[str]]] = {}
        self._client = engine.client()
        self.functions = callable_functions(self._client)
        self.nowhere = f"{engine.database}__nowhere"
        """An empty database: where names are looked up that got no full name."""
        self._client.command(f"CREATE DATABASE IF NOT EXISTS {quote_name(self.nowhere)}")

    def close(self) -> None:
        """Close the client."""
        with self._lock:
            self._client.close()

    def reader(self, tenant: str, *, content: bool) -> Reader:
        """What a token of this tenant may read; its views are made when it asks for the first time, and again when
        the tables or views of the database have changed."""
        with self._lock:
            own = self._own()
            built = self._built.get(tenant)
            if built is None or built[0] != own:
                built = self._built[tenant] = (own, *self._build(tenant, own))
        tables, with_content = built[1], built[2]
        hidden = {table.name: _NEEDS_ALL for table in own if table.name not in tables}
        if not content:
            hidden |= dict.fromkeys(with_content, _NEEDS_CONTENT)
            tables = {name: full for name, full in tables.items() if name not in with_content}
        return Reader(self._engine.database, tables, _system(self._place(tenant)), hidden, with_content)

    def parse(self, client: Client, text: str) -> Tree:
        """The tree of one statement; executes nothing."""
        rows = client.query("SELECT parseQueryToJSON({q:String})", parameters={"q": text}).result_rows
        tree: Tree = json.loads(rows[0][0])
        return tree

    def format(self, client: Client, tree: Tree) -> str:
        """The text of a tree."""
        sent = {"j": json.dumps(tree, ensure_ascii=False)}
        return str(client.query("SELECT formatQueryFromJSON({j:String})", parameters=sent).result_rows[0][0])

    def _place(self, tenant: str) -> str:
        """The database with a reader's views. Tenants are any text, so it is named by their hash."""
        name = "all" if tenant == ALL_TENANTS else hashlib.sha256(tenant.encode()).hexdigest()[:32]
        return f"{self._engine.database}__{name}"

    def _own(self) -> tuple[_Own, ...]:
        rows = self._client.query(
            "SELECT name, engine, as_select FROM system.tables WHERE database = {database:String} "
            "AND name NOT LIKE '.%' AND engine NOT IN ('Null', 'MaterializedView') AND name != 'migrations' "
            "ORDER BY name",
            parameters={"database": self._engine.database},
        ).result_rows
        return tuple(_Own(str(name), str(kind), str(select)) for name, kind, select in rows)

    def _build(self, tenant: str, own: Collection[_Own]) -> tuple[Mapping[str, str], frozenset[str]]:
        """Make a tenant's views; return its tables by name, and those that yield content."""
        place = self._place(tenant)
        self._client.command(f"CREATE DATABASE IF NOT EXISTS {quote_name(place)}")
        views = {view.name: self.parse(self._client, view.select) for view in own if view.engine == "View"}
        tables: dict[str, str] = {}
        if tenant == ALL_TENANTS:
            tables = {table.name: f"{self._engine.database}.{table.name}" for table in own}
        else:
            for table in own:
                if table.name in (*ROW_TABLES, *SHARED_TABLES):
                    everybody = (ALL_TENANTS,) if table.name in SHARED_TABLES else ()
                    self._filtered(table.name, place, (tenant, *everybody))
                    tables[table.name] = f"{place}.{table.name}"
            own_rows = {name: tree for name, tree in views.items() if not name.startswith("integrity_")}
            self._copy_views(own_rows, place, tables)
        self._describing(place, None if tenant == ALL_TENANTS else place)
        content = set(CONTENT_TABLES)
        while more := {name for name in views if name not in content and named_tables(views[name]) & content}:
            content |= more
        return tables, frozenset(content)

    def _filtered(self, table: str, place: str, tenants: tuple[str, ...]) -> None:
        rows = self._client.query(
            "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String} "
            "AND default_kind IN ('ALIAS', 'MATERIALIZED') ORDER BY position",
            parameters={"database": self._engine.database, "table": table},
        ).result_rows
        columns = ", ".join(["*", *(quote_name(str(name)) for (name,) in rows)])
        condition = " OR ".join(f"tenant = {quote(tenant)}" for tenant in tenants)
        self._client.command(
            f"CREATE OR REPLACE VIEW {quote_name(place)}.{quote_name(table)} AS SELECT {columns} "
            f"FROM {quote_name(self._engine.database)}.{quote_name(table)} PREWHERE {condition}"
        )

    def _copy_views(self, views: Mapping[str, Tree], place: str, tables: dict[str, str]) -> None:
        """Copy our views so that they read the tenant's tables: each when those it reads are there. What a tenant has
        not got (logs, the integrity of whole shards) leaves out the views that need it."""
        while ready := [name for name in views if name not in tables and named_tables(views[name]) <= set(tables)]:
            for name in ready:
                tree = admit(copy.deepcopy(views[name]), Reader(self._engine.database, tables, {}), None, {}).tree
                where = f"{quote_name(place)}.{quote_name(name)}"
                self._client.command(f"CREATE OR REPLACE VIEW {where} AS {self.format(self._client, tree or {})}")
                tables[name] = f"{place}.{name}"

    def _describing(self, place: str, only: str | None) -> None:
        """Views in place of the system tables that list tables: ours, under our name, without paths and statements."""
        ours, shown = quote(only or self._engine.database), quote(self._engine.database)
        texts = "CAST([] AS Array(String))"
        for name, own, replaced in (
            (
                "tables",
                f"database = {ours} AND engine != 'MaterializedView' AND {_listed('name')}",
                f"{shown} AS database, {texts} AS data_paths, '' AS metadata_path, '' AS create_table_query, "
                f"'' AS as_select, {texts} AS dependencies_database, {texts} AS dependencies_table",
            ),
            ("columns", f"database = {ours} AND {_listed('table')}", f"{shown} AS database"),
            ("databases", f"name = {ours}", f"{shown} AS name, '' AS data_path, '' AS metadata_path"),
            ("settings", "1", f"toUInt8(NOT ({_honoured('name')})) AS readonly"),
        ):
            self._client.command(
                f"CREATE OR REPLACE VIEW {quote_name(place)}.system_{name} AS SELECT * REPLACE ({replaced}) "
                f"FROM (SELECT * FROM system.{name} WHERE {own})"
            )


def _honoured(column: str) -> str:
    names = ", ".join(quote(name) for name in sorted(HONOURED))
    return f"startsWith({column}, {quote(HONOURED_PREFIX)}) OR {column} IN ({names})"


def _listed(column: str) -> str:
    """Tables that readers are told of."""
    return (
        f"{column} NOT LIKE '.%' AND NOT startsWith({column}, 'system_') AND {column} NOT IN ('ingest', 'migrations', "
        "'ingest_events', 'ingest_contents')"
    )


def _system(place: str) -> dict[str, str]:
    """System tables: the harmless ones as they are, the listings through the reader's views."""
    own = {f"system.{name}": f"{place}.system_{name}" for name in ("tables", "columns", "databases", "settings")}
    return {f"system.{name}": f"system.{name}" for name in DESCRIBING} | own
