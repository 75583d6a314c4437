"""The scope of a hold: which records it is about. Pure; ``selection.py`` says the same in SQL, a test compares both.

Within one field any value will do, between fields all must agree. In doubt a record belongs: what cannot be read, what
might be meant, what is late.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from retention.words import Term, format_words, occur, parse_words
from schemas.errors import MalformedInput

WHITE = " \t\n\r\f\v"

SKEW_MS = 300_000
"""How far the clocks of the bus and of whoever places a hold may differ: what arrived that long after a hold was placed
counts as having been there."""

LISTS: Mapping[str, tuple[str, ...]] = {
    "sessions": ("session_id", "conversation_id"),
    "agents": ("agent_id", "agent_name", "agent_parent_id"),
    "tools": ("tool_name", "tool_namespaced_name", "tool_server"),
    "models": ("model_requested", "model_routed", "model_served"),
    "gateways": ("gateway",),
}
"""Fields of a scope that list values, and the metadata that each is compared with. A ``*`` in a value is anything."""

ACTORS = (
    "user_id",
    "user_email",
    "end_user_id",
    "service_account",
    "api_key_id",
    "api_key_alias",
    "cloud_principal",
)
"""Metadata that may name a custodian."""


@dataclass(frozen=True, slots=True)
class Custodian:
    """A person whose records are held.

    Attributes:
        identity: in the directory of people; ``""`` for a raw value that no directory knows.
        names: what sources may call them, compared as :func:`comparable` has it; a ``*`` in one is anything.
    """

    identity: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records.

    Attributes:
        tenant: whose.
        custodians, sessions, agents, tools, models, gateways, terms: none given means any.
        from_ms, until_ms: when they happened or arrived, half open, milliseconds since 1970 UTC; ``None``: open.
        prospective: also what arrives after the hold was placed.
        groups: of the directory, that the custodians were taken from; who joins one later is a custodian too.
        everything: that nothing but tenant and time narrows it down is meant.
    """

    tenant: str
    custodians: tuple[Custodian, ...] = ()
    groups: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    from_ms: int | None = None
    until_ms: int | None = None
    prospective: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a scope is held against, of one record.

    Attributes:
        metadata: fields of metadata v1 by name; ``None`` when it cannot be read.
        tenant: of the record; ``""`` when it is not known.
        occurred_ms, bus_ms: when it happened as its source says, and when it arrived.
        content: JSON text; ``""`` when it has none, ``None`` when it cannot be read.
    """

    tenant: str
    metadata: Mapping[str, Any] | None
    occurred_ms: int
    bus_ms: int
    content: str | None


def check_scope(scope: Scope) -> None:
    """Return if a hold may have this scope.

    Raises:
        MalformedInput: it is empty, or contradicts itself; with the remedy.
    """
    if not scope.tenant:
        raise MalformedInput("got no tenant, expected whose records are held: --tenant")
    narrowed = any(getattr(scope, name) for name in ("custodians", "groups", "terms", *LISTS))
    if not narrowed and not scope.everything:
        raise MalformedInput(
            f"got an empty scope, which would hold all records of {scope.tenant}: name custodians, sessions, agents, "
            "tools, models, gateways or a query, or say --everything"
        )
    if narrowed and scope.everything:
        raise MalformedInput("got --everything and something that narrows it down: leave one of them away")
    if scope.from_ms is not None and scope.until_ms is not None and scope.from_ms >= scope.until_ms:
        raise MalformedInput("got a time to which the hold ends that is not after the time from which it begins")
    for one in scope.custodians:
        if not one.names or any(not name.strip("* " + WHITE) for name in one.names):
            raise MalformedInput(f"custodian {one.identity!r} has no alias, or an empty one: nothing would be held")
    for name in LISTS:
        if any(not value.strip("* " + WHITE) for value in getattr(scope, name)):
            raise MalformedInput(f"got an empty value, or a * alone, among the {name}: leave it away to mean any")


def matches(scope: Scope, facts: Facts, placed_ms: int) -> bool:
    """Whether a record belongs, or may belong, to a scope that was placed at ``placed_ms``."""
    if facts.tenant not in ("", scope.tenant):
        return False
    if not scope.prospective and facts.bus_ms > placed_ms + SKEW_MS:
        return False
    if facts.metadata is None:
        return True
    if not (_within(scope, facts.occurred_ms) or _within(scope, facts.bus_ms)):
        return False
    if scope.custodians and not _names_one(scope.custodians, facts.metadata):
        return False
    for name, keys in LISTS.items():
        wanted = getattr(scope, name)
        if wanted and not any(_fits(wanted, str(facts.metadata.get(key) or "")) for key in keys):
            return False
    return not scope.terms or facts.content is None or occur(scope.terms, facts.content)


def may_match_day(scope: Scope, tenant: str, first_ms: int, end_ms: int, placed_ms: int) -> bool:
    """Whether records of a tenant that arrived in ``[first_ms, end_ms)`` may belong. What arrived after the scope's end
    may have happened before it, so only its beginning rules something out."""
    if tenant not in ("", scope.tenant):
        return False
    if not scope.prospective and first_ms > placed_ms + SKEW_MS:
        return False
    return scope.from_ms is None or end_ms > scope.from_ms


def comparable(value: str) -> str:
    """A name as names are compared: without white space around it, in NFC and lower case."""
    return unicodedata.normalize("NFC", value.strip(WHITE)).lower()


def encode_scope(scope: Scope) -> dict[str, Any]:
    """A scope as JSON has it; what is empty is left away."""
    found: dict[str, Any] = {}
    for name in (one.name for one in fields(Scope)):
        value = getattr(scope, name)
        if name == "custodians":
            value = [{"identity": one.identity, "names": list(one.names)} for one in value]
        elif name == "terms":
            name, value = "query", format_words(value)
        elif isinstance(value, tuple):
            value = list(value)
        if value not in ([], "", None, False):
            found[name] = value
    return found


def decode_scope(document: object) -> Scope:
    """Read what :func:`encode_scope` wrote.

    Raises:
        MalformedInput: something else.
    """
    if not isinstance(document, Mapping):
        raise MalformedInput("got no scope, expected an object")
    given = dict(document)
    try:
        made = Scope(
            tenant=given.get("tenant", ""),
            custodians=tuple(
                Custodian(one["identity"], tuple(map(str, one["names"]))) for one in given.get("custodians", ())
            ),
            groups=tuple(given.get("groups", ())),
            **{name: tuple(given.get(name, ())) for name in LISTS},
            terms=parse_words(given["query"]) if "query" in given else (),
            from_ms=given.get("from_ms"),
            until_ms=given.get("until_ms"),
            prospective=given.get("prospective", False),
            everything=given.get("everything", False),
        )
        again = encode_scope(made)
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedInput(f"got a scope that does not read: {type(error).__name__} {error}") from None
    if again != given:
        raise MalformedInput("got a scope that reads as another one")
    return made


def describe(scope: Scope, say_time: Any) -> str:
    """A scope in one line of plain words; ``say_time`` writes milliseconds since 1970."""
    said = [f"tenant {scope.tenant}"]
    if scope.groups:
        said.append(f"group {_any(scope.groups)} as of now and later")
    if scope.custodians:
        said.append(f"custodian {_any([one.identity or one.names[0] for one in scope.custodians])}")
    said += [f"{name[:-1]} {_any(getattr(scope, name))}" for name in LISTS if getattr(scope, name)]
    if scope.terms:
        said.append(f"content with {format_words(scope.terms)}")
    if scope.everything:
        said.append("everything")
    said.append(f"from {say_time(scope.from_ms)}" if scope.from_ms is not None else "from the beginning")
    if scope.until_ms is not None:
        said.append(f"to {say_time(scope.until_ms)}, exclusive")
    said.append("and what arrives later" if scope.prospective else "what had arrived when it was placed")
    return "; ".join(said)


def _within(scope: Scope, at_ms: int) -> bool:
    return (scope.from_ms is None or at_ms >= scope.from_ms) and (scope.until_ms is None or at_ms < scope.until_ms)


def _names_one(custodians: Sequence[Custodian], metadata: Mapping[str, Any]) -> bool:
    said = [comparable(str(metadata.get(field) or "")) for field in ACTORS]
    return any(_fits(one.names, value) for one in custodians for value in said if value)


def _fits(wanted: Sequence[str], value: str) -> bool:
    plain = comparable(value)
    return bool(plain) and any(_pattern(one).fullmatch(plain) is not None for one in wanted)


@lru_cache(maxsize=10_000)
def _pattern(wanted: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in comparable(wanted).split("*")), re.DOTALL)


def _any(values: Sequence[str]) -> str:
    return " or ".join(values[:5]) + (f" or {len(values) - 5} more" if len(values) > 5 else "")
