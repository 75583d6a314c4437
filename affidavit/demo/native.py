"""The native format: what a home-made gateway posts, and the load of the throughput figures."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from affidavit.demo.parcel import Parcel

SESSION = "sess-policy-3"
PATH = "/v1/events"

_TEXT = (
    "the quarterly report shows that revenue in the northern region grew while costs for logistics fell behind plan "
    "and the team proposes to move two contracts to the new supplier before the end of the period because delivery "
    "times are shorter and the penalty clauses are clearer than those of the current agreement"
)
WORDS = _TEXT.split()


def parcels(now: float) -> list[Parcel]:
    """One conversation with a document put before the model and a policy verdict, as NDJSON."""
    body = b"\n".join(_line(event) for event in conversation(now - 30))
    return [Parcel("native API: an NDJSON batch", "native", PATH, "application/x-ndjson", body)]


def conversation(start: float) -> list[dict[str, Any]]:
    """Prompt, context, guardrail, response: with what a policy needs to know of each."""
    micros = int(start * 1e6)
    common = {
        "session_id": SESSION,
        "exchange_id": "ex-policy-3-1",
        "user_id": "lee@example.com",
        "user_id_kind": "email",
        "user_email": "lee@example.com",
        "business_unit": "people",
        "classification": "internal",
        "assurance": "gateway_authenticated",
    }
    model = {"provider": "anthropic", "model_requested": "claude-sonnet-5", "model_path": "direct"}
    verdict = {
        "guardrail_name": "classification",
        "guardrail_verdict": "allowed",
        "policy_id": "ai-use",
        "policy_version": "2026-09",
        "approval_tier": 1,
    }
    usage = {"input_tokens": 912, "output_tokens": 64, "stop_reason": "stop", "latency_ms": 1210.0}
    question = "How many days of leave may I carry over?"
    rule = "Up to five days may be carried over until the end of March."
    document = {"document_id": "hr-leave-2026", "document_source": "handbook", "document_label": "internal"}
    events: tuple[tuple[str, dict[str, Any]], ...] = (
        ("prompt", {**model, "content": {"messages": [{"role": "user", "content": question}]}}),
        ("context", {**document, "content": {"text": rule}}),
        ("guardrail", verdict),
        ("response", {**model, **usage, "outcome": "ok", "content": {"role": "assistant", "content": rule}}),
    )
    return [
        {"kind": kind, "id": f"policy-3-{at}-{micros}", "occurred_at": micros + 200_000 * at, **common, **own}
        for at, (kind, own) in enumerate(events)
    ]


def load(seed: int, batch: int) -> Iterator[bytes]:
    """Endless NDJSON bodies of ``batch`` events of about 1.4 KB each. Different seeds give different events."""
    dice = random.Random(seed)  # noqa: S311  reproducible text, no secret
    number = 0
    while True:
        lines = []
        for _ in range(batch):
            number += 1
            lines.append(_line(_load_event(dice, f"load-{seed}-{number}", number)))
        yield b"\n".join(lines)


def _load_event(dice: random.Random, event_id: str, number: int) -> dict[str, Any]:
    text = " ".join(dice.choices(WORDS, k=150))
    return {
        "kind": "prompt" if number % 2 else "response",
        "id": event_id,
        "session_id": f"load-{number // 10 % 1000}",
        "exchange_id": f"load-x-{number // 2}",
        "user_id": f"user-{dice.randrange(40)}@example.com",
        "model_requested": "claude-sonnet-5",
        "provider": "anthropic",
        "input_tokens": dice.randrange(2000),
        "content": {"messages": [{"role": "user", "content": text}]},
    }


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()
