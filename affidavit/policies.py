"""Retention policies from files, and what one says of a record that is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from affidavit.one_record import rows_of
from affidavit.query import QueryClient
from retention.policy import PARTS, Decision, Policy, Subject, decide, month_end, parse_policy
from schemas.errors import MalformedInput

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Explained:
    """What a policy says of one record.

    Attributes:
        address: ``events/0@17``.
        facts: tenant, kind, class and classification, as rules see them.
        received: UTC day.
        parts: by name, for those that the record has: the decision, and the day from which its key is destroyed.
    """

    address: str
    event_id: str
    facts: dict[str, str]
    received: date
    parts: dict[str, tuple[Decision, date | None]]


def read_policy(path: Path) -> Policy:
    """A policy from a YAML file.

    Raises:
        MalformedInput: it cannot be read, or is none; with the place.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MalformedInput(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise MalformedInput(f"{path}: got {len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        return parse_policy(yaml.safe_load(data))
    except yaml.YAMLError as error:
        raise MalformedInput(f"{path}: it is not YAML: {' '.join(str(error).split())}") from None
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error}") from None


def read_document(path: Path) -> dict[str, Any]:
    """What the YAML of a policy holds, as JSON has it.

    Raises:
        MalformedInput: as :func:`read_policy`.
    """
    read_policy(path)
    document: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(path.read_bytes()), default=str))
    return document


def explain(client: QueryClient, policy: Policy, record: str) -> list[Explained]:
    """What a policy says of a record, given by event id or address; an event that was sent twice is two records.

    Raises:
        Declined: there is no such record.
    """
    rows = rows_of(
        client,
        "address, event_id, tenant, kind, retention_class, classification, "
        "toString(toDate(received_at)) AS received, metadata_status, content_status, source_status",
        record,
    )
    return [_explained(policy, row) for row in rows]


def _explained(policy: Policy, row: dict[str, Any]) -> Explained:
    received = date.fromisoformat(row["received"])
    facts = {name: str(row[name]) for name in ("tenant", "kind", "retention_class", "classification")}
    parts = {}
    for part in PARTS:
        if row[f"{part}_status"] == "absent":
            continue
        subject = Subject(facts["tenant"], facts["kind"], facts["retention_class"], facts["classification"], part)
        # The youngest record of the month may have been received on its last day.
        last = decide(policy, subject, date.fromordinal(month_end(received).toordinal() - 1))
        parts[part] = decide(policy, subject, received), last.expires
    return Explained(row["address"], row["event_id"], facts, received, parts)
