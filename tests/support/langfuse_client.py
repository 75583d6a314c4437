"""A program that uses a real Langfuse SDK: run in an environment of its own, by ``tests/collector/test_langfuse_real.py``.

    python langfuse_client.py 2|5 HOST TOKEN

It records a trace of a person's session with a model call (created, then updated with its answer), a span around it, a
failed call, and a score.
"""

# ruff: noqa: E501  This file runs on its own, and is read with its command above.
from __future__ import annotations

import sys
from typing import Any

QUESTION = [{"role": "user", "content": "Weather in Paris?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
ANSWER = {"role": "assistant", "content": "One moment.", "tool_calls": [CALL]}


def ingest(host: str, token: str) -> None:
    """SDK 2: the ingestion API."""
    from langfuse import Langfuse

    client = Langfuse(public_key="pk-lf-test", secret_key=token, host=host, flush_at=3, max_retries=5)
    trace = client.trace(
        id="trace-1",
        name="chat",
        user_id="dana@example.com",
        session_id="s-1",
        tags=["prod"],
        metadata={"ticket": "INC-7"},
    )
    span = trace.span(id="span-1", name="agent", input={"goal": "weather"})
    generation = span.generation(
        id="gen-1", name="openai", model="gpt-5", model_parameters={"temperature": 0}, input=QUESTION
    )
    generation.end(output=ANSWER, usage_details={"input": 10, "output": 3, "total": 13})
    failing = trace.generation(id="gen-2", name="openai", model="gpt-5", input=QUESTION)
    failing.end(level="ERROR", status_message="rate limited")
    span.end(output="done")
    trace.event(id="event-1", name="cache", input="miss")
    trace.score(id="score-1", name="quality", value=0.9, comment="good")
    client.flush()
    client.shutdown()


def export(host: str, token: str) -> None:
    """SDK 5: spans."""
    from langfuse import Langfuse, propagate_attributes

    client = Langfuse(public_key="pk-lf-test", secret_key=token, base_url=host)
    attributes: Any = {"user_id": "dana@example.com", "session_id": "s-1", "tags": ["prod"]}
    with (
        client.start_as_current_observation(as_type="span", name="agent", input={"goal": "weather"}),
        propagate_attributes(**attributes),
        client.start_as_current_observation(
            as_type="generation", name="openai", model="gpt-5", input=QUESTION, model_parameters={"temperature": 0}
        ) as generation,
    ):
        generation.update(output=ANSWER, usage_details={"input": 10, "output": 3, "total": 13})
    client.flush()
    client.shutdown()


if __name__ == "__main__":
    {"2": ingest, "5": export}[sys.argv[1]](sys.argv[2], sys.argv[3])
