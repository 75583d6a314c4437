"""A program that asks a model, instrumented: run in an environment of its own, by ``tests/collector/test_instrumentations.py``.

    python instrumented_client.py INSTRUMENTATION SDK API_URL

It asks once with a tool, sends the tool's result, asks once as a stream, and once for what fails. Where telemetry goes,
and over which protocol, is in the environment, as for any program.
"""

# ruff: noqa: E501  This file runs on its own, and is read with its command above.
from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

INSTRUMENTORS = {
    "openai-v2": ("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    "openllmetry": ("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
    "openinference-anthropic": ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    "openinference-openai": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
}

QUESTION = "Weather in Paris?"
SECOND = "And as a stream?"


def exporters() -> tuple[Any, Any]:
    kind = "grpc" if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc" else "http"
    package = f"opentelemetry.exporter.otlp.proto.{kind}"
    spans = importlib.import_module(f"{package}.trace_exporter").OTLPSpanExporter()
    return spans, importlib.import_module(f"{package}._log_exporter").OTLPLogExporter()


def ask_anthropic(url: str) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="sk-ant-placeholder", max_retries=0)
    tools: Any = [{"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}]
    asked: list[Any] = [{"role": "user", "content": QUESTION}]
    shared: Any = {"model": "claude-sonnet-5", "max_tokens": 64, "system": "You are terse.", "tools": tools}
    first = client.messages.create(messages=asked, **shared)
    call = first.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "affidavit-marker"}
    turn = [{"role": "assistant", "content": [call.model_dump()]}, {"role": "user", "content": [result]}]
    client.messages.create(messages=asked + turn, **shared)
    streamed: Any = {"model": "claude-sonnet-5", "max_tokens": 64}
    for _ in client.messages.create(messages=[{"role": "user", "content": SECOND}], stream=True, **streamed):
        pass


def ask_openai(url: str) -> None:
    import openai

    client = openai.OpenAI(base_url=url, api_key="sk-placeholder", max_retries=0)
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    asked: list[Any] = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": QUESTION}]
    first = client.chat.completions.create(model="gpt-5", messages=asked, tools=tools)
    (call,) = first.choices[0].message.tool_calls or ()
    turn = [
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "14 °C"},
    ]
    client.chat.completions.create(model="gpt-5", messages=asked + turn, tools=tools)
    second: list[Any] = [{"role": "user", "content": SECOND}]
    for _ in client.chat.completions.create(
        model="gpt-5", messages=second, stream=True, stream_options={"include_usage": True}
    ):
        pass
    with suppress(openai.RateLimitError):
        client.chat.completions.create(model="too-busy", messages=second)


def main(instrumentation: str, sdk: str, url: str) -> None:
    spans, logs = exporters()
    tracing, logging = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(spans))
    logging.add_log_record_processor(BatchLogRecordProcessor(logs))
    trace.set_tracer_provider(tracing)
    _logs.set_logger_provider(logging)
    module, name = INSTRUMENTORS[instrumentation]
    getattr(importlib.import_module(module), name)().instrument(tracer_provider=tracing, logger_provider=logging)
    (ask_anthropic if sdk == "anthropic" else ask_openai)(url)
    assert tracing.force_flush(60_000)
    assert logging.force_flush(60_000)
    tracing.shutdown()
    logging.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
