"""Anthropic's inference hooks over HTTP: the route, and what the one who asks for leave is told. Pure.

Only a 200 with a verdict is an answer there; anything else is a failure of the webhook, for which the organisation has
chosen whether people are let through or blocked. So a body whose signature is good always gets a verdict.

===============================================  ======  =====================================================
what happened                                    status  body
===============================================  ======  =====================================================
recorded, be it as ``unparsed``                  200     ``{"action": "allow"}``
nothing durable yet, and ``fail_closed`` is off  200     ``{"action": "allow"}``; a loss is noted
the same, and ``fail_closed`` is on              200     ``{"action": "deny", "deny_reason", "reference_id"}``
not signed, too large, cut short                 4xx     ``{"error"}``: nobody knows whose it is
too many bodies in memory to read one more       503     ``{"error"}``, for the same reason
===============================================  ======  =====================================================
"""

from __future__ import annotations

from typing import Any

import orjson

from collector.answers import JSON, answer_failure
from collector.gateways.anthropic_hooks import AnthropicHooksFormat
from collector.openapi import operation
from collector.routes import Answer, Failed, Late, Outcome, Route, Webhook
from collector.standard_webhooks import verify_standard
from schemas.errors import MalformedInput

DENY_REASON = (
    "Your organisation records what is sent to Claude, and the record could not be made just now. "
    "Please try again in a minute."
)
"""Shown to the person who asked; at most 500 characters."""

REFERENCE = "affidavit:not-recorded"
"""Stands in Anthropic's activity feed beside the denial; at most 50 characters of ``[A-Za-z0-9._:/-]``."""

LATE_SECONDS = 2.0
"""The sender waits 5 s by default, for connection and TLS as well; its administrator may have set less."""


def hook_route() -> Route:
    """``POST /v1/anthropic-hooks/{webhook}``."""
    return Route(
        ("/v1/anthropic-hooks/{webhook}",),
        AnthropicHooksFormat(),
        answer_hook,
        operation=_operation(),
        verify=verify_standard,
        late=Late(LATE_SECONDS, verdict),
    )


def answer_hook(outcome: Outcome, media_type: str) -> Answer:
    """A verdict, or why there is none."""
    if isinstance(outcome, Failed):
        if outcome.webhook is None:
            return answer_failure(outcome)
        # What does not inflate is recorded as unparsed.
        recorded = isinstance(outcome.error, MalformedInput)
        return _answer({"action": "allow"}) if recorded else verdict(outcome.webhook)
    return _answer({"action": "allow"})


def verdict(webhook: Webhook) -> Answer:
    """The answer while nothing is durable."""
    if webhook.fail_closed:
        return _answer({"action": "deny", "deny_reason": DENY_REASON, "reference_id": REFERENCE})
    return _answer({"action": "allow"})


def _answer(value: dict[str, str]) -> Answer:
    return Answer(200, {"content-type": JSON}, orjson.dumps(value))


def _operation() -> dict[str, Any]:
    described = operation(
        "Anthropic inference hooks",
        "One frame, signed as Standard Webhooks has it with the secret of the webhook in the path. The verdict is "
        "always to allow, given once the frame is durable; after two seconds without that, as `fail_closed` says.",
        ["application/json"],
        {"type": "object"},
        {"type": "object", "properties": {"action": {"type": "string", "enum": ["allow", "deny"]}}},
    )
    described["security"] = []
    described["parameters"] = [
        {"name": "webhook", "in": "path", "required": True, "schema": {"type": "string"}, "description": "its name"}
    ]
    return described
