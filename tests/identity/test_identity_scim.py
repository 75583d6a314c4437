"""SCIM 2.0: the examples of RFC 7643 and lists as Okta and Entra ID export them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.identity.form import parse_directory
from affidavit.identity.people import Alias, Person
from schemas.errors import MalformedInput

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"

FULL: dict[str, Any] = {  # RFC 7643 §8.3, shortened
    "schemas": [USER, ENTERPRISE],
    "id": "2819c223-7f76-453a-919d-413861904646",
    "externalId": "701984",
    "userName": "bjensen@example.com",
    "name": {"formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara"},
    "displayName": "Babs Jensen",
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "addresses": [{"type": "work", "streetAddress": "100 Universal City Plaza"}],
    "active": True,
    "groups": [
        {"value": "e9e30dba", "$ref": "../Groups/e9e30dba", "display": "Tour Guides"},
        {"value": "fc348aa8", "display": "Employees"},
    ],
    "x509Certificates": [{"value": "MIIDQzCC"}],
    ENTERPRISE: {"employeeNumber": "701984", "division": "Theme Park", "department": "Tour Operations"},
    "meta": {"resourceType": "User", "location": "https://example.com/v2/Users/2819c223"},
}


def read(document: object) -> tuple[Person, ...]:
    return parse_directory(json.dumps(document).encode()).people


def test_the_full_user_of_the_rfc() -> None:
    (found,) = read(FULL)
    assert found == Person(
        "2819c223-7f76-453a-919d-413861904646",
        "Babs Jensen",
        "Tour Operations",
        "Theme Park",
        ("Employees", "Tour Guides"),
        True,
        (
            Alias("email", "babs@jensen.org"),
            Alias("email", "bjensen@example.com"),
            Alias("sso_id", "2819c223-7f76-453a-919d-413861904646"),
            Alias("sso_id", "701984"),
        ),
    )


def test_a_list_with_groups_and_without_regard_to_case() -> None:
    document = {
        "schemas": [LIST],
        "totalResults": 2,
        "Resources": [
            {"schemas": [USER], "ID": "00u1", "username": "ada", "Active": False, "name": {"givenName": "Ada"}},
            {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                "displayName": "Engineers",
                "members": [{"value": "00u1"}],
            },
        ],
    }
    (found,) = read(document)
    assert (found.identity, found.name, found.active, found.groups) == ("00u1", "Ada", False, ("Engineers",))
    assert found.aliases == (Alias("sso_id", "00u1"), Alias("user_id", "ada"))


def test_one_page_of_several_is_refused_and_all_pages_are_taken() -> None:
    pages = [
        {"schemas": [LIST], "totalResults": 2, "startIndex": at, "Resources": [{"schemas": [USER], "id": str(at)}]}
        for at in (1, 2)
    ]
    with pytest.raises(MalformedInput, match="got 1 of 2 resources, which is one page: put all pages into one JSON"):
        read(pages[0])
    assert [one.identity for one in read(pages)] == ["1", "2"]
    with pytest.raises(MalformedInput, match=r"got 1 of 2 resources"):
        read(pages[:1])


def test_aliases_that_the_identity_provider_keeps() -> None:
    ours = "urn:affidavit:params:scim:schemas:aliases:1.0:User"
    (found,) = read(
        {"schemas": [USER, ours], "id": "1", ours: {"aliases": [{"kind": "api_key_alias", "value": "ada-laptop"}]}}
    )
    assert found.aliases == (Alias("api_key_alias", "ada-laptop"), Alias("sso_id", "1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7}, r"\$.id: got 7, expected text"),
        ({"id": "", "externalId": ""}, r"\$: got id ''"),
        ({"emails": "a@x"}, r"\$.emails: got 'a@x', expected a list of objects"),
        ({"emails": ["a@x"]}, r"\$.emails\[0\]: got 'a@x', expected an object"),
        ({"active": "true"}, r"\$.active: got 'true', expected true or false"),
        ({"schemas": ["urn:other"]}, r"\$.schemas: got \['urn:other'\]"),
        ({"schemas": USER}, r"\$.schemas: got 'urn:ietf"),
        ({"name": []}, r"\$.name: got \[\], expected an object"),
    ],
)
def test_a_wrong_attribute_is_refused_with_the_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        read(FULL | change)
