"""OpenLLMetry (Traceloop): messages flattened into ``gen_ai.prompt.<i>.…``, entities as JSON text.

Source: opentelemetry-semantic-conventions-ai, and what the instrumentations send (collector/pages/opentelemetry.md).
"""

from __future__ import annotations

from typing import Any

from collector.gateways.flattened import take_flattened
from collector.gateways.genai_content import Inference
from collector.gateways.json_texts import parsed

NAME = "openllmetry"

OPERATIONS = {
    "chat": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
    "rerank": "rerank",
    "rerankering": "rerank",
}
"""``llm.request.type`` → OpenTelemetry's operation name."""


def take_content(attributes: dict[str, Any], inference: Inference) -> None:
    """Messages, functions and the whole input and output of an entity."""
    if any(key.startswith(("gen_ai.prompt.", "gen_ai.completion.", "llm.request.functions.")) for key in attributes):
        inference.ask("messages", _listed(attributes, "gen_ai.prompt."), NAME, "gen_ai.prompt")
        inference.ask("tools", _listed(attributes, "llm.request.functions."), NAME, "llm.request.functions")
        inference.answer("messages", _listed(attributes, "gen_ai.completion."), NAME, "gen_ai.completion")
    take_entity(attributes, inference)


def take_entity(attributes: dict[str, Any], inference: Inference) -> None:
    """``traceloop.entity.input`` and ``.output``: what a workflow, task or tool was given and gave back."""
    for key, add in (("traceloop.entity.input", inference.ask), ("traceloop.entity.output", inference.answer)):
        if key in attributes:
            add(key.rpartition(".")[2], parsed(attributes.pop(key)), NAME, key)


def _listed(attributes: dict[str, Any], prefix: str) -> Any:
    """A flattened list; what is no list (``gen_ai.prompt.name`` is none of its messages) goes back where it was."""
    value = take_flattened(attributes, prefix)
    if value is None or isinstance(value, list):
        return value
    numbered = {step: inner for step, inner in value.items() if step.isdigit()}
    for step, inner in value.items():
        if step not in numbered:
            attributes[prefix + step] = inner
    return [numbered[step] for step in sorted(numbered, key=int)]
