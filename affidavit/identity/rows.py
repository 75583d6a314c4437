"""A directory as rows of the tables that resolve events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from affidavit.identity.aliases import PATTERN
from affidavit.identity.people import Directory
from affidavit.identity.resolving import Resolver
from stores.control import DirectoryLoad


def load_row(load: DirectoryLoad) -> dict[str, Any]:
    """The row of ``directory_loads``."""
    return {
        "tenant": load.tenant,
        "number": load.number,
        "sha256": load.sha256,
        "loaded_at": _time(load.loaded_ms),
    }


def people_rows(directory: Directory) -> Iterator[dict[str, Any]]:
    """Rows of ``directory_people``."""
    for person in directory.people:
        yield {
            "identity": person.identity,
            "display_name": person.name,
            "team": person.team,
            "business_unit": person.business_unit,
            "groups": list(person.groups),
            "active": person.active,
        }


def alias_rows(directory: Directory) -> Iterator[dict[str, Any]]:
    """Rows of ``directory_aliases``."""
    resolver = Resolver(directory)
    for one in resolver.stretches():
        yield {
            "alias_kind": one.name,
            "alias": one.value,
            "valid_from": _time(one.from_ms),
            "valid_until": _time(one.until_ms),
            "held_by": list(one.holders),
        }
    for held in resolver.patterns():
        pattern = held.pattern
        yield {
            "alias_kind": PATTERN,
            "alias": held.text,
            "account": pattern.account,
            "stem": pattern.stem,
            "stem_open": pattern.stem_open,
            "last": pattern.last,
            "last_open": pattern.last_open,
            "literal": pattern.literal,
            "valid_from": _time(held.from_ms),
            "valid_until": _time(held.until_ms),
            "held_by": [held.holder],
        }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
