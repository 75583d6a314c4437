"""Our own form of a directory: JSON or TOML in, JSON out. Pure.

    {"format": "affidavit.directory/1", "people": [
      {"id": "p-17", "name": "Ada Lovelace", "emails": ["ada@example.com"],
       "team": "engines", "business_unit": "R&D", "groups": ["eng"], "active": true,
       "aliases": [{"kind": "api_key_alias", "value": "ada-laptop", "from": "2026-01-01", "until": "2026-07-01"}]}]}

The same in TOML, with ``[[people]]`` and ``[[people.aliases]]``. ``emails`` is short for aliases without dates. What is
stored is :func:`format_directory`, and reading that gives the same directory.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from affidavit.identity.people import LATEST_MS, Alias, Directory, Person, make_directory, moment
from affidavit.identity.scim import is_scim, read_scim
from schemas.errors import LimitExceeded, MalformedInput

FORMAT = "affidavit.directory/1"

MAX_BYTES = 256 << 20
"""Of a file: some hundred thousand people."""

_PERSON = {"id", "name", "emails", "team", "business_unit", "groups", "active", "aliases"}
_ALIAS = {"kind", "value", "from", "until"}


def parse_directory(data: bytes) -> Directory:
    """A directory from a file: our own form in JSON or TOML, or SCIM 2.0 (:mod:`.scim`).

    Raises:
        MalformedInput: it is none of them, or a field is wrong; with the place.
        LimitExceeded: it is larger than :data:`MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f"got a directory of {len(data)} bytes, expected at most {MAX_BYTES}")
    document = _document(data)
    if is_scim(document):
        return read_scim(document)
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise MalformedInput(f'got no directory: expected "format": "{FORMAT}", or SCIM 2.0 users with their "schemas"')
    _only(document, {"format", "people"}, "the directory")
    return make_directory(_people(document.get("people")))


def format_directory(directory: Directory) -> bytes:
    """The directory as it is stored: one line of JSON for each person, equal bytes for equal directories."""
    lines = ",\n".join(json.dumps(_described(person), ensure_ascii=False) for person in directory.people)
    return f'{{"format": "{FORMAT}", "people": [\n{lines}\n]}}\n'.encode()


def _document(data: bytes) -> object:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedInput(f"got bytes at {error.start} that are not UTF-8") from None
    try:
        if text.lstrip()[:1] in ("{", "["):
            return json.loads(text, object_pairs_hook=_unique)
        return tomllib.loads(text)
    except MalformedInput:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"got a file that is neither JSON nor TOML: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at]))
        raise MalformedInput(f"got field {twice!r} twice in one object")
    return found


def _people(listed: object) -> Iterator[tuple[str, Person]]:
    if not isinstance(listed, list):
        raise MalformedInput("got no list of people")
    for at, given in enumerate(listed):
        place = f"people[{at}]"
        if not isinstance(given, Mapping):
            raise MalformedInput(f"{place}: expected an object")
        _only(given, _PERSON, place)
        emails = tuple(Alias("email", value) for value in _texts(given, "emails", place))
        aliases = tuple(_alias(one, f"{place}.aliases[{n}]") for n, one in enumerate(_list(given, "aliases", place)))
        active = given.get("active", True)
        if not isinstance(active, bool):
            raise MalformedInput(f"{place}.active: got {active!r}, expected true or false")
        yield (
            f"{place} ({given.get('id')!r})",
            Person(
                _text(given, "id", place),
                _text(given, "name", place),
                _text(given, "team", place),
                _text(given, "business_unit", place),
                _texts(given, "groups", place),
                active,
                emails + aliases,
            ),
        )


def _alias(given: object, place: str) -> Alias:
    if not isinstance(given, Mapping):
        raise MalformedInput(f"{place}: expected an object with kind and value")
    _only(given, _ALIAS, place)
    begin, end = (_time(given.get(name), f"{place}.{name}") for name in ("from", "until"))
    return Alias(_text(given, "kind", place), _text(given, "value", place), begin, end)


def _time(value: object, place: str) -> int | None:
    """A date, which begins at midnight UTC, or a time with its offset."""
    if value is None:
        return None
    read: object = value
    if isinstance(value, str):
        try:
            read = date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
        except ValueError:
            read = None
    if isinstance(read, date) and not isinstance(read, datetime):
        read = datetime(read.year, read.month, read.day, tzinfo=UTC)
    if not isinstance(read, datetime) or read.tzinfo is None:
        raise MalformedInput(f"{place}: got {value!r}, expected a date, or a time with Z or an offset")
    milliseconds = int((read - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    if not 0 <= milliseconds <= LATEST_MS:
        raise MalformedInput(f"{place}: got {value!r}, expected a time from 1970 on")
    return milliseconds


def _only(given: Mapping[str, Any], known: set[str], place: str) -> None:
    if unknown := sorted(set(map(str, given)) - known):
        raise MalformedInput(f"{place}: got field {unknown[0]!r}, expected {', '.join(sorted(known))}")


def _text(given: Mapping[str, Any], name: str, place: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or not value.isprintable():
        raise MalformedInput(f"{place}.{name}: got {value!r}, expected text on one line")
    return value


def _list(given: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = given.get(name, [])
    if not isinstance(value, list):
        raise MalformedInput(f"{place}.{name}: got {value!r}, expected a list")
    return value


def _texts(given: Mapping[str, Any], name: str, place: str) -> tuple[str, ...]:
    return tuple(_text({name: one}, name, place) for one in _list(given, name, place))


def _described(person: Person) -> dict[str, Any]:
    aliases = [
        {"kind": alias.kind, "value": alias.value}
        | ({} if alias.from_ms is None else {"from": moment(alias.from_ms)})
        | ({} if alias.until_ms is None else {"until": moment(alias.until_ms)})
        for alias in person.aliases
    ]
    return {
        "id": person.identity,
        "name": person.name,
        "team": person.team,
        "business_unit": person.business_unit,
        "groups": list(person.groups),
        "active": person.active,
        "aliases": aliases,
    }
