"""A record as an event of Splunk's HTTP Event Collector. Pure.

The body of the event is the description of the record (:mod:`sinks.description`), searched with ``KV_MODE = json``.
What is to be counted without reading it (``tstats``) goes into indexed ``fields``, and only that, because they cost:
the address of the record, which tells repeats from records, and what dashboards group by first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.ids import CONTROL
from schemas.metadata import Metadata
from sinks.description import Description
from sinks.splunk.config import CONTROL_SOURCETYPE, SOURCETYPE, HecConfig, Route
from sinks.splunk.oversize import shorten

SCHEMA = "affidavit.splunk.1"
"""Changes when a field of the event changes its meaning."""

INDEXED = "affidavit_"
"""In front of the names of indexed fields. They have names of their own: a field that is indexed and in the body, too,
has every value twice, and a name that ``fields.conf`` says is indexed is so for every other source type."""

BLOCK = 1000
"""Offsets in one value of field ``block``: a search that compares equal values finds what is missing in it."""


class Piece(NamedTuple):
    """One event as it is sent.

    Attributes:
        offset: of the record.
        goes_to: its index; ``""``: the token's.
        data: the envelope.
        description: what it was made of, to make a shorter one.
        resend: whether it was sent before.
        bare: whether its indexed fields were moved into its body.
        suspect: whether it was refused alone before.
    """

    offset: int
    goes_to: str
    data: bytes
    description: Description
    resend: bool
    bare: bool = False
    suspect: bool = False


def encode(
    description: Description, config: HecConfig, *, resend: bool = False, limit: int | None = None
) -> Piece | None:
    """The event of a record, at most ``limit`` bytes (``config.max_event_bytes``), its content shortened if need be.
    ``None``: it does not fit even so."""
    limit = config.max_event_bytes if limit is None else limit
    index = route(description.metadata, config)
    head = _head(description, config, index, resend)
    content = description.content if config.content else b""
    data = _whole(head, description.fields, content)
    if len(data) > limit and content:
        room = limit - (len(data) - len(content))
        shorter = shorten(content, room) if room > 0 else None
        data = _whole(head, description.fields, shorter) if shorter is not None else data
    return Piece(description.message.offset, index, data, description, resend) if len(data) <= limit else None


def without_fields(piece: Piece, config: HecConfig) -> Piece:
    """The same event with what was to be indexed in its body: for a Splunk that refuses the indexed fields."""
    head = _head(piece.description, config, piece.goes_to, piece.resend)
    inside = head.pop("fields")
    content = piece.description.content if config.content else b""
    data = _whole(head, piece.description.fields | {"unindexed": inside}, content)
    return piece._replace(data=data, bare=True)


def route(metadata: Metadata, config: HecConfig) -> str:
    """The index of an event: the first route all of whose values are those of the metadata."""
    for one in config.routes:
        if all(_says(metadata, name, value) for name, value in one.match.items()):
            return one.index
    return config.index


def indexes(config: HecConfig) -> Sequence[str]:
    """All indexes that events may go to."""
    return sorted({config.index, *(one.index for one in config.routes)})


def check_route(one: Route) -> None:
    """Return if a route names fields that there are.

    Raises:
        ValueError: it does not.
    """
    unknown = [name for name in one.match if name not in Metadata.__annotations__]
    if unknown:
        raise ValueError(f"got field {unknown[0]!r}, expected fields of metadata v1, such as tenant or classification")


def block_of(offset: int) -> int:
    """The value of field ``block``."""
    return offset // BLOCK


def _says(metadata: Mapping[str, Any], name: str, value: str) -> bool:
    found = metadata.get(name)
    return value in found if isinstance(found, list) else str(found) == value


def _head(description: Description, config: HecConfig, index: str, resend: bool) -> dict[str, Any]:
    message = description.message
    control = message.shard.topic == CONTROL
    head: dict[str, Any] = {
        "time": description.time_us // 1000 / 1000,
        "source": f"affidavit:{config.deployment}",
        "sourcetype": CONTROL_SOURCETYPE if control else SOURCETYPE,
        "fields": {
            INDEXED + "deployment": config.deployment,
            INDEXED + "shard": str(message.shard),
            INDEXED + "offset": message.offset,
            INDEXED + "block": block_of(message.offset),
            INDEXED + "tenant": description.metadata["tenant"],
            INDEXED + "kind": description.metadata["kind"],
            INDEXED + "schema": SCHEMA,
        },
    }
    head["fields"] = {name: value for name, value in head["fields"].items() if value != ""}
    if resend:
        head["fields"][INDEXED + "resend"] = 1
    if config.host:
        head["host"] = config.host
    if index:
        head["index"] = index
    return head


def _whole(head: dict[str, Any], fields: dict[str, Any], content: bytes | None) -> bytes:
    event = {**fields, "content": orjson.Fragment(content)} if content else fields
    return orjson.dumps({**head, "event": event}, option=orjson.OPT_NON_STR_KEYS)
