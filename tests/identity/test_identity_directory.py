"""Directories of people: our form, aliases and their normal form, who held what when, and what a load changes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.identity.aliases import KINDS, looked_up, normalised, parse_pattern
from affidavit.identity.changes import changes, continued
from affidavit.identity.form import format_directory, parse_directory
from affidavit.identity.people import Alias, Directory, Person, make_directory
from affidavit.identity.resolving import FOREVER_MS, Resolution, Resolver
from schemas.errors import MalformedInput

TOML = b"""
format = "affidavit.directory/1"

[[people]]
id = "p-17"
name = "Ada Lovelace"
emails = ["Ada@Example.com"]
team = "engines"
business_unit = "R&D"
groups = ["eng", "founders"]

  [[people.aliases]]
  kind = "api_key_alias"
  value = "laptop"
  until = 2026-07-01

  [[people.aliases]]
  kind = "cloud_principal"
  value = "arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ada"

[[people]]
id = "p-18"
name = "Grace Hopper"
active = false

  [[people.aliases]]
  kind = "api_key_alias"
  value = "laptop"
  from = 2026-07-01
"""


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def directory(*people: Person) -> Directory:
    return make_directory((one.identity, one) for one in people)


def person(identity: str, *aliases: Alias, **more: object) -> Person:
    return replace(Person(identity, aliases=aliases), **more)  # type: ignore[arg-type]


def test_toml_and_json_say_the_same() -> None:
    read = parse_directory(TOML)
    ada, grace = read.people
    assert (ada.name, ada.team, ada.business_unit, ada.groups) == (
        "Ada Lovelace",
        "engines",
        "R&D",
        ("eng", "founders"),
    )
    assert Alias("api_key_alias", "laptop", None, ms("2026-07-01")) in ada.aliases
    assert not grace.active
    assert parse_directory(format_directory(read)) == read


@given(
    st.dictionaries(
        st.from_regex(r"[a-zé0-9-]{1,8}", fullmatch=True),
        st.lists(
            st.builds(
                lambda kind, value, times: Alias(kind, value + ("@x" if kind == "email" else ""), *times),
                st.sampled_from(sorted(KINDS)),
                st.from_regex(r"[A-Za-zÄß.:/-]{1,12}", fullmatch=True),
                st.sampled_from([(None, None), (0, 5), (1_767_225_600_001, None), (None, 1_767_225_600_000)]),
            ),
            max_size=4,
        ),
        max_size=4,
    )
)
def test_what_is_stored_reads_as_what_it_was(people: dict[str, list[Alias]]) -> None:
    made = directory(*(person(identity, *aliases, name=identity * 2) for identity, aliases in people.items()))
    stored = format_directory(made)
    assert parse_directory(stored) == made
    assert format_directory(parse_directory(stored)) == stored


def stored(**fields: object) -> bytes:
    return json.dumps({"format": "affidavit.directory/1", "people": [{"id": "a"} | fields]}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "got bytes at 0 that are not UTF-8"),
        (b"{", "neither JSON nor TOML"),
        (b"[" * 100_000, "neither JSON nor TOML"),
        (b"[]", "got no directory"),
        (b'{"people": []}', "got no directory"),
        (b'{"format": "affidavit.directory/1", "people": {}}', "got no list of people"),
        (b'{"format": "affidavit.directory/1", "format": "x"}', "got field 'format' twice in one object"),
        (b'{"format": "affidavit.directory/1", "people": [7]}', r"people\[0\]: expected an object"),
        (stored(id=" a"), "expected text without white space"),
        (stored(id=""), r"people\[0\] \(''\): got id ''"),
        (stored(mail="x"), r"people\[0\]: got field 'mail', expected active, aliases"),
        (stored(name=["x"]), r"people\[0\].name: got \['x'\], expected text"),
        (stored(name="a\nb"), "expected text on one line"),
        (stored(active="yes"), "people.0..active: got 'yes', expected true or false"),
        (stored(emails=["ada"]), "got e-mail address 'ada', expected one with an @"),
        (stored(emails=["*@example.com"]), r"only a cloud_principal may be a pattern"),
        (stored(aliases=[{"kind": "phone", "value": "1"}]), "got alias of kind 'phone', expected one of email"),
        (stored(aliases=[{"kind": "user_id", "value": " "}]), "got an empty alias of kind user_id"),
        (stored(aliases=[{"kind": "user_id", "value": "x", "from": "soon"}]), "aliases.0..from: got 'soon'"),
        (stored(aliases=[{"kind": "user_id", "value": "x", "from": "2026-01-01T00:00:00"}]), "a time with Z"),
        (stored(aliases=[{"kind": "user_id", "value": "x", "from": "1969-01-01"}]), "a time from 1970 on"),
        (
            stored(aliases=[{"kind": "user_id", "value": "x", "from": "2026-01-02", "until": "2026-01-02"}]),
            "ends before",
        ),
        (stored(aliases=[{"kind": "cloud_principal", "value": "*"}]), "got pattern '\\*', expected an ARN"),
        (
            stored(aliases=[{"kind": "cloud_principal", "value": "arn:aws:iam::*:user/*"}]),
            "which is nobody in particular",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        parse_directory(data)


def test_an_identity_stands_once() -> None:
    twice = b'{"format": "affidavit.directory/1", "people": [{"id": "a"}, {"id": "a"}]}'
    with pytest.raises(MalformedInput, match=re.escape("people[1] ('a'): got id 'a' again, after people[0] ('a')")):
        parse_directory(twice)


@pytest.mark.parametrize(
    ("field", "value", "kind", "expected"),
    [
        ("user_email", " ADA@Example.com\n", "", ("email", "ada@example.com")),
        ("user_email", "JU\u0308RGEN@example.com", "", ("email", "jürgen@example.com")),
        ("user_id", "Ada", "", ("user_id", "Ada")),
        ("user_id", "Ada@example.com", "litellm_user", ("email", "ada@example.com")),
        ("user_id", "6F9619FF-8B86", "account", ("account", "6f9619ff-8b86")),
        ("user_id", "00u1", "jwt_subject", ("sso_id", "00u1")),
        ("user_id", "ada@example.com", "iam_role_session", ("user_id", "")),
        ("user_email", "ada@example.com", "iam_role_session", ("user_email", "")),
        ("end_user_id", "A@B", "", ("email", "a@b")),
        ("service_account", "Bot@p.iam.gserviceaccount.com", "", ("email", "bot@p.iam.gserviceaccount.com")),
        ("api_key_alias", "Ada@example.com", "", ("api_key_alias", "Ada@example.com")),
        ("cloud_principal", "arn:aws:sts::1:x/R/A@b", "", ("cloud_principal", "arn:aws:sts::1:x/R/A@b")),
        ("cloud_principal", "Ada@example.com", "", ("email", "ada@example.com")),
    ],
)
def test_how_fields_are_looked_up(field: str, value: str, kind: str, expected: tuple[str, str]) -> None:
    assert looked_up(field, value, kind) == expected


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=12))
def test_the_normal_form_is_its_own(kind: str, value: str) -> None:
    once = normalised(kind, value)
    assert normalised(*once) == once


ROLE = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_1f/ada"


@pytest.mark.parametrize(
    ("pattern", "principal", "fits"),
    [
        ("arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ada", ROLE, True),
        ("arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ad", ROLE, False),
        ("arn:aws:sts::*:assumed-role/AWSReservedSSO_*/a*", ROLE, True),
        ("arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_1f/*", ROLE, True),
        ("arn:aws:sts::111122223334:assumed-role/AWSReservedSSO_Dev_1f/*", ROLE, False),
        ("arn:aws-cn:sts::*:assumed-role/AWSReservedSSO_*/ada", ROLE, False),
        ("arn:aws:iam::*:user/ada", "arn:aws:iam::1:user/ada", True),
        ("arn:aws:iam::*:user/ada", "arn:aws:iam::1:user/x/ada", False),
        ("arn:aws:iam::*:user/*/ada", "arn:aws:iam::1:user/x/ada", True),
        ("arn:aws:iam::*:user*/ada", "arn:aws:iam::1:user/x/ada", True),
        ("arn:aws:iam::*:user/ada", "arn:aws:iam::1:root", False),
        ("arn:aws:iam::*:user/ada", "", False),
    ],
)
def test_patterns(pattern: str, principal: str, fits: bool) -> None:
    assert parse_pattern(pattern).matches(principal) is fits


def test_the_longest_pattern_wins_and_equals_are_nobody() -> None:
    anyone = "arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ada"
    deploy = "arn:aws:sts::*:assumed-role/AWSReservedSSO_Dev_1f/*"
    made = directory(
        person("ada", Alias("cloud_principal", anyone)),
        person("team", Alias("cloud_principal", deploy)),
        person("eve", Alias("cloud_principal", deploy, from_ms=1000)),
    )
    resolver = Resolver(made)
    assert resolver.resolve({"cloud_principal": ROLE}, 999) == Resolution("team", "cloud_principal", "resolved")
    assert resolver.resolve({"cloud_principal": ROLE}, 1000) == Resolution("", "", "ambiguous")
    assert [(one.value, one.holders) for one in resolver.conflicts()] == [(deploy, ("eve", "team"))]
    exact = directory(*made.people, person("one", Alias("cloud_principal", ROLE)))
    assert Resolver(exact).resolve({"cloud_principal": ROLE}, 1000).identity == "one"


def test_an_alias_is_handed_on_at_a_date() -> None:
    resolver = Resolver(parse_directory(TOML))
    handed = ms("2026-07-01")
    assert resolver.resolve({"api_key_alias": "laptop"}, handed - 1).identity == "p-17"
    assert resolver.resolve({"api_key_alias": "laptop"}, handed).identity == "p-18"
    assert list(resolver.conflicts()) == []


def test_an_alias_of_two_is_nobodys_while_both_hold_it() -> None:
    made = directory(
        person("a", Alias("user_id", "x", until_ms=2000)), person("b", Alias("user_id", "x", from_ms=1000))
    )
    resolver = Resolver(made)
    found = [resolver.resolve({"user_id": "x"}, at) for at in (999, 1000, 1999, 2000)]
    assert [(one.identity, one.state) for one in found] == [
        ("a", "resolved"),
        ("", "ambiguous"),
        ("", "ambiguous"),
        ("b", "resolved"),
    ]
    assert {(one.from_ms, one.until_ms, one.holders) for one in resolver.conflicts()} == {(1000, 2000, ("a", "b"))}


def test_the_first_field_that_names_one_counts_and_others_are_told() -> None:
    resolver = Resolver(
        directory(
            person("ada", Alias("email", "ada@example.com"), Alias("user_id", "x")),
            person("bob", Alias("api_key_id", "k"), Alias("user_id", "x")),
        )
    )
    actor = {"user_id": "x", "user_email": "ADA@example.com", "api_key_id": "k"}
    assert resolver.resolve(actor, 0) == Resolution("ada", "user_email", "resolved", ("bob",))
    assert resolver.resolve({"user_id": "x"}, 0) == Resolution("", "", "ambiguous")
    assert resolver.resolve({"user_id": "y"}, 0) == Resolution("", "", "unresolved")
    assert resolver.resolve({"team_id": "y"}, 0) == Resolution("", "", "absent")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 5)), max_size=6))
def test_stretches_cover_all_time_once(spans: list[tuple[str, int, int]]) -> None:
    made = directory(
        *(
            person(who, *(Alias("api_key_id", "k", at, at + long) for one, at, long in spans if one == who))
            for who in sorted({one for one, _, _ in spans})
        )
    )
    stretches = list(Resolver(made).stretches())
    if spans:
        assert stretches[0].from_ms == 0
        assert stretches[-1].until_ms == FOREVER_MS
    for one, following in pairwise(stretches):
        assert one.until_ms == following.from_ms
        assert one.holders != following.holders
    for at in range(16):
        expected = tuple(sorted({who for who, begin, long in spans if begin <= at < begin + long}))
        assert Resolver(made).holders("api_key_id", "k", at) == expected


def test_what_a_load_changes() -> None:
    mail = Alias("email", "a@x")
    old = directory(person("a", mail), person("b"), person("c"))
    new = directory(person("a", Alias("email", "b@x")), person("b", active=False), person("d"))
    found = changes(old, new)
    assert (found.added, found.removed, found.left, found.changed) == (("d",), ("c",), ("b",), ("b",))
    assert found.aliases_added == (("a", Alias("email", "b@x")),)
    assert found.aliases_removed == (("a", mail),)
    assert not changes(old, old).any


def test_lists_without_dates_become_a_history() -> None:
    """A mailbox that is handed on, somebody who leaves, and who comes back: told by three exports alone."""
    mail, other = Alias("email", "sales@x"), Alias("email", "ada@x")
    first = continued(Directory(), directory(person("ada", mail, other)), 1000)
    assert first == directory(person("ada", mail, other))
    second = continued(first, directory(person("bob", mail), person("ada", other)), 2000)
    third = continued(second, directory(person("ada", mail, other)), 3000)
    resolver = Resolver(third)
    held = [resolver.resolve({"user_email": "sales@x"}, at).identity for at in (0, 1999, 2000, 2999, 3000)]
    assert held == ["ada", "ada", "bob", "bob", "ada"]
    assert [(one.identity, one.active) for one in third.people] == [("ada", True), ("bob", False)]
    assert list(resolver.conflicts()) == []
    assert continued(third, directory(person("ada", mail, other)), 4000) == third


def test_the_directory_of_the_page_is_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/identity.md").read_text("utf-8")
    shown = page.split("```toml\n")[1].split("```")[0]
    (ada,) = parse_directory(shown.encode()).people
    assert {alias.kind for alias in ada.aliases} == {"email", "api_key_alias", "cloud_principal"}
    assert all(f"`{kind}`" in page for kind in KINDS)


def test_who_left_keeps_old_events() -> None:
    old = directory(person("ada", Alias("user_id", "x")))
    resolver = Resolver(continued(old, Directory(), 1000))
    assert resolver.resolve({"user_id": "x"}, 999).identity == "ada"
    assert resolver.resolve({"user_id": "x"}, 1000).state == "unresolved"
