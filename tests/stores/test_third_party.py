"""A program with nothing of ours reads the bus: published schemas, fastavro, and the keys that it was granted."""

from __future__ import annotations

import ast
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from kafka_bus import config, open_bus, running_kafka
from sealed_records import events, sealed, strays

from affidavit.cli.main import run
from affidavit.grants import key_line
from bench.agent_session import litellm, session
from collector.gateways import Received
from collector.gateways.litellm import LiteLLMFormat
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.sealing import Sealing
from schemas.entry import EVENT, leaf_hash, pack_entry
from schemas.fingerprints import FINGERPRINTS, RECORD_V1
from schemas.ids import EVENTS, Shard, format_event_id
from schemas.metadata import schema
from stores.bus import Message, Outgoing
from stores.bus.headers import Foreign
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.grant import Grant, export_granted
from stores.keys.kek import FileKek, create_kek_file
from stores.objects.local import LocalObjects

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "consumer" / "consume.py"
SHARD = Shard(EVENTS, 0)
MONTH = "2025-11"
"""Of the records' receipt."""

Line = dict[str, Any]


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with running_kafka() as bootstrap:
        yield bootstrap


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schemas, as an operator publishes them."""
    folder = tmp_path_factory.mktemp("published")
    assert run(["schemas", "export", str(folder)]) == 0
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[DatabaseKeys]:
    create_kek_file(tmp_path / "kek")
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    control.migrate()
    yield DatabaseKeys(control, FileKek(tmp_path / "kek"))
    control.close()


def grant(keys: DatabaseKeys, tmp_path: Path, wanted: Grant) -> Path:
    """The file that a consumer is handed."""
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    path = tmp_path / "granted.keys"
    lines = [key_line(scope, key) for scope, key in export_granted(control, keys.wrapping, wanted)]
    control.close()
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


async def on_the_bus(kafka: str, messages: list[Outgoing | Foreign]) -> tuple[str, list[Message]]:
    """Put messages on one shard; the name of the topic, and what lies there now."""
    settings = config(kafka, partitions=1)
    bus = await open_bus(settings)
    try:
        await bus.append(messages)  # type: ignore[arg-type]
        bounds = await bus.bounds(SHARD)
        found: list[Message] = []
        while len(found) < bounds.end:
            at = bounds.start if not found else found[-1].offset + 1
            found += await bus.read(SHARD, at, max_records=1000, max_bytes=1 << 24)  # type: ignore[arg-type]
        return settings.topic(EVENTS), found
    finally:
        await bus.close()


def consume(kafka: str, topic: str, published: Path, granted: Path | None, folder: Path, *options: str) -> list[Line]:
    """Run the program; what it says of each message."""
    command = [sys.executable, "-I", str(PROGRAM), "--kafka", kafka, "--topic", topic, "--schemas", str(published)]
    command += options
    if granted is not None:
        command += ["--keys", str(granted)]
    ran = subprocess.run([*command, "--until-silent-ms", "1500"], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(PROGRAM.read_text())
    found = {
        (name.name if isinstance(node, ast.Import) else str(node.module)).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert found - sys.stdlib_module_names == {"aiokafka", "cryptography", "fastavro", "zstandard"}
    listed = (PROGRAM.parent / "requirements.txt").read_text().split()
    assert {re.split(r"\W", line)[0] for line in listed} == found - sys.stdlib_module_names
    assert len(PROGRAM.read_text().splitlines()) <= 185


def test_its_fingerprints_are_ours() -> None:
    for name, ours in FINGERPRINTS.items():
        assert bytes.fromhex(fingerprint(to_parsing_canonical_form(schema(name)), "CRC-64-AVRO")) == ours


async def test_all_that_was_granted_is_read(kafka: str, keys: DatabaseKeys, published: Path, tmp_path: Path) -> None:
    sent = events(40, tenants=["acme"])
    topic, there = await on_the_bus(kafka, [*sealed(keys, 40, tenants=["acme"])])
    lines = consume(kafka, topic, published, grant(keys, tmp_path, Grant("acme", month=MONTH)), tmp_path)
    assert [line["offset"] for line in lines] == list(range(40))
    for line, event, message in zip(lines, sent, there, strict=True):
        assert (line["status"], line["event_id"], line["tenant"]) == ("OK", format_event_id(event.event_id), "acme")
        parts = line["parts"]
        assert {part["status"] for part in parts.values()} == {"OK"}
        metadata = parts["metadata"]["value"]
        assert {name: metadata[name] for name in ("kind", "session_id", "source_id")} == {
            "kind": event.kind,
            "session_id": event.session,
            "source_id": event.metadata["source_id"],
        }
        assert metadata["received_at"].startswith("2025-11-24 ")
        assert parts["content"]["value"] == json.loads(event.content)
        assert parts["source"]["value"] == (event.source or b"").decode()
        entry = pack_entry(EVENT, message.offset, message.time_ms, message.commitments)
        assert line["leaf"] == leaf_hash(entry).hex()
        assert line["bus_time_ms"] == message.time_ms


async def test_what_was_not_granted_stays_sealed(
    kafka: str, keys: DatabaseKeys, published: Path, tmp_path: Path
) -> None:
    """Another tenant, another part: seen, counted, matched with the ledger, and not read."""
    topic, _ = await on_the_bus(kafka, [*sealed(keys, 20)])
    granted = grant(keys, tmp_path, Grant("acme", month=MONTH, part_types=(1,)))
    for line in consume(kafka, topic, published, granted, tmp_path):
        readable = "OK" if line["tenant"] == "acme" else "SEALED"
        assert {name: part["status"] for name, part in line["parts"].items()} == {
            "metadata": readable,
            "content": "SEALED",
            "source": "SEALED",
        }
        assert len(line["leaf"]) == 64
    assert "text of event" not in json.dumps(consume(kafka, topic, published, None, tmp_path))


async def test_what_was_too_large_for_the_bus_is_read_from_the_objects(
    kafka: str, keys: DatabaseKeys, published: Path, tmp_path: Path
) -> None:
    text = "a long story, told at length; " * 100_000
    large = [
        replace(event, source=(text + secrets.token_hex(600_000)).encode()) for event in events(2, tenants=["acme"])
    ]
    objects = LocalObjects(tmp_path / "objects")
    topic, _ = await on_the_bus(kafka, Sealing(keys, blobs=Blobs(objects, Spools(tmp_path))).seal(large))
    objects.close()
    granted = grant(keys, tmp_path, Grant("acme", month=MONTH))
    without = consume(kafka, topic, published, granted, tmp_path)
    assert [line["parts"]["source"]["status"] for line in without] == ["ELSEWHERE"] * 2
    lines = consume(kafka, topic, published, granted, tmp_path, "--objects", str(tmp_path / "objects"))
    assert [line["parts"]["source"]["value"].encode() for line in lines] == [event.source for event in large]


async def test_nothing_on_the_bus_stops_it(kafka: str, keys: DatabaseKeys, published: Path, tmp_path: Path) -> None:
    """Foreign messages, an unknown schema, a damaged record, another's commitments."""
    good = sealed(keys, 6, tenants=["acme"])
    damaged = good[1]._replace(value=good[1].value[:-20])
    flipped = good[2]._replace(value=good[2].value.replace(good[2].value[90:100], bytes(10)))
    later = good[3]._replace(fingerprint=b"\x01unknown", value=good[3].value + b"\x00")
    swapped = good[4]._replace(commitments=good[5].commitments)
    foreign = [one for one in strays() if all(name.isascii() for name, _ in one.headers)]
    topic, there = await on_the_bus(kafka, [good[0], damaged, flipped, later, swapped, *foreign])
    lines = consume(kafka, topic, published, grant(keys, tmp_path, Grant("acme", month=MONTH)), tmp_path)
    assert [line["offset"] for line in lines] == [message.offset for message in there]
    assert [line["status"] for line in lines] == [
        "OK", "UNDECODABLE", "OK", "UNKNOWN_SCHEMA", "OK", *["INVALID"] * len(foreign)
    ]  # fmt: skip
    assert {part["status"] for part in lines[0]["parts"].values()} == {"OK"}
    assert {part["status"] for part in lines[2]["parts"].values()} == {"OK", "MISMATCH"}
    assert lines[3]["fingerprint"] == b"\x01unknown".hex() != RECORD_V1.hex()
    assert {part["status"] for part in lines[4]["parts"].values()} == {"MISMATCH"}


