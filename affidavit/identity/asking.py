"""Asking ClickHouse which actors resolve to nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from affidavit.identity.aliases import FIELDS
from affidavit.query import QueryClient

_UNRESOLVED = """
SELECT tenant, user_id, user_email, end_user_id, service_account, api_key_id, api_key_alias, cloud_principal,
    assurance, identity_state,
    count() AS records, arraySort(groupUniqArrayIf(32)(gateway, gateway != '')) AS gateways,
    toUnixTimestamp64Milli(min(identity_as_of)) AS first_ms, toUnixTimestamp64Milli(max(identity_as_of)) AS last_ms
FROM events_by_identity
WHERE bus_time >= {since:DateTime64(3, 'UTC')} AND identity_state IN ('unresolved', 'ambiguous')
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY tenant, user_id, user_email, end_user_id, service_account, api_key_id, api_key_alias, cloud_principal,
    assurance, identity_state
ORDER BY records DESC, tenant, user_id, user_email, end_user_id, service_account, api_key_id, api_key_alias,
    cloud_principal, assurance, identity_state
LIMIT {limit:UInt32}
"""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An actor that resolves to nobody.

    Attributes:
        aliases: ``(field, value)`` of what its sources say.
        state: ``unresolved``, or ``ambiguous`` where several people hold an alias.
        assurance: who vouches for the actor.
    """

    tenant: str
    aliases: tuple[tuple[str, str], ...]
    assurance: str
    state: str
    records: int
    gateways: tuple[str, ...]
    first_ms: int
    last_ms: int


def unresolved(client: QueryClient, since_ms: int, *, tenant: str = "", limit: int = 1000) -> Sequence[Unresolved]:
    """Actors of records that arrived since then and resolve to nobody, those with the most records first.

    Args:
        client: may read metadata.
        since_ms: milliseconds since 1970.
    """
    since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    asked = client.ask(_UNRESOLVED, {"since": since, "tenant": tenant, "limit": str(limit)})
    return [
        Unresolved(
            row["tenant"],
            tuple((field, row[field]) for field in FIELDS if row[field]),
            row["assurance"],
            row["identity_state"],
            row["records"],
            tuple(row["gateways"]),
            row["first_ms"],
            row["last_ms"],
        )
        for row in asked.records()
    ]
