"""The content of a model call, gathered from the attributes of whichever spelling a sender uses.

A sender may mix spellings (new instrumentations repeat the old ones for a while): the first that gives messages fills
them; what a second adds is kept beside, under the attribute's own name, so that nothing is lost and nothing guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from collector.gateways.flattened import take_flattened
from collector.gateways.gaps import Gap
from collector.gateways.genai_messages import messages_of
from collector.gateways.json_texts import parsed
from collector.gateways.otlp_telemetry import SpanEvent, add_attribute


@dataclass(slots=True)
class Inference:
    """A model call as it was recorded.

    Attributes:
        spelling: the dialect that gave its messages, ``""`` when no content was captured.
        prompt: content of the prompt: ``messages``, ``system``, ``tools``, ``parameters``, as far as given.
        response: content of the response: ``messages``, as far as given.
        prompt_gaps, response_gaps: what of it lies elsewhere or was hidden.
    """

    spelling: str = ""
    prompt: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)
    prompt_gaps: list[Gap] = field(default_factory=list)
    response_gaps: list[Gap] = field(default_factory=list)

    def ask(self, name: str, value: Any, spelling: str, origin: str) -> None:
        """Add to the prompt; under ``origin``, the attribute's name, where ``name`` is taken by something else."""
        self._add(self.prompt, name, value, spelling, origin)

    def ask_body(self, value: Any, spelling: str, origin: str) -> None:
        """Add messages to the prompt; where a whole request body stands in their place, each of its members."""
        body = parsed(value)
        if isinstance(body, dict) and isinstance(body.get("messages"), list):
            for name, member in body.items():
                self.ask(name, member, spelling, f"{origin}.{name}")
        else:
            self.ask("messages", messages_of(body, "user"), spelling, origin)

    def answer(self, name: str, value: Any, spelling: str, origin: str) -> None:
        """Add to the response; as :meth:`ask`."""
        self._add(self.response, name, value, spelling, origin)

    def _add(self, content: dict[str, Any], name: str, value: Any, spelling: str, origin: str) -> None:
        if value in (None, [], {}):
            return
        if content.setdefault(name, value) != value:
            add_attribute(content, origin, value)
        self.spelling = self.spelling or spelling


CURRENT = "genai"
DEPRECATED = "genai attributes up to v1.36"

_REFERENCES = {
    "gen_ai.input.messages_ref": ("prompt", "/content/messages"),
    "gen_ai.system_instructions_ref": ("prompt", "/content/system"),
    "gen_ai.tool.definitions_ref": ("prompt", "/content/tools"),
    "gen_ai.output.messages_ref": ("response", "/content/messages"),
}


def take_current(attributes: dict[str, Any], inference: Inference) -> None:
    """v1.37 and later: messages as a structure or as JSON text, whole or by reference."""
    for name, key in (("system", "gen_ai.system_instructions"), ("tools", "gen_ai.tool.definitions")):
        if key in attributes:
            inference.ask(name, parsed(attributes.pop(key)), CURRENT, key)
    key = "gen_ai.input.messages"
    if key in attributes:
        inference.ask("messages", messages_of(attributes.pop(key), "user"), CURRENT, key)
    key = "gen_ai.output.messages"
    if key in attributes:
        inference.answer("messages", messages_of(attributes.pop(key), "assistant"), CURRENT, key)
    for key, (side, pointer) in _REFERENCES.items():
        reference = attributes.get(key)
        if isinstance(reference, str) and reference:
            gaps = inference.prompt_gaps if side == "prompt" else inference.response_gaps
            gaps.append(Gap(pointer, "by_ref", ref=attributes.pop(key)))
    inference.ask("tools", take_flattened(attributes, "gen_ai.tool.") if _numbered_tools(attributes) else None,
                  CURRENT, "gen_ai.tool")  # fmt: skip


def take_deprecated(attributes: dict[str, Any], inference: Inference) -> None:
    """Up to v1.36: the whole prompt and completion as one text each; also Cloudflare's and LangChain's names."""
    for key in ("gen_ai.prompt", "gen_ai.prompt_json", "gen_ai.content.prompt"):
        if key in attributes:
            inference.ask_body(attributes.pop(key), DEPRECATED, key)
    for key in ("gen_ai.completion", "gen_ai.completion_json", "gen_ai.content.completion"):
        if key in attributes:
            inference.answer("messages", messages_of(attributes.pop(key), "assistant"), DEPRECATED, key)


_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def take_span_events(events: list[SpanEvent], attributes: dict[str, Any], inference: Inference) -> None:
    """Messages that a span carries as events of its own. Their attributes are taken; that they were there, and when,
    stays with the span."""
    asked: list[Any] = []
    answered: list[Any] = []
    for event in events:
        own = event.attributes
        if event.name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
            take_deprecated(own, inference)
        elif event.name == "gen_ai.client.inference.operation.details":
            for key in list(own):
                if attributes.setdefault(key, own[key]) == own[key]:
                    del own[key]
        elif event.name in _ROLES:
            asked.append(_message(own, _ROLES[event.name]))
        elif event.name == "gen_ai.choice":
            answered.append(_message(own, "assistant"))
    inference.ask("messages", asked, DEPRECATED, "events")
    inference.answer("messages", answered, DEPRECATED, "events")


def _message(attributes: dict[str, Any], role: str) -> dict[str, Any]:
    """The message of a span event: its attributes are the body's fields, or one of them holds the body as JSON."""
    message: dict[str, Any] = {"role": role}
    for key in list(attributes):
        value = parsed(attributes.pop(key))
        if key in ("gen_ai.event.content", "event_body") and isinstance(value, dict):
            message |= value
        else:
            message[key] = value
    return message


def _numbered_tools(attributes: dict[str, Any]) -> bool:
    return "gen_ai.tool.0.name" in attributes
