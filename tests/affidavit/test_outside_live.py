"""Anchors, bundles and keys from the command line: real processes, a real authority, a witness of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from traffic import send_traffic
from tsa_server import TimeStampServer
from up_process import Up

pytestmark = pytest.mark.slow


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run(
        [sys.executable, "-m", "affidavit", *map(str, words)], capture_output=True, text=True, timeout=120
    )


def affidavit(*words: str | Path, code: int = 0) -> str:
    """Run a command that ends with ``code``; its standard output."""
    done = run(*words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never came"


def document(*words: str | Path, code: int = 0) -> dict[str, Any]:
    found = json.loads(affidavit(*words, "--json", code=code))
    assert isinstance(found, dict)
    return found


def first_document(process: subprocess.Popen[str]) -> str:
    """What a process prints when it is ready."""
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        assert line, f"ended early with {process.wait(30)}: {text}"
        text += line
    return text


@dataclass
class Anchored:
    """A running deployment with three anchors."""

    up: Up
    folder: Path
    witness: Path

    @property
    def data(self) -> Path:
        return self.up.data

    @property
    def policy(self) -> Path:
        return self.folder / "policy"


@pytest.fixture(scope="module")
def anchored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchored]:
    folder = tmp_path_factory.mktemp("outside")
    data, witness = folder / "data", folder / "witness"
    with TimeStampServer(folder / "tsa") as tsa:
        (folder / "tsa.pem").write_bytes(tsa.chain)
        affidavit("init", "--data", data, "--name", "audit.example.com")
        log = (data / "keys/signer.vkey").read_text().strip()
        vkey = affidavit("witness", "init", "--data", witness, "--name", "witness.example.org", "--log", log).strip()
        (witness / "affidavit.toml").write_text("[witness]\nport = 0\n")
        (witness / "affidavit.toml").chmod(0o600)
        command = [sys.executable, "-m", "affidavit", "run", "witness", "--data", str(witness), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        text = first_document(process)
        with (data / "affidavit.toml").open("a") as file:
            file.write(
                f'\n[signer]\nanchor_seconds = 0.5\n[anchors.clock]\nkind = "tsa"\nurl = "{tsa.url}"\n'
                f'certificates = "{folder / "tsa.pem"}"\ninterval_seconds = 1\n[anchors.auditor]\nkind = "witness"\n'
                f'url = "{json.loads(text)["url"]}"\nvkey = "{vkey}"\ninterval_seconds = 1\n'
                f'[anchors.vault]\nkind = "lock"\ndirectory = "{folder / "vault"}"\ninterval_seconds = 1\n'
            )
        up = Up(data, AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS="1")
        up.start()
        send_traffic(up)
        try:
            yield Anchored(up, folder, witness)
        finally:
            up.kill()
            process.terminate()
            process.wait(30)
            process.stdout.close()


def vouched(made: Anchored) -> bool:
    rows = document("anchors", "list", "--data", made.data)["anchors"]
    report = json.loads(run("verify", "log", "--data", made.data, "--policy", made.policy, "--json").stdout)
    newest = [log["vouched"][-1]["last"] == log["size"] - 1 if log["vouched"] else False for log in report["logs"]]
    return all(row["size"] for row in rows) and all(newest)


def test_a_deployment_is_vouched_for(anchored: Anchored) -> None:
    eventually(lambda: all(row["size"] for row in document("anchors", "list", "--data", anchored.data)["anchors"]))
    anchored.policy.write_text(affidavit("anchors", "policy", "--data", anchored.data))
    assert "quorum witnesses" in anchored.policy.read_text()
    eventually(lambda: vouched(anchored))
    told = affidavit("verify", "records", "--data", anchored.data, "--policy", anchored.policy)
    assert told.startswith("VERIFIED: audit.example.com")
    assert "so say quorum witnesses and 1 of the authorities clock, whom the operator does not control" in told
    done = document("anchors", "test", "clock", "--data", anchored.data)
    assert (done["kind"], done["origin"][:25]) == ("tsa", "audit.example.com/anchor/")
    metrics = httpx.get(f"{anchored.up.monitor}/metrics", trust_env=False).text
    for kind, name in (("tsa", "clock"), ("witness", "auditor"), ("lock", "vault")):
        assert f'affidavit_outside_anchored_leaves{{anchor="{name}",kind="{kind}"}}' in metrics
    assert 'affidavit_outside_failures_total{anchor="clock",kind="tsa",reason="refused"} 0.0' in metrics
    shown = document("witness", "show", "--data", anchored.witness)
    assert shown["seen"][0]["origin"] == done["origin"]


def test_a_session_is_exported_and_verified_elsewhere(anchored: Anchored, tmp_path: Path) -> None:
    session = document(
        "query", "SELECT any(session_id) AS s FROM events WHERE session_id != ''", "--data", anchored.data
    )
    name = session["rows"][0]["s"]
    out = tmp_path / "b.zip"
    plan = document("export", "bundle", "--session", name, "--out", out, "--data", anchored.data, "--dry-run")
    assert not out.exists()
    options = ["--out", out, "--data", anchored.data, "--policy", anchored.policy, "--note", "matter 4711"]
    done = document("export", "bundle", "--session", name, *options)
    assert done["records"] == len(plan["records"]) > 1
    assert done["unvouched"] == 0
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "unpacked")
    command = [sys.executable, "-I", "verify.py", "--policy", str(anchored.policy), str(out)]
    verified = subprocess.run(command, cwd=tmp_path / "unpacked", capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.startswith("VERIFIED")
    acts = document(
        "query", "SELECT count() AS n FROM events WHERE operation = 'export.bundle'", "--data", anchored.data
    )
    assert acts["rows"]
    again = tmp_path / "c.zip"
    where = "kind = 'tool_call'"
    assert document("export", "bundle", "--where", where, "--source", "archive", *["--out", again, *options[2:]])[
        "records"
    ]


def test_a_monitor_follows_from_elsewhere(anchored: Anchored, tmp_path: Path) -> None:
    (tmp_path / "affidavit.toml").write_text(f'[objects]\ndirectory = "{anchored.data / "objects"}"\n')
    (tmp_path / "affidavit.toml").chmod(0o600)
    (tmp_path / "policy").write_text(anchored.policy.read_text())
    first = document("run", "monitor", "--data", tmp_path, "--once")
    assert (first["alerts"], first["logs"]) == ([], 3)
    again = document("run", "monitor", "--data", tmp_path, "--once")
    assert again["leaves"] >= first["leaves"]
    command = [sys.executable, "-m", "affidavit", "run", "monitor", "--data", str(tmp_path), "--json"]
    environment = os.environ | {"AFFIDAVIT_WATCH_PORT": "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    text = first_document(process)
    url = json.loads(text)["url"]
    eventually(lambda: "affidavit_watch_rounds_total 1.0" in httpx.get(url, trust_env=False).text)
    assert 'affidavit_watch_alerts{kind="fork"} 0.0' in httpx.get(url, trust_env=False).text
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    state = json.loads((tmp_path / "watch.json").read_text())
    name = next(name for name in state["logs"] if "/events/" in name)
    state["logs"][name]["size"] += 10**6
    (tmp_path / "watch.json").write_text(json.dumps(state))
    told = document("run", "monitor", "--data", tmp_path, "--once", code=1)
    assert told["alerts"][0]["kind"] == "rollback"


def test_a_key_is_rotated_and_the_old_one_revoked(anchored: Anchored) -> None:
    """The procedure of docs/key-custody.md, run: stop, rotate, start, new policy; then as if the old key was stolen."""
    before = document("keys", "show", "--data", anchored.data)
    assert affidavit("keys", "rotate", "--data", anchored.data) == ""
    affidavit("keys", "rotate", "--yes", "--data", anchored.data, code=3)
    anchored.up.stop()
    done = document("keys", "rotate", "--yes", "--reason", "a drill", "--data", anchored.data)
    assert len(done["opened"]) == 3
    assert Path(done["former_key"]).exists()
    after = document("keys", "show", "--data", anchored.data)
    assert before["verifier_key"] != after["verifier_key"]
    assert done["verifier_keys"] == [after["verifier_key"], before["verifier_key"]]
    words = [word for line in done["verifier_keys"] for word in ("--log", line)]
    affidavit("witness", "init", "--data", anchored.witness, "--name", "witness.example.org", *words)
    checks = {check["name"]: check["state"] for check in document("doctor", "--data", anchored.data)["checks"]}
    assert {name: checks[name] for name in checks if name.startswith("anchor ")} == {
        "anchor clock": "ok",
        "anchor auditor": "ok",
        "anchor vault": "ok",
    }
    assert checks["signing key"] == "ok"
    anchored.up.start()
    anchored.policy.write_text(affidavit("anchors", "policy", "--data", anchored.data))
    report = document("verify", "records", "--data", anchored.data, "--policy", anchored.policy)
    assert len({log["origin"] for log in report["logs"]}) == 4
    old = before["verifier_key"]
    anchored.policy.write_text(anchored.policy.read_text() + f"#: revoked {old} 2020-01-01T00:00:00Z\n")
    report = document("verify", "log", "--data", anchored.data, "--policy", anchored.policy, code=1)
    wrong = [item for log in [report["anchors"], *report["logs"]] for item in log["findings"]]
    assert {item["step"] for item in wrong} == {"A12"}
    assert all("2020-01-01" in item["message"] for item in wrong)
