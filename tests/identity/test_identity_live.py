"""``identity`` beside a running ``up``: one person behind an address, a key and an ARN; loads, conflicts, a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bedrock_records import CONVERSE
from traffic import send_traffic
from up_process import Up, command, command_json

from affidavit.cli import exits
from affidavit.demo.deployment import wait_for

pytestmark = pytest.mark.slow

PEOPLE = """
format = "affidavit.directory/1"

[[people]]
id = "p-dana"
name = "Dana"
emails = ["Dana@Example.com"]

  [[people.aliases]]
  kind = "cloud_principal"
  value = "arn:aws:sts::111122223333:assumed-role/DevBedrock/dana@*"

[[people]]
id = "p-lee"
name = "Lee"

  [[people.aliases]]
  kind = "api_key_alias"
  value = "laptop"
  until = 2020-01-01
"""
KILLED = """
import os, sys
from affidavit.cli.main import run
from stores.control.database import ControlDatabase
ControlDatabase.add_directory = lambda *_: os._exit(9)
run(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    place = Up(tmp_path_factory.mktemp("identity") / "data")
    place.start()
    send_traffic(place)
    tokens = {
        gateway: command_json(place.data, "token", "create", "--tenant", "acme", "--gateway", gateway)["token"]
        for gateway in ("bedrock", "kong")
    }
    send(place, "/v1/bedrock", tokens["bedrock"], CONVERSE)
    send(place, "/v1/events", tokens["kong"], {"kind": "prompt", "api_key_alias": "laptop", "content": {}})
    wait_for("all gateways in the log", lambda: rows(place, "SELECT 1 FROM events WHERE gateway = 'kong'") or None)
    yield place
    assert place.stop() == 0, place.log[-2000:]


def send(up: Up, path: str, token: str, record: object) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(up.collector + path, json=record, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text


def rows(up: Up, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command_json(up.data, "query", sql)["rows"]
    return found


def people_file(tmp_path: Path, text: str = PEOPLE) -> str:
    file = tmp_path / "people.toml"
    file.write_text(text)
    return str(file)


def in_engine(up: Up, sha256: str) -> None:
    def there() -> bool | None:
        found = rows(up, "SELECT argMax(sha256, number) AS sha256 FROM directory_loads")
        return True if found == [{"sha256": sha256}] else None

    wait_for("the directory in the engine", there)


def test_a_load_resolves_what_is_there_already(up: Up, tmp_path: Path) -> None:
    file = people_file(tmp_path)
    checked = command_json(up.data, "identity", "check", file)
    assert (checked["people"], checked["added"], checked["conflicts"]) == (2, ["p-dana", "p-lee"], [])
    loaded = command_json(up.data, "identity", "load", file)
    in_engine(up, loaded["sha256"])
    found = rows(
        up,
        "SELECT DISTINCT gateway, identity_name AS name, identity_by AS by FROM events_by_identity "
        "WHERE identity = 'p-dana' AND gateway IN ('litellm', 'bedrock') ORDER BY gateway",
    )
    assert found == [
        {"gateway": "bedrock", "name": "Dana", "by": "cloud_principal"},
        {"gateway": "litellm", "name": "Dana", "by": "user_email"},
    ]
    acts = rows(
        up,
        "SELECT extras['sha256'] AS sha256, extras['people'] AS people FROM events WHERE operation = 'directory.load'",
    )
    assert {"sha256": json.dumps(loaded["sha256"]), "people": "2"} in acts
    unresolved = command(up.data, "identity", "unresolved", "--since", "1d", "--tenant", "acme", "--json")
    assert unresolved.returncode == exits.INCOMPLETE
    actors = {json.dumps(one["aliases"]): one for one in json.loads(unresolved.stdout)["actors"]}
    assert actors['{"api_key_alias": "laptop"}']["assurance"] == "unknown"
    assert not any("dana@" in aliases for aliases in actors)
    assert "api_key_alias laptop" in command(up.data, "identity", "unresolved", "--since", "1d").stdout


def test_who_as_of_a_time(up: Up, tmp_path: Path) -> None:
    command_json(up.data, "identity", "load", people_file(tmp_path))
    found = command_json(up.data, "identity", "who", " DANA@example.com")["found"]
    assert found == [
        {"kind": "email", "alias": "dana@example.com", "held_by": [{"identity": "p-dana", "name": "Dana"}]}
    ]
    arn = "arn:aws:sts::111122223333:assumed-role/DevBedrock/dana@example.com"
    assert "p-dana" in command(up.data, "identity", "who", arn).stdout
    assert "p-lee" in command(up.data, "identity", "who", "laptop", "--as-of", "2019-12-31").stdout
    now = command(up.data, "identity", "who", "laptop")
    assert now.returncode == exits.INCOMPLETE
    assert "nobody held 'laptop'" in now.stderr
    listed = command(up.data, "identity", "list").stdout
    assert "p-dana" in listed
    assert [one["name"] for one in command_json(up.data, "identity", "list")["people"]] == ["Dana", "Lee"]


def test_conflicts_and_people_who_would_vanish_are_told(up: Up, tmp_path: Path) -> None:
    command_json(up.data, "identity", "load", people_file(tmp_path))
    both = people_file(tmp_path, PEOPLE + '\n[[people]]\nid = "p-x"\nemails = ["dana@example.com"]\n')
    checked = command(up.data, "identity", "check", both)
    assert checked.returncode == exits.INCOMPLETE
    assert "CONFLICT: email dana@example.com is held by p-dana, p-x" in checked.stdout
    scim = tmp_path / "users.json"
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "00u1", "userName": "lee@example.com"}
    scim.write_text(json.dumps([user]))
    refused = command(up.data, "identity", "load", str(scim))
    assert refused.returncode == exits.USAGE
    assert "2 people of the loaded directory are not in" in refused.stderr
    kept = command_json(up.data, "identity", "load", str(scim), "--keep")
    assert (kept["people"], kept["active"], kept["left"]) == (3, 1, ["p-dana", "p-lee"])
    in_engine(up, kept["sha256"])
    dana = rows(
        up, "SELECT DISTINCT identity, identity_active AS active FROM events_by_identity WHERE gateway = 'bedrock'"
    )
    assert dana == [{"identity": "p-dana", "active": False}]
    removed = command_json(up.data, "identity", "load", str(scim), "--remove")
    assert removed["people"] == 1
    loads = command_json(up.data, "identity", "list", "--loads")["loads"]
    assert [one["sha256"] for one in loads][-2:] == [kept["sha256"], removed["sha256"]]
    assert removed["sha256"] in command(up.data, "identity", "list", "--loads").stdout


def test_a_kill_between_the_object_and_the_load_changes_nothing(up: Up, tmp_path: Path) -> None:
    before = command_json(up.data, "identity", "list", "--loads")["loads"]
    file = people_file(tmp_path, PEOPLE.replace("Dana@", "dana.b@"))
    arguments = ["identity", "load", file, "--remove", "--data", str(up.data)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert killed.returncode == 9, killed.stderr
    assert command_json(up.data, "identity", "list", "--loads")["loads"] == before
    loaded = command_json(up.data, "identity", "load", file, "--remove")
    in_engine(up, loaded["sha256"])
    again = command_json(up.data, "identity", "list", "--loads")["loads"]
    assert [one["sha256"] for one in again[len(before) :]] == [loaded["sha256"]]


def test_a_tenants_own_directory(up: Up, tmp_path: Path) -> None:
    file = people_file(tmp_path)
    loaded = command_json(up.data, "identity", "load", file, "--tenant", "rival")
    assert loaded["tenant"] == "rival"
    assert command_json(up.data, "identity", "list", "--tenant", "third")["people"] == []
    empty = command(up.data, "identity", "load", file, "--tenant", " ")
    assert empty.returncode == exits.USAGE
    missing = command(up.data, "identity", "check", str(tmp_path / "absent"))
    assert (missing.returncode, "cannot read" in missing.stderr) == (exits.USAGE, True)
