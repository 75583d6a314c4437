"""Who may do what in ClickHouse: roles, and row policies for tenants, as SQL for an administrator. Pure.

The sink's user needs no more than ``affidavit_writer``. People get one of the others, and where they are to see one
tenant alone, the role of that tenant beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sinks.clickhouse.quoting import quote, quote_name

METADATA = ("events", "sessions", "exchanges", "tool_calls", "timeline", "events_by_identity", "actors")
DIRECTORY = (
    "directory_people",
    "directory_aliases",
    "directory_loads",
    "people",
    "aliases",
    "alias_keys",
    "alias_patterns",
)
CONTENT = ("contents", "whole_sources", "large_parts")
LEDGER = ("logs", "log_spans", "ledger_leaves")
INTEGRITY = (
    "integrity_leaves",
    "integrity_chain",
    "integrity_parts",
    "integrity_offsets",
    "integrity_statuses",
    "integrity_failures",
    "integrity_shards",
)
WRITTEN = ("ingest", "events", "contents", "logs", "fences", "directory_people", "directory_aliases", "directory_loads")

BY_TENANT = ("events", "contents")
"""Tables whose rows are one tenant's each; views read them as whoever asks."""

ROLES: Mapping[str, str] = {
    "soc_metadata": "who, when, which model, which tool, verdicts, counts; no word of what was said",
    "soc_content": "the same, and what was said",
    "auditor": "everything, to compute it again: all tenants, the ledger, the integrity views",
    "legal": "what was said, by whom, for holds and exports",
    "affidavit_writer": "the sink: inserts, reads back what it wrote, and nothing else",
}


def grants(database: str) -> dict[str, list[str]]:
    """The statements of each role, without ``TO role``."""
    inside = quote_name(database)

    def select(*tables: str) -> list[str]:
        return [f"GRANT SELECT ON {inside}.{quote_name(table)}" for table in tables]

    return {
        "soc_metadata": select(*METADATA, *DIRECTORY),
        "soc_content": select(*METADATA, *DIRECTORY, *CONTENT),
        "auditor": select(*METADATA, *DIRECTORY, *CONTENT, *LEDGER, *INTEGRITY, "migrations"),
        "legal": select(*METADATA, *DIRECTORY, *CONTENT),
        "affidavit_writer": [
            *(f"GRANT SELECT, INSERT ON {inside}.{quote_name(table)}" for table in WRITTEN),
            f"GRANT SELECT ON {inside}.{quote_name('migrations')}",
            # A directory of people that is no longer in force is dropped by partition; nothing else may be.
            f"GRANT ALTER DELETE ON {inside}.{quote_name('directory_people')}",
            f"GRANT ALTER DELETE ON {inside}.{quote_name('directory_aliases')}",
            "GRANT SELECT ON system.processes",
        ],
    }


def policies(database: str, tenants: Sequence[str]) -> Iterator[str]:
    """Row policies: a role for each tenant that sees its rows alone, and everybody else whose role has no tenant as
    before. Without tenants there are none: one policy on a table hides it from all that have none."""
    if not tenants:
        return
    inside = quote_name(database)
    for table in BY_TENANT:
        yield (
            f"CREATE ROW POLICY IF NOT EXISTS affidavit_everything ON {inside}.{quote_name(table)} FOR SELECT USING 1 "
            "TO auditor, legal, affidavit_writer"
        )
        for tenant in tenants:
            yield (
                f"CREATE ROW POLICY IF NOT EXISTS {quote_name(policy_role(tenant))} ON {inside}.{quote_name(table)} "
                f"FOR SELECT USING tenant = {quote(tenant)} TO {quote_name(policy_role(tenant))}"
            )


def policy_role(tenant: str) -> str:
    """The role of those who see one tenant alone."""
    return f"affidavit_tenant_{tenant}"


def access_sql(database: str, tenants: Sequence[str] = ()) -> str:
    """All of it, for an administrator to read and run. Running it again changes nothing."""
    lines = [
        "-- Roles for Affidavit's tables, made by `affidavit clickhouse access`. Run as a user with access management."
    ]
    for role, may in ROLES.items():
        lines += ["", f"-- {role}: {may}.", f"CREATE ROLE IF NOT EXISTS {role};"]
        lines += [f"{grant} TO {role};" for grant in grants(database)[role]]
    if tenants:
        lines += [
            "",
            "-- One tenant alone: give its role beside soc_metadata or soc_content. Who has no policy sees nothing.",
        ]
        lines += [f"CREATE ROLE IF NOT EXISTS {quote_name(policy_role(tenant))};" for tenant in tenants]
        lines += [f"{policy};" for policy in policies(database, tenants)]
    lines += [
        "",
        "-- People: readonly, so that a query cannot change settings that guard the server.",
        "CREATE SETTINGS PROFILE IF NOT EXISTS affidavit_people SETTINGS readonly = 2 "
        "TO soc_metadata, soc_content, auditor, legal;",
        "-- CREATE USER ann IDENTIFIED WITH sha256_password BY '…'; GRANT soc_metadata TO ann;",
    ]
    return "\n".join(lines) + "\n"
