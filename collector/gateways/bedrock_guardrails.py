"""Verdicts of Bedrock Guardrails, from the trace of a response. Pure.

Converse has ``trace.guardrail`` with ``inputAssessment`` and ``outputAssessments``, the model-native bodies have
``amazon-bedrock-trace.guardrail`` with ``input`` and ``outputs``; without a trace there is at least
``amazon-bedrock-guardrailAction`` or a stop reason. The trace itself, with the answer that was withheld
(``modelOutput``), stays in the content of the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import pointer
from collector.gateways.leftovers import Fields
from schemas.metadata import Metadata

ACTION = "amazon-bedrock-guardrailAction"
TRACE = "amazon-bedrock-trace"
STOPPED = "guardrail_intervened"

_SIDES = {
    "inputAssessment": "input",
    "input": "input",
    "outputAssessments": "output",
    "outputs": "output",
}
_SEVERITY = ("NONE", "ANONYMIZED", "BLOCKED")
"""What a policy did, mildest first."""

_VERDICTS = {"BLOCKED": "blocked", "ANONYMIZED": "masked", "NONE": "none"}


def guardrail_drafts(request: object, response: object, starting: Metadata, at: str) -> list[Draft]:
    """One event per assessment; one for a verdict that comes without any."""
    body = response if isinstance(response, dict) else {}
    action = body.get(ACTION)
    stated = action if isinstance(action, str) else ""
    policy = _policy(request)
    drafts = [
        _assessed(assessment, name, side, stated, {**starting, **policy}, at + place)
        for assessment, name, side, place in _assessments(body)
    ]
    if drafts or not (stated or body.get("stopReason") == STOPPED):
        return drafts
    verdict = stated or STOPPED
    bare: Metadata = {**starting, **policy, "guardrail_provider": "aws.bedrock", "guardrail_verdict": verdict}
    bare["outcome"] = "blocked" if verdict in ("INTERVENED", STOPPED) else "ok"
    if "guardrail_name" not in bare and bare.get("policy_id"):
        bare["guardrail_name"] = bare["policy_id"]
    place = pointer(ACTION) if stated else "/stopReason"
    return [Draft("guardrail", bare, {ACTION: stated} if stated else {"stopReason": STOPPED}, at + place)]


def was_blocked(response: object) -> bool:
    """Whether a guardrail kept the answer, or the prompt, from going through; masking alone does not."""
    body = response if isinstance(response, dict) else {}
    actions = [_worst(assessment) for assessment, _, _, _ in _assessments(body)]
    if any(actions):
        return "BLOCKED" in actions
    return body.get(ACTION) == "INTERVENED" or body.get("stopReason") == STOPPED


def _assessments(body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    """``(assessment, id of the guardrail, side, pointer)``."""
    for name in ("trace", TRACE):
        holder = body.get(name)
        trace = holder.get("guardrail") if isinstance(holder, dict) else None
        if not isinstance(trace, dict):
            continue
        for field, side in _SIDES.items():
            place = pointer(name, "guardrail", field)
            stated = trace.get(field)
            many = stated if isinstance(stated, list) else [stated]
            for index, one in enumerate(many):
                inner = place + pointer(index) if stated is many else place
                yield from _named(one, side, inner)


def _named(value: object, side: str, at: str) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    """``{guardrail id: assessment}``, or ``{guardrail id: [assessment, …]}``."""
    for name, stated in value.items() if isinstance(value, dict) else ():
        for index, one in enumerate(stated if isinstance(stated, list) else [stated]):
            if isinstance(one, dict):
                yield one, name, side, at + pointer(name) + (pointer(index) if isinstance(stated, list) else "")


def _assessed(assessment: dict[str, Any], name: str, side: str, stated: str, shared: Metadata, at: str) -> Draft:
    worst = _worst(assessment)
    own = Fields(assessment)
    metadata: Metadata = {
        **shared,
        "guardrail_name": name,
        "guardrail_provider": "aws.bedrock",
        "guardrail_mode": side,
        "guardrail_verdict": stated or worst,
        "guardrail_action": worst,
        "dlp_rules": list(dict.fromkeys(_rules(assessment))),
        "data_categories": list(dict.fromkeys(_categories(assessment))),
        "dlp_verdict": _VERDICTS.get(worst, worst.lower()),
        "outcome": "blocked" if worst == "BLOCKED" else "ok",
    }
    metadata["latency_ms"] = own.part("invocationMetrics").take_number("guardrailProcessingLatency")
    return Draft("guardrail", metadata, assessment, at)


def _findings(assessment: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(list within a policy, finding)``: ``("topics", {"name", "type", "action"})`` …"""
    for policy in assessment.values():
        for name, stated in policy.items() if isinstance(policy, dict) else ():
            for finding in stated if isinstance(stated, list) else ():
                if isinstance(finding, dict):
                    yield name, finding


def _worst(assessment: dict[str, Any]) -> str:
    actions = [finding.get("action") for _, finding in _findings(assessment)]
    words = [action for action in actions if isinstance(action, str)]
    known = [word for word in words if word in _SEVERITY]
    return max(known, key=_SEVERITY.index) if known else next(iter(words), "")


def _rules(assessment: dict[str, Any]) -> Iterator[str]:
    """What was found, in the words of the policy; never the text that matched, which is content."""
    for name, finding in _findings(assessment):
        word = finding.get("name") or finding.get("type") or ("CUSTOM_WORD" if name == "customWords" else "")
        if isinstance(word, str) and word:
            yield word


def _categories(assessment: dict[str, Any]) -> Iterator[str]:
    for name, finding in _findings(assessment):
        if name == "piiEntities" and isinstance(finding.get("type"), str):
            yield finding["type"]


def _policy(request: object) -> Metadata:
    """Which guardrail the caller asked for."""
    config = request.get("guardrailConfig") if isinstance(request, dict) else None
    fields = Fields(config)
    stated: Metadata = {
        "policy_id": fields.take_text("guardrailIdentifier"),
        "policy_version": fields.take_text("guardrailVersion"),
    }
    return stated if stated["policy_id"] else {}
