"""A real LiteLLM proxy sends to the collector: its three framings, chat, stream, tools, failure, redaction, outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from faults import Fault, Faults
from kept_leaves import assert_kept
from litellm_proxy import AUTHORIZED, eventually, litellm_proxy

from collector.gateways import Received
from collector.gateways.litellm import LiteLLMFormat
from collector.json_units import split_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FRAMINGS = ("json_array", "ndjson", "single")
DERIVED = ("/status", "/status_fields/llm_api_status", "/hidden_params/additional_headers/x-litellm-attempted-retries")


@dataclass(frozen=True, slots=True)
class Setup:
    """The proxy's address, and a collector per framing; each gets every record."""

    url: str
    collectors: dict[str, RunningCollector]

    def ask(self, model: str, prompt: Any, *, path: str = "chat/completions", **fields: Any) -> httpx.Response:
        headers = AUTHORIZED | fields.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return httpx.post(f"{self.url}/v1/{path}", headers=headers, json=body, timeout=60)

    def events(self, framing: str, prompt: Any) -> dict[str, OpenedEvent]:
        """The events of the exchange with this prompt, by kind, as soon as its response is there."""

        def look() -> dict[str, OpenedEvent] | None:
            opened = self.collectors[framing].opened()
            for event in opened:
                if event.metadata["kind"] == "prompt" and event.content["messages"][-1]["content"] == prompt:
                    exchange = event.metadata["exchange_id"]
                    own = [one for one in opened if one.metadata["exchange_id"] == exchange]
                    return {one.metadata["kind"]: one for one in own}
            return None

        return eventually(look)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with ExitStack() as stack:
        outage = {"single": Faults({1: Fault.LOST, 2: Fault.LOST})}
        collectors = {
            framing: stack.enter_context(collector_server("litellm", outage.get(framing))) for framing in FRAMINGS
        }
        callbacks = {
            f"audit_{framing}": {
                "endpoint": f"{collector.url}/v1/litellm",
                "headers": collector.headers,
                "log_format": framing,
                "max_retries": 5,
                "retry_delay": 0.2,
            }
            for framing, collector in collectors.items()
        }
        url = stack.enter_context(litellm_proxy(tmp_path_factory.mktemp("litellm"), callbacks))
        yield Setup(url, collectors)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_chat_arrives_in_every_framing(setup: Setup, framing: str) -> None:
    prompt = f"hi, as {framing}"
    assert setup.ask("plain", prompt, user="cust-9").status_code == 200
    events = setup.events(framing, prompt)
    response = events["response"]
    assert response.content["choices"][0]["message"]["content"] == "hello from the mock"
    assert response.metadata["outcome"] == "ok"
    assert response.metadata["stop_reason"] == "stop"
    assert response.metadata["model_requested"] == "plain"
    assert response.metadata["model_routed"] == "openai/gpt-4o"
    assert response.metadata["provider"] == "openai"
    assert response.metadata["end_user_id"] == "cust-9"
    assert response.metadata["total_tokens"] == 30
    assert response.metadata["latency_ms"] is not None


def test_a_stream_arrives_whole_with_its_first_token(setup: Setup) -> None:
    assert "data: [DONE]" in setup.ask("plain", "stream it", stream=True).text
    response = setup.events("json_array", "stream it")["response"]
    assert response.content["choices"][0]["message"]["content"] == "hello from the mock"
    assert response.metadata["stream"] is True
    first, whole = response.metadata["time_to_first_token_ms"], response.metadata["latency_ms"]
    assert first is not None
    assert whole is not None
    assert 0 <= first <= whole


def test_a_tool_call_is_an_event_of_its_own(setup: Setup) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    assert setup.ask("tools", "weather?", tools=tools).status_code == 200
    events = setup.events("ndjson", "weather?")
    assert events["tool_call"].content == {"arguments": {"city": "Paris"}, "arguments_text": '{"city": "Paris"}'}
    assert events["tool_call"].metadata["call_id"] == "call_1"
    assert events["prompt"].content["parameters"]["tools"] == tools


def test_a_failure_keeps_its_prompt_and_says_why(setup: Setup) -> None:
    assert setup.ask("broken", "this fails").status_code == 429
    events = setup.events("json_array", "this fails")
    metadata = events["response"].metadata
    assert (metadata["outcome"], metadata["http_status"], metadata["error_type"]) == ("error", 429, "RateLimitError")
    assert events["response"].content is None


def test_the_messages_api_arrives(setup: Setup) -> None:
    assert setup.ask("claude", "salut", path="messages", max_tokens=50).status_code == 200
    response = setup.events("single", "salut")["response"]
    assert (response.metadata["provider"], response.metadata["operation"]) == ("anthropic", "chat")


def test_a_client_that_asks_for_redaction_is_seen_doing_it(setup: Setup) -> None:
    setup.ask("plain", "a secret", headers={"litellm-enable-message-redaction": "true"})
    prompt = setup.events("json_array", "redacted-by-litellm")["prompt"]
    assert prompt.metadata["content_state"] == "redacted"
    assert "/content/messages/0/content" in prompt.metadata["content_gaps"]


def test_the_first_batch_survived_an_outage_of_the_bus(setup: Setup) -> None:
    """The collector behind ``single`` refused its first two appends with 503, and LiteLLM sent again."""
    prompt = "after the outage"
    setup.ask("plain", prompt)
    assert setup.events("single", prompt)["response"].metadata["outcome"] == "ok"
    sent = {event.metadata["exchange_id"] for event in setup.collectors["json_array"].opened()}
    eventually(
        lambda: sent <= {event.metadata["exchange_id"] for event in setup.collectors["single"].opened()},
    )


def test_no_leaf_of_what_the_proxy_sent_is_lost(setup: Setup) -> None:
    setup.ask("plain", "the last one")
    setup.events("ndjson", "the last one")
    for framing in FRAMINGS:
        sources = [event.source for event in setup.collectors[framing].opened() if event.source is not None]
        assert sources
        for source in sources:
            (unit,) = LiteLLMFormat().read(source, _received()).units
            assert unit.source == source
            assert_kept(split_json(source)[0].value, unit.drafts, dropped=DERIVED)


def _received() -> Received:
    return Received("acme", "litellm", "t-1", "http", "127.0.0.1", "application/json", "", 1)
