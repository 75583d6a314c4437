"""``keys export``: narrowed, on the log before it takes effect, private; ``schemas``: the released bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.grants import export_keys
from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.wiring import Wiring
from schemas.errors import Unavailable
from schemas.fingerprints import FINGERPRINTS
from schemas.ids import CONTROL, Offset, Shard
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, SubjectKey, part_key
from schemas.record import decode_record
from stores.keys import KeyScope
from stores.keys.grant import Grant

Capture = pytest.CaptureFixture[str]

SCOPES = [
    KeyScope(tenant, subject, "standard", part, month)
    for tenant in ("acme", "globex")
    for subject in ("", "ann@example.com")
    for part in (METADATA, CONTENT, SOURCE)
    for month in ("2026-10", "2026-11")
]


@pytest.fixture
def wiring(tmp_path: Path) -> Iterator[Wiring]:
    layout = Layout(tmp_path / "data")
    assert run(["init", "--data", str(layout.root)]) == exits.DONE
    with Wiring(layout, load(layout, {})) as made:
        yield made


@pytest.fixture
def keys(wiring: Wiring) -> dict[KeyScope, SubjectKey]:
    return dict(zip(SCOPES, wiring.keys.for_scopes(SCOPES), strict=True))


def export(wiring: Wiring, out: Path, *narrowed: str) -> int:
    return run(["keys", "export", "--data", str(wiring.layout.root), "--out", str(out), *narrowed])


def acts(wiring: Wiring) -> list[dict[str, Any]]:
    """Metadata-free view of the control shard: the content of every act."""
    shard = Shard(CONTROL, 0)
    found = []
    for message in asyncio.run(wiring.bus.read(shard, Offset(0), max_records=100, max_bytes=1 << 24)):
        record = decode_record(message.value)
        for at, part in enumerate(record.parts):
            if part.type == SOURCE:
                secret = wiring.keys.by_id([part.key_id])[part.key_id]
                commitment = message.commitments[33 * at + 1 : 33 * at + 33]
                opened = Opener().open(part, commitment, record.event_id, part_key(secret, record.event_id, part.type))
                found.append(json.loads(opened.data))
    return found


@pytest.mark.parametrize(
    ("narrowed", "covers"),
    [
        (["--all"], lambda scope: True),
        (["--subject", ""], lambda scope: scope.subject == ""),
        (["--month", "2026-11"], lambda scope: scope.month == "2026-11"),
        (["--part", "metadata", "--part", "content"], lambda scope: scope.part_type in (METADATA, CONTENT)),
        (
            ["--subject", "ann@example.com", "--month", "2026-10", "--part", "source"],
            lambda scope: (scope.subject, scope.month, scope.part_type) == ("ann@example.com", "2026-10", SOURCE),
        ),
    ],
)
def test_the_file_has_the_keys_asked_for_and_no_other(
    wiring: Wiring, keys: dict[KeyScope, SubjectKey], tmp_path: Path, narrowed: list[str], covers: Any
) -> None:
    out = tmp_path / "acme.keys"
    assert export(wiring, out, "--tenant", "acme", *narrowed) == exits.DONE
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    wanted = {key for scope, key in keys.items() if scope.tenant == "acme" and covers(scope)}
    assert {(bytes.fromhex(line["key_id"]), bytes.fromhex(line["key"])) for line in lines} == wanted
    assert len(lines) == len(wanted)
    assert {line["tenant"] for line in lines} == {"acme"}
    assert set(lines[0]) == {"key_id", "tenant", "subject", "retention_class", "part_type", "month", "key"}
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme.keys", "data"]


def test_the_export_is_on_the_log(wiring: Wiring, keys: dict[KeyScope, SubjectKey], tmp_path: Path) -> None:
    narrowed = ["--tenant", "acme", "--month", "2026-11", "--part", "content", "--note", "fraud team"]
    assert export(wiring, tmp_path / "acme.keys", *narrowed) == exits.DONE
    [act] = acts(wiring)
    assert (act["operation"], act["kind"], act["tenant"]) == ("keys.export", "access", "acme")
    ids = sorted(
        bytes.fromhex(json.loads(line)["key_id"]) for line in (tmp_path / "acme.keys").read_text().splitlines()
    )
    assert act["details"] == {
        "tenant": "acme",
        "subject": None,
        "month": "2026-11",
        "part_types": ["content"],
        "keys": 2,
        "key_ids_sha256": hashlib.sha256(b"".join(ids)).hexdigest(),
        "note": "fraud team",
    }
    assert all(key.secret.hex() not in json.dumps(act) for key in keys.values())


def test_no_log_no_keys(wiring: Wiring, keys: dict[KeyScope, SubjectKey], tmp_path: Path) -> None:
    class Away:
        async def append(self, messages: object) -> list[object]:
            raise Unavailable("the bus is away")

        async def close(self) -> None: ...

    wiring.__dict__["bus"] = Away()
    with pytest.raises(Unavailable, match="the bus is away"):
        export_keys(wiring, Grant("acme"), tmp_path / "acme.keys", "")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_count_exports_nothing(wiring: Wiring, keys: dict[KeyScope, SubjectKey], capsys: Capture) -> None:
    capsys.readouterr()
    asked = ["keys", "export", "--data", str(wiring.layout.root), "--tenant", "acme", "--month", "2026-11", "--count"]
    assert run([*asked, "--json"]) == exits.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["keys"] == 6
    assert shown["groups"][0] == {"month": "2026-11", "part_type": "metadata", "keys": 2}
    assert run(asked) == exits.DONE
    text = capsys.readouterr()
    assert "6 keys; nothing was exported" in text.err
    assert all(key.secret.hex() not in text.out + text.err + json.dumps(shown) for key in keys.values())
    assert acts(wiring) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--tenant", "acme", "--out", "k"], exits.USAGE, "got every key of tenant 'acme': narrow it"),
        (["--tenant", "acme", "--all", "--month", "2026-11", "--out", "k"], exits.USAGE, "something that narrows"),
        (["--tenant", "acme", "--month", "2026-13", "--out", "k"], exits.USAGE, "got month '2026-13'"),
        (["--tenant", "acme", "--month", "2026-11"], exits.USAGE, "got both or neither of --count and --out"),
        (["--tenant", "acme", "--month", "2026-11", "--count", "--out", "k"], exits.USAGE, "got both or neither"),
        (["--tenant", "acme", "--part", "salt", "--out", "k"], exits.USAGE, "'salt' is not one of"),
        (["--tenant", "nobody", "--all", "--out", "k"], exits.INCOMPLETE, "there is no subject key of tenant 'nobody'"),
        (["--tenant", "acme", "--month", "2026-11", "--out", "there"], exits.USAGE, "never written over another"),
        (["--tenant", "acme", "--month", "2026-11", "--out", "nowhere/k"], exits.USAGE, "cannot create"),
        (["--month", "2026-11", "--out", "k"], exits.USAGE, "--tenant"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_file_and_no_act(
    wiring: Wiring,
    keys: dict[KeyScope, SubjectKey],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_text("mine")
    assert run(["keys", "export", "--data", "data", *arguments]) == code
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there"]
    assert Path("there").read_text() == "mine"
    assert acts(wiring) == []


def test_exported_schemas_are_the_released_bytes(tmp_path: Path, capsys: Capture) -> None:
    assert run(["schemas", "list", "--json"]) == exits.DONE
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["schemas"]}
    assert {name: one["fingerprint"] for name, one in listed.items()} == {k: v.hex() for k, v in FINGERPRINTS.items()}
    for _ in range(2):
        assert run(["schemas", "export", str(tmp_path / "out")]) == exits.DONE
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(FINGERPRINTS)
    for path in (tmp_path / "out").glob("*.avsc"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[path.stem]["sha256"]
        capsys.readouterr()
        assert run(["schemas", "show", path.stem]) == exits.DONE
        assert capsys.readouterr().out == path.read_text()


def test_an_edited_schema_is_not_replaced(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "record.v1.avsc").write_text("{}")
    assert run(["schemas", "export", str(tmp_path)]) == exits.USAGE
    assert "is not the released file of that name" in capsys.readouterr().err
    assert (tmp_path / "record.v1.avsc").read_text() == "{}"
    assert run(["schemas", "show", "record.v9"]) == exits.USAGE
    assert "got schema 'record.v9', expected chunks.v1, deadletter.v1, metadata.v1" in capsys.readouterr().err