async def test_a_session_that_sends_everything_again_is_read_whole(
    kafka: str, keys: DatabaseKeys, published: Path, tmp_path: Path
) -> None:
    """Records that refer to others on the bus, by whoever collects there, are put together by whoever reads there."""
    settings, source = config(kafka, partitions=3), LiteLLMFormat()
    bus = await open_bus(settings)
    bodies = [litellm(turn, "session-1") for turn in session(9)]
    for number, body in enumerate(bodies):
        if number in (0, 6):
            ingest = Ingest(bus, keys, collector_id=f"c-{number}")
        now = int(datetime.now(UTC).timestamp() * 1_000_000)
        received = Received("acme", "litellm", "t-1", "http", "192.0.2.1", "application/json", "", now, "litellm")
        await ingest.accept_body(body, source, received)
    ingest.close()
    await bus.close()
    month = datetime.now(UTC).strftime("%Y-%m")
    granted = grant(keys, tmp_path, Grant("acme", month=month))
    parts = [line["parts"] for line in consume(kafka, settings.topic(EVENTS), published, granted, tmp_path)]
    assert {part["status"] for one in parts for part in one.values()} == {"OK"}
    assert [one["source"]["value"] for one in parts if "source" in one] == [body[1:-1].decode() for body in bodies]
    told = [one["content"]["value"] for one in parts if one["metadata"]["value"]["kind"] == "prompt"]
    assert ["history" in content for content in told] == [False, *[True] * 5, False, True, True]


@pytest.mark.parametrize("page", ["docs/consuming.md"])
def test_the_page_quotes_the_program(page: str) -> None:
    """Each Python block of the page is a passage of the program, and each function of the program is on the page."""
    text, program = (ROOT / page).read_text(), PROGRAM.read_text()
    quoted = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert quoted
    for passage in quoted:
        assert passage.strip() in program, f"not in {PROGRAM.name}:\n{passage}"
    for function in [node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)]:
        assert any(f"def {function.name}(" in passage for passage in quoted), f"{function.name} is not on {page}"
