"""The embedded engine as somebody who may not do everything: ``python restricted_clickhouse.py FOLDER GRANTS``.

``GRANTS`` is a JSON file: ``{"grants": […], "filters": {table: condition}, "queries": […], "deliver": 20}``. The
engine's only user gets these grants and these row filters from a users file, as a server's would; then each query is
run, and printed is a JSON list of how many rows it gave, or its error code. ``deliver`` runs the sink over so many
records first; ``fill`` alone creates the tables and puts so many records in, as somebody who may.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from sinks.clickhouse import engine as engines

USERS = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password>
<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
<grants>{grants}</grants><databases><affidavit>{filters}</affidavit></databases></default></users></clickhouse>"""
CONFIG = """<clickhouse><users_config>{users}</users_config>
<user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>"""
EMBEDDED = ("GRANT CREATE DATABASE ON affidavit.*", "GRANT READ, WRITE ON FILE", "GRANT CREATE TEMPORARY TABLE ON *.*")
"""What the embedded engine itself asks for, and a server does not: to open its database, and to read a file of rows."""


def main(folder: Path, asked: dict[str, Any]) -> list[Any]:
    if "fill" in asked:
        return prepare(folder, asked["fill"])
    users, config = folder / "users.xml", folder / "config.xml"
    grants = "".join(f"<query>{escape(grant)}</query>" for grant in (*asked["grants"], *EMBEDDED))
    filters = "".join(
        f"<{table}><filter>{escape(where)}</filter></{table}>" for table, where in asked.get("filters", {}).items()
    )
    users.write_text(USERS.format(grants=grants, filters=filters))
    config.write_text(CONFIG.format(users=users))
    engines._SERVER_OPTIONS["config-file"] = str(config)  # type: ignore[assignment]
    with closing(engines.EmbeddedEngine(folder / "engine")) as engine:
        if asked.get("deliver"):
            deliver(engine, asked["deliver"])
        with closing(engine.client()) as client:
            return [run(client, query) for query in asked["queries"]]


def prepare(folder: Path, records: int) -> list[Any]:
    """The tables, and so many records."""
    from query_data import fill

    from sinks.clickhouse import ddl

    with closing(engines.EmbeddedEngine(folder / "engine")) as engine, closing(engine.client()) as client:
        ddl.migrate(client)
        if records:
            fill(client, records)
    return []


def deliver(engine: engines.Engine, count: int) -> None:
    """The sink's whole way, as it goes with ``clickhouse.migrate`` off."""
    from ledgered import SHARD, log_start, messages
    from memory_keys import MemoryKeys

    from schemas.ids import Offset
    from sinks.clickhouse.sink import ClickHouseSink
    from sinks.contract import Delivered

    keys = MemoryKeys()
    batch = messages(keys, 2 * count)
    for part in (batch[:count], batch[count:]):
        sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)], migrates=False)
        sink.open()
        assert sink.resume(SHARD, Offset(0)) == part[0].offset
        outcome = sink.deliver(SHARD, part)
        assert outcome == Delivered(), outcome
        sink.close()


def run(client: Any, query: str) -> Any:
    try:
        return len(client.query(query).result_rows)
    except Exception as error:
        found = re.search(r"[Cc]ode: (\d+)", str(error))
        return f"code {found[1]}" if found else str(error)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))))
