"""SCIM 2.0 users (RFC 7643 §4.1, §4.3) and lists of them (RFC 7644 §3.4.2), as identity providers export them. Pure.

A user, a ``ListResponse``, or an array of either. Groups among the resources (RFC 7643 §4.2) add to the groups of their
members. SCIM has no dates: see ``affidavit identity load --keep``. Attributes that say nothing of who somebody is
(addresses, phones, photos) are left alone. Attribute names are compared without regard to case (RFC 7643 §2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from affidavit.identity.people import Alias, Directory, Person, make_directory
from schemas.errors import MalformedInput

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
OURS = "urn:affidavit:params:scim:schemas:aliases:1.0:User"
"""Our extension: ``{"aliases": [{"kind": …, "value": …}]}``, for what an identity provider has in attributes of its
own (key aliases, cloud principals)."""

Object = Mapping[str, Any]


def is_scim(document: object) -> bool:
    """Whether a document says that it is SCIM."""
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, Mapping) and any(str(name).lower() == "schemas" for name in first)


def read_scim(document: object) -> Directory:
    """The people of a document.

    Raises:
        MalformedInput: an attribute is not what the RFC says, or a list is one page of several; with the place.
    """
    _check_pages(document if isinstance(document, list) else [document])
    resources = list(_resources(document, "$"))
    groups: dict[str, list[str]] = {}
    for place, resource in resources:
        if _is(resource, GROUP):
            name = _text(resource, "displayName", place)
            for member in _objects(resource, "members", place):
                groups.setdefault(_text(member, "value", place), []).append(name)
    return make_directory(
        (place, _person(place, resource, groups)) for place, resource in resources if not _is(resource, GROUP)
    )


def _check_pages(documents: list[object]) -> None:
    """A list that is not whole would make the rest of the people disappear."""
    pages = [{str(name).lower(): value for name, value in one.items()} for one in documents if isinstance(one, Mapping)]
    totals = [one["totalresults"] for one in pages if isinstance(one.get("totalresults"), int)]
    here = sum(len(one["resources"]) for one in pages if isinstance(one.get("resources"), list))
    if totals and max(totals) > here:
        raise MalformedInput(
            f"got {here} of {max(totals)} resources, which is one page: put all pages into one JSON array"
        )


def _resources(document: object, place: str) -> Iterator[tuple[str, Object]]:
    if isinstance(document, list):
        for at, one in enumerate(document):
            yield from _resources(one, f"{place}[{at}]")
        return
    if not isinstance(document, Mapping):
        raise MalformedInput(f"{place}: expected an object")
    resource = {str(name).lower(): value for name, value in document.items()}
    schemas = resource.get("schemas")
    if not isinstance(schemas, list) or not any(name in schemas for name in (LIST, USER, GROUP)):
        raise MalformedInput(f"{place}.schemas: got {schemas!r}, expected one of {LIST}, {USER}, {GROUP}")
    if LIST not in schemas:
        yield place, resource
        return
    inner = resource.get("resources", [])
    if not isinstance(inner, list):
        raise MalformedInput(f"{place}.Resources: got {inner!r}, expected a list")
    yield from _resources(inner, f"{place}.Resources")


def _person(place: str, user: Object, groups: Mapping[str, list[str]]) -> Person:
    identity = _text(user, "id", place) or _text(user, "externalId", place)
    own = [_text(one, "display", place) or _text(one, "value", place) for one in _objects(user, "groups", place)]
    enterprise = _object(user, ENTERPRISE, place)
    active = user.get("active", True)
    if not isinstance(active, bool):
        raise MalformedInput(f"{place}.active: got {active!r}, expected true or false")
    return Person(
        identity,
        _name(user, place),
        _text(enterprise, "department", place),
        _text(enterprise, "division", place) or _text(enterprise, "organization", place),
        tuple(sorted({name for name in (*own, *groups.get(identity, ())) if name})),
        active,
        tuple(_aliases(place, user)),
    )


def _name(user: Object, place: str) -> str:
    name = _object(user, "name", place)
    whole = f"{_text(name, 'givenName', place)} {_text(name, 'familyName', place)}".strip()
    shown = _text(user, "displayName", place) or _text(name, "formatted", place)
    return shown or whole or _text(user, "userName", place)


def _aliases(place: str, user: Object) -> Iterator[Alias]:
    user_name = _text(user, "userName", place)
    if user_name:
        yield Alias("email" if "@" in user_name else "user_id", user_name)
    for email in _objects(user, "emails", place):
        yield Alias("email", _text(email, "value", place))
    for name in ("id", "externalId"):
        value = _text(user, name, place)
        if value:
            yield Alias("sso_id", value)
    for own in _objects(_object(user, OURS, place), "aliases", place):
        yield Alias(_text(own, "kind", place), _text(own, "value", place))


def _is(resource: Object, schema: str) -> bool:
    return schema in resource["schemas"]


def _text(given: Object, name: str, place: str) -> str:
    value = given.get(name.lower())
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise MalformedInput(f"{place}.{name}: got {value!r}, expected text on one line")
    return value


def _object(given: Object, name: str, place: str) -> Object:
    value = given.get(name.lower())
    return {} if value is None else _as_object(value, f"{place}.{name}")


def _as_object(value: object, place: str) -> Object:
    if not isinstance(value, Mapping):
        raise MalformedInput(f"{place}: got {value!r}, expected an object")
    return {str(key).lower(): one for key, one in value.items()}


def _objects(given: Object, name: str, place: str) -> list[Object]:
    value = given.get(name.lower())
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedInput(f"{place}.{name}: got {value!r}, expected a list of objects")
    return [_as_object(one, f"{place}.{name}[{at}]") for at, one in enumerate(value)]
