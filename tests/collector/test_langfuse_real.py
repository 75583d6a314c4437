"""Real Langfuse SDKs against the real collector: Python 2 and JavaScript 3 (ingestion API), Python 5 (OTLP)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from faults import Fault, Faults
from langfuse_client import ANSWER, CALL, QUESTION
from own_venv import CACHE, own_venv

SUPPORT = Path(__file__).resolve().parents[1] / "support"
JAVASCRIPT = "3.39.2"
HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["2", "5", "js"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def command(version: str) -> list[str]:
    """What runs the client, but for its last arguments."""
    if version == "js":
        return [str(shutil.which("node")), str(SUPPORT / "langfuse_client.mjs")]
    python = own_venv(f"langfuse{version}-venv", HERE / f"langfuse{version}-requirements.txt") / "python"
    return [str(python), str(SUPPORT / "langfuse_client.py"), version]


@pytest.fixture(scope="module")
def collector(version: str, command: list[str]) -> Iterator[RunningCollector]:
    """A collector that has refused the first two batches of the client."""
    folder = [str(javascript())] if version == "js" else []
    with collector_server("langfuse", Faults({1: Fault.LOST, 2: Fault.REPORTED})) as running:
        arguments = [*command, running.url, running.token, *folder]
        environment = {"PATH": "/usr/bin:/bin", "NO_PROXY": "*"}
        ran = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        yield running


def javascript() -> Path:
    """The SDK for JavaScript, installed once; skips, with its reason, where there is no npm."""
    npm, folder = shutil.which("npm"), CACHE / f"langfuse-js-{JAVASCRIPT}"
    if npm is None:
        pytest.skip("LANGFUSE'S SDK FOR JAVASCRIPT WAS NOT TESTED: there is no npm to install it with")
    if not (folder / "node_modules" / "langfuse").exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(
            [npm, "install", *options, f"langfuse@{JAVASCRIPT}"], check=True, capture_output=True, timeout=240
        )
    return folder


def events(collector: RunningCollector, kind: str) -> list[OpenedEvent]:
    """Events of a kind, repeats left out."""
    found = {event.metadata["event_id"]: event for event in collector.opened() if event.metadata["kind"] == kind}
    return list(found.values())


pytestmark = pytest.mark.slow


def test_a_model_call_arrives_whole_from_either(collector: RunningCollector) -> None:
    prompt = events(collector, "prompt")[0]
    assert prompt.content["messages"] == QUESTION
    assert prompt.content["parameters"] == {"temperature": 0}
    (response,) = [one for one in events(collector, "response") if one.content]
    assert response.content["messages"] == [ANSWER]
    assert (response.metadata["input_tokens"], response.metadata["output_tokens"]) == (10, 3)
    assert response.metadata["outcome"] == "ok"
    (call,) = events(collector, "tool_call")
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == (CALL["id"], "get_weather")
    assert prompt.metadata["model_requested"] == "gpt-5"


def test_creation_and_update_of_one_call_share_their_exchange(collector: RunningCollector, version: str) -> None:
    own = [
        one for one in collector.opened() if one.metadata["kind"] in ("prompt", "response", "tool_call") and one.content
    ]
    exchanges = {one.metadata["exchange_id"] for one in own}
    if version != "5":
        assert exchanges == {"gen-1", "gen-2"}
    traces = {one.metadata["trace_id"] for one in collector.opened()}
    assert len(traces) == 1
    assert version == "5" or traces == {"trace-1"}


def test_who_and_which_session(collector: RunningCollector, version: str) -> None:
    named = [one.metadata for one in collector.opened() if one.metadata["user_id"]]
    assert {(one["user_id"], one["session_id"], one["assurance"]) for one in named} == {
        ("dana@example.com", "s-1", "client_asserted")
    }


def test_what_only_the_ingestion_api_has(collector: RunningCollector, version: str) -> None:
    if version == "5":
        assert not events(collector, "guardrail")
        return
    (score,) = events(collector, "guardrail")
    assert (score.metadata["guardrail_name"], score.metadata["guardrail_verdict"]) == ("quality", "0.9")
    assert score.content == {"value": 0.9, "comment": "good"}
    failed = [one for one in events(collector, "response") if one.metadata["outcome"] == "error"]
    assert [one.metadata["error_message"] for one in failed] == ["rate limited"]
    operations = {one.metadata["operation"] for one in events(collector, "session")}
    assert operations == {"trace", "span", "event"}


def test_nothing_was_unreadable(collector: RunningCollector) -> None:
    assert not events(collector, "unparsed")
