"""From names to custodians: identities, aliases of any time, groups, and people nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.holds.custodians import custodian_of, find_custodians, find_members, widened
from affidavit.identity.people import Alias, Directory, Person
from retention.scope import Custodian, Facts, Scope, matches
from schemas.errors import Declined, EvidenceIncomplete

ADA = Person(
    "p-1",
    "Ada",
    team="engines",
    groups=("Eng",),
    aliases=(
        Alias("email", "Ada@Example.com"),
        Alias("api_key_alias", "ada-laptop", until_ms=1),
        Alias("cloud_principal", "arn:aws:sts::*:assumed-role/Dev/ada*"),
    ),
)
BOB = Person("p-2", "Bob", business_unit="eng", aliases=(Alias("email", "bob@example.com"), Alias("user_id", "u-7")))
DIRECTORY = Directory((ADA, BOB))


class Asked:
    """Records that name one person, whom no directory knows."""

    def ask(self, query: str) -> Any:
        return type("Answer", (), {"rows": ((1,),) if "'raw@example.com'" in query else ()})


CLIENT: Any = Asked()


@pytest.mark.parametrize("name", ["p-1", "ada@example.com", " ADA@example.COM", "ada-laptop"])
def test_a_person_by_any_name_they_ever_had(name: str) -> None:
    (found,) = find_custodians(DIRECTORY, [name], CLIENT, "acme")
    assert found.identity == "p-1"
    assert set(found.names) == {"ada@example.com", "ada-laptop", "arn:aws:sts::*:assumed-role/dev/ada*"}


def test_who_is_in_records_alone_is_a_custodian_by_that_name() -> None:
    assert find_custodians(DIRECTORY, ["Raw@example.com"], CLIENT, "acme") == [Custodian("", ("raw@example.com",))]
    with pytest.raises(Declined, match="got custodian 'eve', whom neither the directory of people nor any record"):
        find_custodians(DIRECTORY, ["eve"], CLIENT, "acme")
    with pytest.raises(EvidenceIncomplete, match="ClickHouse cannot be asked"):
        find_custodians(DIRECTORY, ["eve"], None, "acme")
    assert find_custodians(DIRECTORY, ["p-2"], None, "acme") == [custodian_of(BOB)]


def test_groups_teams_and_units_are_their_people() -> None:
    assert [one.identity for one in find_members(DIRECTORY, ["ENG"])] == ["p-1", "p-2"]
    assert [one.identity for one in find_members(DIRECTORY, ["engines", "eng"])] == ["p-1", "p-2"]
    with pytest.raises(Declined, match="got group 'sales', in which"):
        find_members(DIRECTORY, ["sales"])


def test_a_scope_follows_the_directory_and_never_gets_narrower() -> None:
    placed = Scope("acme", custodians=(custodian_of(ADA), Custodian("", ("raw",))), groups=("eng",), prospective=True)
    moved = Person("p-1", "Ada", aliases=(Alias("email", "ada@new.example"),))
    joined = Person("p-3", "Cyd", groups=("eng",), aliases=(Alias("email", "cyd@example.com"),))
    now = widened(placed, Directory((moved, joined)))
    assert {one.identity for one in now.custodians} == {"p-1", "p-3", ""}

    def held(email: str) -> bool:
        return matches(now, Facts("acme", {"user_email": email}, 5, 5, ""), 0)

    assert [held(f"{who}") for who in ("ada@example.com", "ada@new.example", "cyd@example.com", "RAW")] == [True] * 4
    assert not held("bob@example.com")
    assert widened(Scope("acme", sessions=("s",)), DIRECTORY) == Scope("acme", sessions=("s",))


def test_a_principal_with_a_star_is_anything() -> None:
    scope = Scope("acme", custodians=(custodian_of(ADA),), prospective=True)
    for principal, held in (
        ("arn:aws:sts::123:assumed-role/Dev/ada@laptop", True),
        ("arn:aws:sts::123:assumed-role/Dev/bob", False),
    ):
        assert matches(scope, Facts("acme", {"cloud_principal": principal}, 0, 0, ""), 0) is held
