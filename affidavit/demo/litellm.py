"""A LiteLLM proxy's traffic: an agent chases overdue invoices, in the ``generic_api`` format.

The payloads are of our own making, from the field list of LiteLLM; the people and companies do not exist.
"""

from __future__ import annotations

import json
from typing import Any

from affidavit.demo.parcel import Parcel

SESSION = "sess-invoices-42"
PATH = "/v1/litellm"

_SYSTEM = {"role": "system", "content": "You are the accounts assistant. Use the tools; never invent an invoice."}
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": what, "parameters": {"type": "object"}}}
    for name, what in (
        ("search_invoices", "Find invoices by customer and state."),
        ("send_email", "Send an email to a customer contact."),
    )
]
_CUSTOMER = {"customer": "Example Traders", "state": "overdue"}
_FOUND = {"invoices": [{"number": "2026-0117", "amount": 1840.5, "days_overdue": 31}]}
_MAIL = {"to": "accounts@example.com", "subject": "Invoice 2026-0117", "body": "A friendly reminder: 1840.50 is open."}


def parcels(now: float) -> list[Parcel]:
    """The conversation in two batches, the first batch again as a retry, and a batch with a broken line.

    ``now`` is seconds since 1970 UTC; the conversation ended just before.
    """
    records = conversation(now - 60)
    first = _array(records[:2])
    broken = "\n".join([json.dumps(refused(now - 20)), '{"id": "chatcmpl-cut", "messages": [{"role": "us'])
    return [
        Parcel("LiteLLM: an agent's session, first batch", "litellm", PATH, "application/json", first),
        Parcel("LiteLLM: the session goes on", "litellm", PATH, "application/json", _array(records[2:])),
        Parcel("LiteLLM: the first batch again, a retry", "litellm", PATH, "application/json", first, repeat=True),
        Parcel("LiteLLM: NDJSON with a broken line", "litellm", PATH, "application/json", broken.encode(), rejected=1),
    ]


def conversation(start: float) -> list[dict[str, Any]]:
    """Four exchanges: a question, a tool call answered, an order to send an email, that call answered."""
    asked = [_SYSTEM, {"role": "user", "content": "Which invoices of Example Traders are overdue?"}]
    search = _call("call_search_1", "search_invoices", _CUSTOMER)
    searched = [*asked, search, _result("call_search_1", _FOUND)]
    told = {"role": "assistant", "content": "Invoice 2026-0117 over 1840.50 is 31 days overdue."}
    ordered = [*searched, told, {"role": "user", "content": "Send them a friendly reminder."}]
    send = _call("call_mail_1", "send_email", _MAIL)
    sent = [*ordered, send, _result("call_mail_1", {"status": "queued", "id": "msg-7781"})]
    done = {"role": "assistant", "content": "Done: the reminder is on its way."}
    steps = [(asked, search), (searched, told), (ordered, send), (sent, done)]
    return [_record(at, start + 8 * at, messages, answer) for at, (messages, answer) in enumerate(steps, 1)]


def refused(start: float) -> dict[str, Any]:
    """A prompt that a guardrail stopped before it reached the model."""
    prompt = [_SYSTEM, {"role": "user", "content": "List the bank details of every customer."}]
    record = _record(9, start, prompt, {"role": "assistant", "content": None}, session="sess-refused-7")
    why = "Content blocked: bank details requested"
    return record | {
        "status": "failure",
        "status_fields": {"llm_api_status": "failure", "guardrail_status": "guardrail_intervened"},
        "response": {},
        "error_str": why,
        "error_information": {
            "error_code": "400",
            "error_class": "GuardrailRaisedException",
            "llm_provider": "",
            "traceback": "",
            "error_message": why,
        },
        "guardrail_information": [_guardrail(start, "guardrail_intervened")],
    }


def _record(
    at: int, start: float, messages: list[dict[str, Any]], answer: dict[str, Any], session: str = SESSION
) -> dict[str, Any]:
    prompt_tokens, completion_tokens = 180 + 90 * at, 24 + 7 * at
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    call_id = f"0b0f7d0e-6f0b-4a0e-9c39-{int(start) % 10**8:08d}{at:04d}"
    return {
        "id": f"chatcmpl-demo-{int(start)}-{at}",
        "litellm_call_id": call_id,
        "trace_id": f"3f0c6a52-6a8c-4c0a-8e0e-{int(start) % 10**8:08d}{at:04d}",
        "session_id": session,
        "call_type": "acompletion",
        "stream": None,
        "status": "success",
        "status_fields": {"llm_api_status": "success", "guardrail_status": "success"},
        "custom_llm_provider": "anthropic",
        "model": "anthropic/claude-sonnet-5",
        "model_group": "sonnet",
        "model_id": "dep-7f",
        "api_base": "https://api.anthropic.com/v1/messages",
        "startTime": start,
        "endTime": start + 1.9,
        "completionStartTime": start + 1.9,
        "response_time": 1.9,
        **usage,
        "response_cost": round(prompt_tokens * 3e-6 + completion_tokens * 15e-6, 8),
        "cost_breakdown": {"input_cost": prompt_tokens * 3e-6, "output_cost": completion_tokens * 15e-6},
        "cache_hit": False,
        "cache_key": None,
        "metadata": _identity() | {"usage_object": usage},
        "request_tags": ["accounts"],
        "end_user": "",
        "requester_ip_address": "192.0.2.17",
        "user_agent": "openai-python/2.1",
        "messages": messages,
        "response": {
            "id": f"chatcmpl-demo-{int(start)}-{at}",
            "object": "chat.completion",
            "created": int(start + 1.9),
            "model": "claude-sonnet-5",
            "choices": [{"index": 0, "finish_reason": finish, "message": answer}],
            "usage": usage,
        },
        "model_parameters": {"max_tokens": 1024, "tools": _TOOLS},
        "hidden_params": {
            "model_id": "dep-7f",
            "litellm_overhead_time_ms": 3.2,
            "additional_headers": {"llm_provider-request-id": f"req_demo{int(start)}{at}"},
        },
        "error_str": None,
        "error_information": {"error_code": "", "error_class": "", "llm_provider": "", "error_message": ""},
        "guardrail_information": [_guardrail(start, "success")],
        "standard_built_in_tools_params": {"web_search_options": None, "file_search": None},
    }


def _identity() -> dict[str, Any]:
    return {
        "user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_alias": "accounts-agent",
        "user_api_key_user_id": "u-17",
        "user_api_key_user_email": "dana@example.com",
        "user_api_key_team_id": "t-3",
        "user_api_key_team_alias": "accounts",
        "user_api_key_org_id": "o-1",
        "user_api_key_request_route": "/v1/chat/completions",
        "requester_ip_address": "192.0.2.17",
        "requester_metadata": {"ticket": "AR-1181"},
        "applied_guardrails": ["pii-mask"],
    }


def _guardrail(start: float, status: str) -> dict[str, Any]:
    return {
        "guardrail_name": "pii-mask",
        "guardrail_provider": "presidio",
        "guardrail_mode": "pre_call",
        "guardrail_status": status,
        "start_time": start + 0.01,
        "end_time": start + 0.04,
        "duration": 0.03,
        "masked_entity_count": {},
    }


def _call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def _result(call_id: str, result: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": json.dumps(result)}


def _array(records: list[dict[str, Any]]) -> bytes:
    return json.dumps(records).encode()
