"""The real Portkey gateway in front of an API on loopback, with the check that its page tells to set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from litellm_proxy import eventually
from portkey_gateway import config, portkey_gateway
from scripted_openai import scripted_openai

from affidavit import pages

pytestmark = [pytest.mark.slow, pytest.mark.alone]

LABELS = {"_user": "dana", "team": "payments"}
ASKED = {"model": "gpt-x", "messages": [{"role": "user", "content": "Weather in Paris?"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with portkey_gateway(tmp_path_factory.mktemp("portkey")) as url:
        yield url


def call(gateway: str, configured: str, **body: Any) -> httpx.Response:
    headers = {
        "x-portkey-config": configured,
        "x-portkey-trace-id": "tr-1",
        "x-portkey-metadata": json.dumps(LABELS),
    }
    return httpx.post(f"{gateway}/v1/chat/completions", headers=headers, json=ASKED | body, timeout=30)


def recorded(collector: RunningCollector, count: int) -> list[OpenedEvent]:
    def look() -> list[OpenedEvent] | None:
        events = collector.opened()
        return events if len(events) >= count else None

    return eventually(look)


def test_a_call_through_the_gateway_is_recorded(gateway: str) -> None:
    with scripted_openai() as api, collector_server("portkey") as collector:
        answer = call(gateway, config(api, collector.url, collector.token))
        assert answer.status_code == 200, answer.text
        events = recorded(collector, 3)
    prompt, response, tool = events
    assert [event.metadata["kind"] for event in events] == ["prompt", "response", "tool_call"]
    assert prompt.content == ASKED
    assert response.content["choices"] == answer.json()["choices"]
    assert (tool.metadata["tool_name"], tool.content["arguments"]) == ("get_weather", {"city": "Paris"})
    assert {event.metadata["end_user_id"] for event in events} == {"dana"}
    assert {event.metadata["trace_id"] for event in events} == {"tr-1"}
    assert (response.metadata["input_tokens"], response.metadata["provider"]) == (9, "openai")
    text = json.dumps([[event.metadata, event.content] for event in events])
    assert "sk-provider-0123456789abcdef" not in text
    assert collector.token not in text


def test_a_streamed_answer_is_said_not_to_be_there(gateway: str) -> None:
    with scripted_openai() as api, collector_server("portkey") as collector:
        call(gateway, config(api, collector.url, collector.token), stream=True)
        prompt, response = recorded(collector, 2)
    assert prompt.content["stream"] is True
    assert (response.content, response.metadata["content_state"]) == (None, "not_captured")


def test_with_the_check_on_both_sides_a_refused_call_leaves_its_prompt(gateway: str) -> None:
    """The check on the answer does not run when the provider refuses; the one on the request does."""
    with scripted_openai(status=429) as api, collector_server("portkey") as collector:
        both = json.loads(config(api, collector.url, collector.token))
        both["input_guardrails"] = both["output_guardrails"]
        assert call(gateway, json.dumps(both)).status_code == 429
        (prompt,) = recorded(collector, 1)
    assert (prompt.metadata["kind"], prompt.content) == ("prompt", ASKED)


def test_the_configuration_on_the_page_is_the_one_that_works(gateway: str, tmp_path: Path) -> None:
    with scripted_openai() as api, collector_server("portkey") as collector:
        text = pages.snippet(pages.page("portkey", url=collector.url, token=collector.token))
        stated = json.loads(text)
        stated |= {"provider": "openai", "api_key": "sk-provider-0123456789abcdef", "custom_host": api}
        assert call(gateway, json.dumps(stated)).status_code == 200
        events = recorded(collector, 4)
    assert [event.metadata["kind"] for event in events] == ["prompt", "prompt", "response", "tool_call"]
