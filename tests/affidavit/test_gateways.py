"""The catalogue of gateways as people meet it: list, page, dry run."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from affidavit import pages, settings
from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.layout import Layout
from collector.catalogue import GATEWAYS
from collector.formats import http_routes

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

SHAPE = ["## Set up", "## What arrives", "## What the source withholds", "## Key"]

NAMES = [one.name for one in GATEWAYS]

PAYLOAD = {
    "id": "c-1",
    "litellm_call_id": "l-1",
    "call_type": "acompletion",
    "status": "success",
    "startTime": 1787305200.5,
    "endTime": 1787305201.0,
    "model": "claude-sonnet-5",
    "messages": [{"role": "user", "content": "hi"}],
    "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]},
    "request_tags": ["prod"],
    "a_new_field": {"of": "theirs"},
}


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    file = tmp_path / "payload.json"
    file.write_text(json.dumps([PAYLOAD]))
    return file


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateways", "list"]) == exits.DONE
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    assert run(["gateways", "list", "--json"]) == exits.DONE
    listed = json.loads(capsys.readouterr().out)["gateways"]
    assert [one["name"] for one in listed] == NAMES
    assert listed[NAMES.index("litellm")]["paths"] == ["POST /v1/litellm"]


def test_names_and_paths_are_there_once() -> None:
    paths = [path for route in http_routes() for path in route.paths]
    assert len(set(NAMES)) == len(NAMES)
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("name", NAMES)
def test_every_gateway_has_a_page_of_the_same_shape(name: str) -> None:
    text = pages.page(name)
    headings = [line for line in FENCED.sub("", text).splitlines() if line.startswith("#")]
    assert headings[0].startswith("# ")
    assert [one for one in headings if one in SHAPE] == SHAPE
    assert pages.snippet(text).strip()


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_takes_an_address_and_a_token(name: str) -> None:
    text = pages.page(name, url="https://audit.example.com/", token="aff_x_y")
    assert pages.URL not in text
    assert pages.TOKEN not in pages.snippet(text)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_is_linked(name: str) -> None:
    index = Path(__file__).resolve().parents[2] / "docs" / "gateways.md"
    assert f"(../collector/pages/{name}.md)" in index.read_text("utf-8")


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateways", "show", "litellm", "--snippet", "--url", "https://audit.example.com"]) == exits.DONE
    assert "endpoint: https://audit.example.com/v1/litellm" in capsys.readouterr().out
    assert run(["gateways", "show", "litellm", "--json"]) == exits.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["configuration"] in shown["page"]


def test_a_gateway_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateways", "show", "litelm"]) == exits.USAGE
    assert "did you mean litellm?" in capsys.readouterr().err


def test_a_payload_field_by_field(payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateways", "test", "litellm", str(payload)]) == exits.DONE
    shown = capsys.readouterr()
    assert "  prompt  " in shown.out
    assert "occurred_at" in shown.out
    assert "2026-08-21T09:40:00.500Z" in shown.out
    assert 'not mapped, kept in extras: a_new_field = {"of":"theirs"}' in shown.out
    assert shown.err == "1 record, 2 events; all of it was understood; nothing was stored\n"


def test_a_payload_as_json_with_what_the_source_withheld(payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = {"role": "user", "content": "redacted-by-litellm"}
    payload.write_bytes(gzip.compress(json.dumps([PAYLOAD | {"messages": [cut]}]).encode()))
    assert run(["gateways", "test", "litellm", str(payload), "--json"]) == exits.DONE
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["unread"], shown["events"]) == ("affidavit.gateway-test/1", 0, 2)
    prompt = shown["records"][0]["events"][0]
    assert prompt["content"]["messages"] == [cut]
    assert prompt["withheld"][0]["state"] == "redacted"
    assert prompt["not_mapped"]["a_new_field"] == '{"of":"theirs"}'


def test_a_payload_that_cannot_be_read(payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload.write_text('[{"id": 1}]')
    assert run(["gateways", "test", "litellm", str(payload)]) == exits.USAGE
    shown = capsys.readouterr()
    assert "would be recorded as unparsed" in shown.out
    assert "1 would be unparsed" in shown.err


def test_from_standard_input_in_the_format_that_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"timeUnixNano": "1787305200000000000", "body": {"stringValue": "x"}, "eventName": "gen_ai.choice"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body.encode())))
    assert run(["gateways", "test", "opentelemetry", "-", "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["format"] == "otlp_logs"


def test_a_header_that_is_none(payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateways", "test", "litellm", str(payload), "--header", "nonsense"]) == exits.USAGE
    assert "expected NAME:VALUE" in capsys.readouterr().err


PLACE = re.compile(re.escape(pages.URL) + r"(/[A-Za-z0-9/_.-]*[A-Za-z0-9])")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SERVED = [
    re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))) for route in http_routes() for path in route.paths
]
"""A path is served when one of these matches all of it."""

BASES = ("/api/public", "/otlp")
"""What a client appends the rest of a path to."""


@pytest.mark.parametrize("name", NAMES)
def test_every_address_on_a_page_is_one_that_is_served(name: str) -> None:
    for path in PLACE.findall(pages.page(name)):
        assert path in BASES or any(served.fullmatch(path) for served in SERVED), f"nothing is served at {path}"


@pytest.mark.parametrize("name", NAMES)
def test_every_block_on_a_page_is_what_it_says(name: str, tmp_path: Path) -> None:
    for number, (language, text) in enumerate(BLOCK.findall(pages.page(name))):
        match language:
            case "yaml":
                list(yaml.safe_load_all(text))
            case "json":
                json.loads(text)
            case "toml":
                layout = Layout(tmp_path / str(number))
                layout.root.mkdir()
                secrets = re.sub(r'(\w+_file) = "[^"]*"', rf'\1 = "{tmp_path}/secret"', text)
                (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
                layout.config.write_text(secrets)
                layout.config.chmod(0o600)
                settings.load(layout, {})
            case "sh" | "bash":
                subprocess.run(["bash", "-n"], input=text.encode(), check=True)
            case _:
                assert language in ("text", "sql", "http", "python", "ini"), f"a block of {language} on {name}"
