"""What is past its time in this deployment: records are counted in ClickHouse, keys in the control database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from affidavit.query import QueryClient
from retention.due import Cell, Group, Verdict, verdicts
from retention.policy import PARTS, Policy
from retention.scope import Scope
from retention.selection import any_of
from schemas.parts import PART_NAMES
from sinks.clickhouse.quoting import quote
from stores.control.database import ControlDatabase
from stores.keys.inventory import count_keys


def find_due(
    client: QueryClient,
    control: ControlDatabase,
    policy: Policy,
    in_force: Sequence[tuple[Scope, int]],
    as_of: date,
    tenant: str = "",
) -> list[Verdict]:
    """What a policy says of all that is there.

    Args:
        in_force: scopes of holds, each with the time at which it was placed.
        as_of: the day that counts as today.
        tenant: only this one's; what cannot be read may be anybody's, and is there always.

    Raises:
        Unavailable: ClickHouse or the control database does not answer.
    """
    keys: dict[Group, int] = {}
    for one in count_keys(control, tenant):
        group = Group(one.tenant, one.retention_class, date.fromisoformat(one.month + "-01"), PART_NAMES[one.part_type])
        keys[group] = one.keys
    return verdicts(policy, _cells(client, in_force, tenant), keys, as_of)


def _cells(client: QueryClient, in_force: Sequence[tuple[Scope, int]], tenant: str) -> list[Cell]:
    parts = ", ".join(f"countIf({part}_status != 'absent') AS {part}" for part in PARTS)
    where = f"WHERE tenant IN ('', {quote(tenant)})" if tenant else ""
    asked = client.ask(
        "SELECT tenant, retention_class, toString(toStartOfMonth(received_at)) AS month, kind, "  # noqa: S608
        f"classification, count() AS records, countIf({any_of(in_force)}) AS held, "
        f"countIf(metadata_status != 'ok') AS unreadable, {parts} FROM events {where} "
        "GROUP BY tenant, retention_class, month, kind, classification"
    )
    return [_cell(row) for row in asked.records()]


def _cell(row: dict[str, Any]) -> Cell:
    return Cell(
        row["tenant"],
        row["retention_class"],
        date.fromisoformat(row["month"]),
        row["kind"],
        row["classification"],
        row["records"],
        row["held"],
        row["unreadable"],
        {part: row[part] for part in PARTS},
    )
