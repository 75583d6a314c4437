"""Langfuse's envelopes: what becomes of each, that no leaf is lost, and what the sender is told."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector_server import RunningCollector, collector_server
from faults import Fault, Faults
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.langfuse import LangfuseFormat

GENERATION: dict[str, Any] = {
    "id": "e2",
    "type": "generation-create",
    "timestamp": "2026-08-21T09:00:02.000Z",
    "metadata": {"sdk": "note"},
    "body": {
        "id": "g1",
        "traceId": "tr1",
        "parentObservationId": "s1",
        "name": "openai",
        "startTime": "2026-08-21T11:00:00.125+02:00",
        "endTime": "2026-08-21T09:00:01.900Z",
        "completionStartTime": "2026-08-21T09:00:00.871Z",
        "model": "gpt-5",
        "modelParameters": {"temperature": 0.5},
        "input": {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "tool_calls": [{"id": "c0", "function": {"name": "locate", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c0", "content": "Paris"},
            ]
        },
        "output": {
            "role": "assistant",
            "content": "hello",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}],
        },
        "usage": {"input": 10, "output": 3, "total": 13, "unit": "TOKENS", "totalCost": 0.25},
        "usageDetails": {"input": 10, "output": 3, "total": 13, "cache_read_input_tokens": 4},
        "costDetails": {"total": 0.25, "input": 0.125},
        "level": "DEFAULT",
        "statusMessage": "fine",
        "metadata": {"ticket": "INC-7", "headers": {"x-api-key": "sk-ant-0123456789abcdef0123"}},
        "version": "v7",
        "environment": "prod",
        "promptName": "greeting",
        "promptVersion": 3,
        "a_field_of_next_year": {"nested": ["value"]},
    },
}

TRACE: dict[str, Any] = {
    "id": "e1",
    "type": "trace-create",
    "timestamp": "2026-08-21T09:00:03.000Z",
    "body": {
        "id": "tr1",
        "timestamp": "2026-08-21T09:00:00.000Z",
        "name": "chat",
        "userId": "dana",
        "sessionId": "s1",
        "input": {"q": "hi"},
        "output": {"a": "hello"},
        "tags": ["prod", "emea"],
        "release": "r9",
        "public": False,
        "metadata": {"k": "v"},
    },
}


def received() -> Received:
    return Received("acme", "langfuse", "t-1", "http", "", "application/json", "", 1, "langfuse", "ab" * 32)


def read(*envelopes: object, **beside: object) -> Reading:
    return LangfuseFormat().read(json.dumps({"batch": list(envelopes), **beside}).encode(), received())


def unit_of(envelope: object) -> Unit:
    (unit,) = read(envelope).units
    return unit


def drafts_of(envelope: object, kind: str) -> list[Draft]:
    return [draft for draft in unit_of(envelope).drafts if draft.kind == kind]


def envelope(kind: str, **body: Any) -> dict[str, Any]:
    return {
        "id": f"e-{kind}",
        "type": kind,
        "timestamp": "2026-08-21T09:00:02Z",
        "body": {"id": "o1", "traceId": "tr1", **body},
    }


EVERY = [
    GENERATION,
    TRACE,
    envelope(
        "span-create", name="agent", input={"goal": "g"}, startTime="2026-08-21T09:00:00Z", metadata={"k": "deep"}
    ),
    envelope(
        "span-update", output={"done": "yes"}, endTime="2026-08-21T09:00:05Z", level="WARNING", statusMessage="slow"
    ),
    envelope("generation-update", output="hello there", level="ERROR", statusMessage="cut off"),
    envelope("event-create", name="cache", input="miss"),
    envelope(
        "score-create",
        name="quality",
        value=0.75,
        comment="good",
        dataType="NUMERIC",
        observationId="g1",
        configId="cfg",
    ),
    envelope("sdk-log", log={"message": "retrying", "attempt": 4}),
    envelope("tool-create", name="search", input={"q": "paris"}, output=["a result"]),
    envelope("retriever-create", name="docs", input="capital?", output=[{"id": "d1", "text": "Paris"}, "a bare text"]),
    envelope("guardrail-create", name="pii", input="text", output={"verdict": "masked"}),
    envelope("observation-create", type="GENERATION", input="as text", model="m"),
    envelope("observation-update", type="EMBEDDING", input=["a", "b"], output=[[0.125, 0.25]]),
    envelope("hologram-create", name="new", input="whatever", angle=45.5),
    envelope("dataset-run-item-create", runId="r1", datasetItemId="i1"),
]


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one["type"])
def test_no_leaf_of_an_envelope_is_lost(one: dict[str, Any]) -> None:
    assert_kept(one, unit_of(one).drafts, dropped=["/id", "/body/type", "/body/level"])
    record = distinct(one, keep=["/type", "/body/type", "/body/level"])
    assert_kept(record, unit_of(record).drafts, dropped=["/id", "/body/type", "/body/level"])


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one["type"])
def test_no_leaf_is_lost_when_a_field_is_of_another_type_than_ever_before(one: dict[str, Any]) -> None:
    for name in one["body"]:
        for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
            changed = copy.deepcopy(one)
            changed["body"][name] = strange
            # An input that is text or a list in the place of messages is read as messages; nothing of it may go.
            assert_kept(changed, unit_of(changed).drafts, dropped=["/id", "/body/type", "/body/level"])


def test_no_leaf_of_a_real_batch_is_lost(samples: Path) -> None:
    body = (samples / "langfuse" / "ingestion-batch-streaming_completion.json").read_bytes()
    batch = json.loads(body)
    reading = LangfuseFormat().read(body, received())
    assert [unit.source_id for unit in reading.units] == [one["id"] for one in batch["batch"]]
    for unit, one in zip(reading.units, batch["batch"], strict=True):
        assert json.loads(unit.source) == one
        assert unit.source in body
        assert_kept(one, unit.drafts, dropped=["/id", "/body/level"])
    extras = reading.units[0].drafts[0].metadata["extras"]
    assert json.loads(extras["batch.metadata"]) == batch["metadata"]
    generation = reading.units[1].drafts[-1].metadata
    assert generation["started_at"] == 1737056654845150, "the time carries an offset"
    assert (generation["cost_amount"], generation["input_tokens"]) == (3.15e-05, 9)


def test_a_generation_is_its_prompt_results_response_and_calls() -> None:
    assert [draft.kind for draft in unit_of(GENERATION).drafts] == ["prompt", "tool_result", "response", "tool_call"]
    prompt, result, response, call = unit_of(GENERATION).drafts
    assert prompt.content["messages"][0] == {"role": "user", "content": "hi"}  # type: ignore[index]
    assert prompt.content["parameters"] == {"temperature": 0.5}  # type: ignore[index]
    assert (result.metadata["call_id"], result.content) == ("c0", {"result": "Paris"})
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("c1", "weather")
    assert call.content == {"arguments": {"a": 1}, "arguments_text": '{"a": 1}'}
    assert response.metadata["usage_semantics"] == "unknown"
    assert (response.metadata["input_tokens"], response.metadata["cache_read_tokens"]) == (10, 4)
    assert (response.metadata["cost_amount"], response.metadata["cost_currency"]) == (0.25, "USD")
    for draft in unit_of(GENERATION).drafts:
        metadata = draft.metadata
        assert (metadata["exchange_id"], metadata["trace_id"], metadata["span_id"]) == ("g1", "tr1", "g1")
        assert (metadata["parent_span_id"], metadata["model_requested"]) == ("s1", "gpt-5")
    assert "usage_raw" not in call.metadata
    assert "usage_raw" not in prompt.metadata


def test_times_carry_zones() -> None:
    prompt, response = drafts_of(GENERATION, "prompt")[0], drafts_of(GENERATION, "response")[0]
    assert prompt.metadata["occurred_at"] == response.metadata["started_at"] == 1787302800125000
    assert response.metadata["occurred_at"] == response.metadata["ended_at"] == 1787302801900000
    assert response.metadata["latency_ms"] == 1775
    assert response.metadata["time_to_first_token_ms"] == 746


def test_creation_and_update_are_kept_apart_under_one_exchange_in_any_order() -> None:
    created = envelope("generation-create", input="hi", model="gpt-5", startTime="2026-08-21T09:00:00Z")
    updated = envelope("generation-update", output="hello", endTime="2026-08-21T09:00:01Z")
    for order in ((created, updated), (updated, created)):
        units = {unit.source_id: unit for unit in read(*order).units}
        assert [draft.kind for draft in units["e-generation-create"].drafts] == ["prompt"]
        assert [draft.kind for draft in units["e-generation-update"].drafts] == ["response"]
        exchanges = {draft.metadata["exchange_id"] for unit in units.values() for draft in unit.drafts}
        assert exchanges == {"o1"}


def test_an_update_that_states_only_an_end_says_that_the_answer_is_elsewhere() -> None:
    (response,) = unit_of(envelope("generation-update", endTime="2026-08-21T09:00:01Z")).drafts
    assert (response.kind, response.content) == ("response", None)
    assert response.metadata["content_state"] == "not_captured"
    assert "another of the same id" in response.metadata["content_gaps"]


def test_an_update_that_states_neither_is_kept() -> None:
    (draft,) = unit_of(envelope("generation-update", name="renamed")).drafts
    assert (draft.kind, draft.metadata["exchange_id"]) == ("session", "o1")


def test_who_acts_is_what_the_program_says() -> None:
    metadata = drafts_of(TRACE, "session")[0].metadata
    assert (metadata["user_id"], metadata["assurance"]) == ("dana", "client_asserted")
    assert (metadata["session_id"], metadata["trace_id"], metadata["tags"]) == ("s1", "tr1", ["prod", "emea"])
    assert drafts_of(GENERATION, "prompt")[0].metadata["session_id"] == "tr1"


def test_what_failed() -> None:
    (response,) = drafts_of(envelope("generation-update", level="ERROR", statusMessage="cut off"), "response")
    assert (response.metadata["outcome"], response.metadata["error_message"]) == ("error", "cut off")
    assert "content_gaps" not in response.metadata


@pytest.mark.parametrize(
    ("kind", "body", "kinds"),
    [
        ("tool-create", {"name": "search", "input": {"q": 1}, "output": "r"}, ["tool_call", "tool_result"]),
        ("tool-create", {"name": "search"}, ["session"]),
        ("retriever-create", {"input": "q", "output": [{"id": "d1"}, {"id": "d2"}]}, ["context", "context"]),
        ("retriever-create", {"input": "q"}, ["context"]),
        ("guardrail-create", {"name": "pii"}, ["guardrail"]),
        ("evaluator-create", {"name": "judge"}, ["guardrail"]),
        ("score-create", {"name": "quality", "value": "good"}, ["guardrail"]),
        ("observation-create", {"type": "TOOL", "input": "q"}, ["tool_call"]),
        ("observation-create", {"type": "SPAN"}, ["session"]),
        ("agent-create", {}, ["session"]),
        ("sdk-log", {"log": "x"}, ["session"]),
        ("of-next-year", {"input": "x"}, ["session"]),
    ],
)
def test_kinds(kind: str, body: dict[str, Any], kinds: list[str]) -> None:
    assert [draft.kind for draft in unit_of(envelope(kind, **body)).drafts] == kinds


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({"id": "x", "body": {}}, "without type"),
        ({"id": "x", "type": "trace-create"}, "body is no object"),
        ({"id": "x", "type": "trace-create", "body": "text"}, "body is no object"),
    ],
)
def test_an_envelope_that_cannot_be_read_harms_no_other(one: object, says: str) -> None:
    first, bad, last = read(TRACE, one, GENERATION).units
    assert says in bad.error
    assert json.loads(bad.source) == one
    assert bad.source_id == (one["id"] if isinstance(one, dict) else "")
    assert (first.error, last.error) == ("", "")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"batch": 1}', b'{"metadata": {}}', b'{"batch": [}', b"\xff{}"])
def test_what_is_no_batch_is_kept_byte_for_byte(body: bytes) -> None:
    reading = LangfuseFormat().read(body, received())
    assert reading.error
    assert [unit.source for unit in reading.units] == [body]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none(), max_size=2)
NAMES = st.sampled_from(list(GENERATION["body"]) + list(TRACE["body"]) + ["value", "type", "log"])


@given(
    kind=st.sampled_from([one["type"] for one in EVERY]),
    body=st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES)),
)
def test_no_body_makes_it_fail(kind: str, body: dict[str, Any]) -> None:
    unit = unit_of({"id": "x", "type": kind, "timestamp": "never", "body": body})
    assert unit.drafts


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with collector_server("langfuse") as running:
        yield running


def post(collector: RunningCollector, body: object, token: str = "") -> httpx.Response:
    return httpx.post(f"{collector.url}/api/public/ingestion", json=body, auth=("pk-lf-1", token or collector.token))


def test_the_answer_tells_the_fate_of_each_event(collector: RunningCollector) -> None:
    response = post(collector, {"batch": [TRACE, {"id": "bad", "type": "x"}, 7]})
    assert response.status_code == 207
    told = response.json()
    assert told["successes"] == [{"id": "e1", "status": 201}]
    assert [(one["id"], one["status"]) for one in told["errors"]] == [("bad", 400), ("unknown", 400)]
    assert "recorded as unparsed" in told["errors"][0]["error"]
    assert post(collector, {"batch": []}).json() == {"successes": [], "errors": []}


def test_failures_are_told_as_langfuse_tells_them(collector: RunningCollector) -> None:
    refused = post(collector, {"batch": []}, token="sk-lf-none")
    assert (refused.status_code, refused.json()["error"]) == (401, "UnauthorizedError")
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert post(collector, {"no": "batch"}).status_code == 400
    with collector_server("langfuse", Faults({1: Fault.LOST})) as ailing:
        response = post(ailing, {"batch": [TRACE]})
        assert (response.status_code, response.json()["error"]) == (503, "InternalServerError")
        assert "retry-after" in response.headers


def test_secrets_in_metadata_stay_out_of_the_derived_view() -> None:
    with collector_server("langfuse") as running:
        assert post(running, {"batch": [GENERATION]}).status_code == 207
        for event in running.opened():
            assert "sk-ant-0123456789abcdef0123" not in json.dumps(event.metadata)


def test_the_health_check_needs_no_token(collector: RunningCollector) -> None:
    response = httpx.get(f"{collector.url}/api/public/health")
    assert (response.status_code, response.json()["status"]) == (200, "OK")


def test_spans_are_taken_where_langfuse_sends_them(collector: RunningCollector) -> None:
    url = f"{collector.url}/api/public/otel/v1/traces"
    response = httpx.post(url, json={"resourceSpans": []}, auth=("pk-lf-1", collector.token))
    assert (response.status_code, response.json()) == (200, {})
