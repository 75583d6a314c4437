"""Matters and holds on a running deployment, through the command line: two people, a directory, flags, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from load import wait_until
from up_process import Up, command, command_json

from stores.objects.local import LocalObjects

pytestmark = pytest.mark.slow

PEOPLE = {
    "format": "affidavit.directory/1",
    "people": [
        {"id": "p-ada", "name": "Ada", "emails": ["ada@acme.com"], "groups": ["traders"],
         "aliases": [{"kind": "api_key_alias", "value": "ada-laptop", "until": "2020-01-01"}]},
        {"id": "p-bob", "name": "Bob", "emails": ["bob@acme.com"]},
    ],
}  # fmt: skip


class Office:
    """A deployment with traffic of Ada and Bob, and the tokens of three people."""

    def __init__(self, up: Up) -> None:
        self.up, self.data = up, up.data
        self.sender = command_json(self.data, "token", "create", "--tenant", "acme", "--gateway", "gw")["token"]
        self.tokens = {name: self._token(name, *scopes) for name, scopes in {
            "lea": ("hold", "early"), "lou": ("approve", "early"), "aud": ("sealed",), "rec": ("policy",),
            "all": ("policy", "approve"), "two": ("approve",),
        }.items()}  # fmt: skip
        people = self.data.with_name("people.json")
        people.write_text(json.dumps(PEOPLE))
        command_json(self.data, "identity", "load", str(people))

    def _token(self, name: str, *scopes: str) -> str:
        more = [part for scope in scopes for part in ("--scope", scope)]
        tenant = "*" if name in ("all", "two") else "acme"
        made: str = command_json(self.data, "token", "create", "--tenant", tenant, "--person", name, *more)["token"]
        return made

    def send(self, who: str, session: str, *texts: str) -> None:
        lines = [
            json.dumps({"kind": "prompt", "session_id": session, "user_email": who, "content": {"text": text}})
            for text in texts
        ]
        headers = {"Authorization": f"Bearer {self.sender}"}
        answer = httpx.post(f"{self.up.collector}/v1/events", content="\n".join(lines), headers=headers)
        assert answer.json()["accepted"] == len(texts), answer.text

    def run(self, who: str, *arguments: str, code: int = 0) -> Any:
        more = {"AFFIDAVIT_PERSON_TOKEN": self.tokens[who]} if who else {}
        ran = command(self.data, *arguments, "--json", **more)
        assert ran.returncode == code, (ran.returncode, ran.stdout, ran.stderr)
        return json.loads(ran.stdout) if ran.stdout else ran.stderr

    def count(self, query: str) -> int:
        ran = command(self.data, "query", query, "--json")
        return int(*json.loads(ran.stdout)["rows"][0].values()) if ran.returncode == 0 else -1


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    up = Up(tmp_path_factory.mktemp("holds") / "data", AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS="0.5")
    up.start()
    try:
        made = Office(up)
        made.send("Ada@acme.com", "s-1", "buy falcon", "sell")
        made.send("bob@acme.com", "s-2", "lunch", "the falcon project", "falcons")
        wait_until(lambda: made.count("SELECT count() FROM events WHERE tenant = 'acme' AND kind = 'prompt'") == 5, 60)
        made.run("lea", "matter", "create", "M-1", "--name", "Smith v. Acme", "--tenant", "acme")
        yield made
    finally:
        assert up.stop() == 0, up.log


def test_a_hold_from_preview_to_release(office: Office) -> None:
    options = ("--matter", "M-1", "--custodian", "ada@acme.com")
    seen = office.run("", "hold", "preview", *options)
    assert (seen["records"], seen["collateral"] is not None) == (2, True)
    assert seen["scope"]["custodians"] == [{"identity": "p-ada", "names": ["ada-laptop", "ada@acme.com"]}]
    placed = office.run("lea", "hold", "place", *options, "--reason", "complaint", "--plan", seen["plan"])
    assert (placed["status"], placed["records"], placed["by"]) == ("effective", 2, "lea")
    name = placed["hold"]
    held = {one["record"]: one["held"] for at in range(5) for one in
            office.run("", "hold", "why", f"events/0@{at}")["records"]}  # fmt: skip
    assert sorted(held.values()) == [False, False, False, True, True]
    why = office.run("", "hold", "why", next(address for address, is_held in held.items() if is_held))["records"][0]
    assert [(one["hold"], one["state"]) for one in why["by"]] == [(name, "effective")]
    assert why["object"]["hold"] is True
    assert office.run("", "hold", "verify")["flags_missing"] == []

    office.run("lea", "hold", "release", name, "--matter", "M-1", "--reason", "settled")
    assert "has scope hold, early, expected approve" in office.run(
        "lea", "hold", "approve", name, "--matter", "M-1", code=3
    )
    office.run("lou", "hold", "approve", name, "--matter", "M-1")
    assert office.run("", "hold", "status", name)["state"] == "releasing"
    office.run("lea", "hold", "end-delay", name, "--matter", "M-1", "--reason", "order")
    assert "cannot approve it" in office.run("lea", "hold", "approve", name, "--matter", "M-1", code=2)
    office.run("lou", "hold", "approve", name, "--matter", "M-1")
    assert office.run("", "hold", "status", name)["state"] == "released"
    then = placed["effective_ms"] / 1000 + 1
    was = office.run("", "hold", "list", "--as-of", datetime.fromtimestamp(then, UTC).isoformat())
    assert [(one["hold"], one["state"]) for one in was["holds"]] == [(name, "effective")]


def test_a_standing_hold_catches_what_comes(office: Office) -> None:
    placed = office.run(
        "lea", "hold", "place", "--matter", "M-1", "--query", "falcon", "--prospective", "--reason", "r"
    )
    assert placed["records"] == 2, "falcons is another word"
    office.send("new@acme.com", "s-new", "more falcon")
    wait_until(lambda: office.count("SELECT count() FROM events WHERE session_id = 's-new'") == 1, 60)

    def flags() -> list[Any]:
        kept = office.run("", "hold", "why", "events/0@5", code=0)["records"]
        return [kept[0]["held"], (kept[0]["object"] or {}).get("hold")]

    wait_until(lambda: flags() == [True, True], 60, lambda: str(flags()))
    assert office.run("", "hold", "verify")["flags_missing"] == []


def test_a_group_is_its_people(office: Office) -> None:
    seen = office.run("", "hold", "preview", "--matter", "M-1", "--group", "Traders")
    assert [one["identity"] for one in seen["scope"]["custodians"]] == ["p-ada"]
    assert "in which the directory of people has nobody" in office.run(
        "", "hold", "preview", "--matter", "M-1", "--group", "nobody", code=2
    )


BAD: tuple[tuple[tuple[str, ...], str], ...] = (
    ((), "an empty scope, which would hold all records of acme"),
    (("--custodian", "nobody@acme.com"), "whom neither the directory of people nor any record of acme names"),
    (("--session", "s", "--from", "2026-02-01", "--to", "2026-01-01"), "not after the time from which it begins"),
    (("--query", "a OR b"), "got OR in query"),
    (("--session", "s", "--plan", "0123"), "look at hold preview again"),
    (("--session", "s", "--from", "yesterday"), "got time 'yesterday'"),
    (("--session", "s", "--tenant", "globex"), "for tenant acme, not globex"),
)


def test_bad_input_changes_nothing(office: Office) -> None:
    before = office.run("", "hold", "verify")["entries"]
    for options, message in BAD:
        code = 3 if "globex" in options else 2
        assert message in office.run("lea", "hold", "place", "--matter", "M-1", *options, "--reason", "r", code=code)
    assert office.run("", "hold", "verify")["entries"] == before


def test_a_policy_is_explained_with_the_holds(office: Office) -> None:
    policy = office.data.with_name("policy.yaml")
    policy.write_text(
        "format: affidavit.retention-policy/1\nname: p\nversion: 1\nowner: o\neffective: 2026-01-01\nrules:\n"
        "  - {rule: house, citation: manual, keep: {content: 90 days, metadata: 7 years}}\n"
    )
    (row,) = office.run("", "policy", "explain", "events/0@0", "--policy", str(policy))["records"]
    assert set(row["parts"]) == {"metadata", "content", "source"}
    assert row["parts"]["content"]["by"] == [{"rule": "house", "citation": "manual"}]
    assert row["parts"]["content"]["expires"] <= row["parts"]["content"]["destroyed_from"]
    assert row["parts"]["source"]["expires"] is None
    said = command(office.data, "policy", "explain", "events/0@0", "--policy", str(policy)).stdout
    assert "no rule is about it, so it does not expire" in said
    assert "no policy is in force" in office.run("", "policy", "explain", "events/0@0", code=2)
    assert "no policy is in force" in office.run("", "disposition", "preview", code=2)
    assert "for tenant acme, not *" in office.run("rec", "policy", "apply", str(policy), "--reason", "r", code=3)
    assert office.run("all", "policy", "apply", str(policy), "--reason", "committee")["state"] == "asked"
    assert "cannot approve it" in office.run("all", "policy", "approve", "1", code=2)
    assert office.run("two", "policy", "approve", "1")["state"] == "in force"
    assert office.run("", "policy", "show")["in_force"]["by"] == "all"
    assert office.run("", "policy", "explain", "events/0@0")["version"] == 1


def test_what_is_past_its_time_and_what_of_it_is_held(office: Office) -> None:
    """Runs after the policy came into force: content 90 days; a standing hold is about some prompts of acme."""
    this_month = datetime.now(UTC).strftime("%Y-%m")

    def groups(*options: str) -> dict[tuple[str, str, str], dict[str, Any]]:
        seen = office.run("", "disposition", "preview", *options)
        assert seen["unindexed"] == {}
        return {(one["tenant"], one["month"], one["part"]): one for one in seen["groups"]}

    assert groups() == {}
    every = groups("--all", "--tenant", "acme")
    content = every["acme", this_month, "content"]
    assert (content["state"], content["by"]) == ("kept", [{"rule": "house", "citation": "manual"}])
    assert content["records"] == office.count(
        "SELECT count() FROM events WHERE tenant = 'acme' AND content_status = 'ok'"
    )
    assert content["keys"] >= 2
    assert content["held"] > 0
    assert (every["acme", this_month, "source"]["state"], every["acme", this_month, "metadata"]["state"]) == (
        "unlimited", "kept",
    )  # fmt: skip
    then = groups("--as-of", content["expires"])
    assert then["acme", this_month, "content"]["state"] == "held"
    assert not [key for key in then if key[2] != "content"]
    said = command(office.data, "disposition", "preview", "--as-of", content["expires"])
    assert said.returncode == 0
    assert "acme" in said.stdout
    assert "which holds keep" in said.stdout
    assert "is effective from 2026-01-01, after 2025-12-31" in office.run(
        "", "disposition", "preview", "--as-of", "2025-12-31", code=2
    )
    assert "expected a date" in office.run("", "disposition", "preview", "--as-of", "soon", code=2)


def test_nobody_does_it_without_a_token(office: Office) -> None:
    said = office.run("", "hold", "place", "--matter", "M-1", "--session", "s", "--reason", "r", code=3)
    assert "set AFFIDAVIT_PERSON_TOKEN" in said
    ran = command(office.data, "matter", "list", AFFIDAVIT_PERSON_TOKEN=office.sender)
    assert ran.returncode == 3
    assert "that is nobody's here" in ran.stderr
    assert office.sender not in ran.stderr


def test_a_sealed_matter_is_for_who_opened_it(office: Office) -> None:
    office.run("lea", "matter", "create", "M-9", "--name", "Grand jury", "--tenant", "acme", "--sealed")
    placed = office.run("lea", "hold", "place", "--matter", "M-9", "--session", "s-2", "--reason", "subpoena 7")
    assert "is sealed" in office.run("lou", "matter", "show", "M-9", code=3)
    assert office.run("lea", "matter", "show", "M-9")["name"] == "Grand jury"
    assert office.run("aud", "matter", "show", "M-9")["name"] == "Grand jury"
    listed = office.run("", "hold", "list")
    assert placed["hold"] not in json.dumps(listed)
    assert listed["sealed"] == 1
    wait_until(lambda: office.count("SELECT count() FROM events WHERE operation = 'hold.place'") >= 3, 60)
    said = command(
        office.data, "query", "SELECT content, source FROM contents WHERE topic = 'control'", "--json"
    ).stdout
    assert "Smith v. Acme" in said
    assert "Grand jury" not in said
    assert "subpoena 7" not in said


def test_what_was_declined_is_on_the_log(office: Office) -> None:
    office.run("lea", "hold", "release", "h-none", "--matter", "M-1", "--reason", "r", code=2)
    wait_until(lambda: office.count(
        "SELECT count() FROM events WHERE operation = 'release.request' AND outcome = 'blocked' AND user_id = 'lea'"
    ) == 1, 60)  # fmt: skip


def test_a_flag_that_is_missing_is_found_and_set(office: Office) -> None:
    objects = LocalObjects(office.data / "objects")
    key = next(info.key for info in objects.list("segments/acme/") if info.hold)
    objects.set_hold(key, False)
    assert office.run("", "hold", "verify", code=2)["flags_missing"] == [key]
    assert office.run("", "hold", "sync", "--dry-run")["set"] == [key]
    assert office.run("", "hold", "sync")["set"] == [key]
    assert office.run("", "hold", "verify")["flags_missing"] == []
    objects.close()
