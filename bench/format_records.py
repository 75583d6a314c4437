"""Records as gateways send them, one function each, of 1 to 3 KB: the same number gives the same record."""

from __future__ import annotations

import json
from typing import Any

USERS = 200
_WORDS = [f"w{at * 7919 % 99991:05}" for at in range(400)]


# fmt: off
def _text(seed: int, words: int = 60) -> str:
    return " ".join(_WORDS[(seed * 7 + at * at) % len(_WORDS)] for at in range(words))


def _user(at: int) -> str:
    return f"u-{at * 31 % USERS}"


def asked(at: int) -> dict[str, Any]:
    system = {"role": "system", "content": _text(at // 50, 20)}
    return {"model": "gpt-5", "max_tokens": 512, "messages": [system, {"role": "user", "content": _text(at)}]}


_USAGE = {"prompt_tokens": 700, "completion_tokens": 120, "total_tokens": 820}


def answered(at: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": _text(at + 7)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {
        "id": f"chatcmpl-{at}", "object": "chat.completion", "model": "gpt-5-2026", "choices": [choice],
        "usage": _USAGE,
    }


def native(at: int) -> dict[str, Any]:
    return {
        "kind": "prompt", "id": f"chat-{at}", "session_id": f"session-{at % 50}", "exchange_id": f"exchange-{at}",
        "occurred_at": "2026-08-21T09:00:00.125Z", "user_id": _user(at), "user_email": f"{_user(at)}@example.com",
        "team_id": "t-3", "model_requested": "claude-sonnet-5", "model_served": "claude-sonnet-5",
        "provider": "anthropic", "operation": "chat", "stream": True, "input_tokens": 700 + at,
        "output_tokens": 120, "latency_ms": 812.5, "outcome": "ok", "http_status": 200, "stop_reason": "stop",
        "content": {"messages": [{"role": "user", "content": _text(at, 125)}]},
    }


def litellm(at: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{at}", "litellm_call_id": f"call-{at}", "trace_id": f"trace-{at}",
        "session_id": f"session-{at % 50}", "call_type": "acompletion", "status": "success",
        "status_fields": {"llm_api_status": "success", "guardrail_status": "not_run"},
        "custom_llm_provider": "anthropic", "model": "anthropic/claude-sonnet-5", "model_group": "sonnet",
        "startTime": 1787305200.125, "endTime": 1787305203.904, "completionStartTime": 1787305200.871,
        **_USAGE,
        "response_cost": 0.00391,
        "metadata": {
            "user_api_key_hash": f"hash-{_user(at)}", "user_api_key_user_id": _user(at), "usage_object": _USAGE,
            "requester_ip_address": "192.0.2.4",
        },
        "messages": asked(at)["messages"],
        "response": answered(at),
        "model_parameters": {"stream": True, "max_tokens": 512},
        "hidden_params": {"litellm_overhead_time_ms": 3.2, "additional_headers": {"llm_provider-request-id": "req_1"}},
    }


def kong(at: int) -> dict[str, Any]:
    meta = {"provider_name": "openai", "request_model": "gpt-5", "response_model": "gpt-5-2026", "llm_latency": 1688}
    payload = {"request": json.dumps(asked(at)), "response": json.dumps(answered(at))}
    return {
        "request": {
            "id": f"{at:032x}", "uri": "/chat", "url": "https://gw.example:8443/chat", "method": "POST",
            "headers": {"host": "gw.example", "user-agent": "curl/8", "content-type": "application/json"},
            "size": 512, "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"},
        },
        "response": {"status": 200, "headers": {"content-type": "application/json", "x-request-id": "r"}, "size": 1210},
        "upstream_uri": "/v1/chat/completions", "upstream_status": "200", "client_ip": "192.0.2.9",
        "latencies": {"kong": 4, "proxy": 1690, "request": 1702, "receive": 8},
        "started_at": 1787305200125, "consumer": {"id": f"c-{_user(at)}", "username": _user(at)},
        "route": {"id": "r-1", "name": "chat"}, "service": {"id": "s-1", "name": "llm"}, "workspace": "w-1",
        "ai": {"proxy": {"meta": meta, "usage": {**_USAGE, "time_to_first_token": 631.5}, "payload": payload}},
    }


def portkey(at: int) -> dict[str, Any]:
    told = {"x-portkey-trace-id": f"t-{at}", "x-portkey-span-id": f"s-{at}", "x-portkey-provider": "openai"}
    return {
        "_id": f"046b73bd-{at}",
        "request": {
            "url": "https://api.openai.com/v1/chat/completions", "method": "POST", "body": asked(at),
            "headers": {"content-type": "application/json", "user-agent": "node"},
            "portkeyHeaders": {**told, "x-portkey-metadata": json.dumps({"_user": _user(at)})},
        },
        "response": {
            "status": 200, "body": answered(at), "responseTime": 517,
            "headers": {"content-type": "application/json", "x-request-id": f"req_{at}"},
        },
        "organisation_id": "56916995", "created_at": "2026-08-21T09:00:00.404Z",
    }


def cloudflare(at: int) -> dict[str, Any]:
    return {
        "Gateway": "prod", "Provider": "openai", "Model": "gpt-5", "Endpoint": "chat/completions",
        "StatusCode": 200, "Cached": False, "Datetime": "2026-08-21T09:00:00Z",
        "Metadata": json.dumps({"user_id": _user(at), "team": "payments"}),
        "RequestBody": json.dumps(asked(at)), "ResponseBody": json.dumps(answered(at)),
    }


def helicone(at: int) -> dict[str, Any]:
    counts = {"promptTokens": 700, "completionTokens": 120, "totalTokens": 820}
    return {
        "request_id": f"550e8400-{at}", "user_id": _user(at), "model": "gpt-5-2026", "provider": "OPENAI",
        "request_body": json.dumps(asked(at)), "response_body": json.dumps(answered(at)),
        "metadata": {"cost": 0.0015, **counts, "latencyMs": 930},
    }


def helicone_log(at: int) -> dict[str, Any]:
    return {
        "providerRequest": {"url": "https://api.example/v1/chat/completions", "json": asked(at), "meta": {"m": "1"}},
        "providerResponse": {"headers": {"x-a": "b"}, "status": 200, "json": answered(at)},
        "timing": {
            "startTime": {"seconds": 1787305200 + at, "milliseconds": 125},
            "endTime": {"seconds": 1787305201 + at, "milliseconds": 55},
        },
    }


def bedrock(at: int) -> dict[str, Any]:
    usage = {"inputTokens": 120, "outputTokens": 120, "totalTokens": 240}
    answer = {"role": "assistant", "content": [{"text": _text(at + 7)}]}
    return {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": "2026-08-21T09:00:00Z",
        "accountId": "111122223333", "region": "us-east-1", "requestId": f"{at:032x}", "operation": "Converse",
        "identity": {"arn": f"arn:aws:sts::111122223333:assumed-role/App/{_user(at)}@example.com"},
        "modelId": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "input": {
            "inputContentType": "application/json", "inputTokenCount": 120,
            "inputBodyJson": {
                "system": [{"text": _text(at // 50, 20)}],
                "messages": [{"role": "user", "content": [{"text": _text(at)}]}],
            },
        },
        "output": {
            "outputContentType": "application/json", "outputTokenCount": 120,
            "outputBodyJson": {"output": {"message": answer}, "stopReason": "end_turn", "usage": usage},
        },
    }


def vertex(at: int) -> dict[str, Any]:
    asked = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 512, "system": _text(at // 50, 20)}
    return {
        "logging_time": "2026-08-21T09:00:04.248Z", "request_id": str(5_374_205_265_901_353_984 + at),
        "model": "publishers/anthropic/models/claude-sonnet-4-5@20250929", "api_method": "RawPredict",
        "full_request": {**asked, "messages": [{"role": "user", "content": _text(at)}]},
        "full_response": {
            "id": f"msg_vrtx_{at}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": _text(at + 7)}], "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 120, "output_tokens": 120},
        },
        "metadata": {"request_latency": 1412.4},
    }


def activity(at: int) -> dict[str, Any]:
    actor = {"type": "user_actor", "email_address": f"{_user(at)}@example.com", "user_id": _user(at)}
    return {
        "id": f"activity_{at}", "created_at": "2026-08-21T09:00:00.123456Z", "organization_id": "org_01Wv6Q",
        "actor": {**actor, "ip_address": "192.0.2.34", "user_agent": "Mozilla/5.0 " + _text(at, 12)},
        "type": "claude_chat_created", "claude_chat_id": f"claude_chat_{at}", "claude_project_id": "claude_proj_1",
        "changes": [{"from": _text(at, 30), "to": _text(at + 7, 30)}],
    }


def audit(at: int) -> dict[str, Any]:
    user = {"id": f"user-{_user(at)}", "email": f"{_user(at)}@example.com"}
    address = {"country": "CH", "asn": "1234", "city": "Zurich"}
    session = {"user": user, "ip_address": "192.0.2.34", "user_agent": "Mozilla/5.0", "ip_address_details": address}
    return {
        "id": f"audit_log-{at}", "type": "api_key.updated", "effective_at": 1787305200 + at,
        "project": {"id": "proj_1", "name": "Payments"}, "actor": {"type": "session", "session": session},
        "api_key.updated": {"id": f"key_{at}", "changes_requested": {"scopes": _text(at, 40).split()}},
    }


def envoy(at: int) -> dict[str, Any]:
    names = ("bytes_received", "bytes_sent", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    return {
        "start_time": "2026-08-21T09:00:00.125Z", "method": "POST", "response_code": 200, "response_flags": "-",
        "x-envoy-origin-path": "/v1/chat/completions", "duration": 1526, "x-request-id": f"{at:032x}",
        "x-forwarded-for": "192.0.2.9", "user-agent": "curl/8", "upstream_host": "34.128.142.77:443",
        "gen_ai.request.model": "gpt-5-mini", "gen_ai.response.model": "gpt-5-mini-2026",
        "gen_ai.provider.name": "default/openai/route/llm/rule/0/ref/0", "protocol": "HTTP/1.1",
        **dict.fromkeys(names, 100 + at),
        "route_name": "httproute/default/aigw-run/rule/0/match/0/*", "team": _text(at, 20),
    }


def agentgateway(at: int) -> dict[str, Any]:
    return {
        "level": "info", "time": "2026-08-21T09:00:01.651000Z", "scope": "request", "gateway": "default/gw",
        "listener": "http", "route": "default/llm", "src.addr": "192.0.2.9:40512", "http.method": "POST",
        "http.path": "/v1/chat/completions", "http.status": 200, "trace.id": f"{at:032x}", "protocol": "llm",
        "span.id": f"{at:016x}", "jwt.sub": f"{_user(at)}@example.com", "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5-2026",
        "gen_ai.usage.input_tokens": 162, "gen_ai.usage.output_tokens": 31, "duration": "1526ms",
        "llm.prompt": asked(at)["messages"], "llm.completion": [_text(at + 7)],
    }


def contextforge(at: int) -> dict[str, Any]:
    names = {"resource_type": "tool", "resource_id": f"t-{at}", "resource_name": "get_weather", "action": "UPDATE"}
    return {
        "id": f"{at:032x}", "timestamp": "2026-08-21T09:00:00.125Z", "correlation_id": f"c-{at}", **names,
        "user_id": _user(at), "user_email": f"{_user(at)}@example.com", "team_id": "team-1", "success": True,
        "client_ip": "192.0.2.9", "user_agent": "curl/8", "request_path": f"/tools/t-{at}", "request_method": "PUT",
        "old_values": {"description": _text(at)}, "new_values": {"description": _text(at + 7)},
    }


def langfuse(at: int) -> dict[str, Any]:
    counts = {"input": 700, "output": 120, "total": 820}
    body = {
        "id": f"g{at}", "traceId": f"tr{at // 4}", "name": "openai", "model": "gpt-5", "level": "DEFAULT",
        "startTime": "2026-08-21T09:00:00.125Z", "endTime": "2026-08-21T09:00:01.900Z", "environment": "prod",
        "modelParameters": {"temperature": 0.5}, "input": {"messages": asked(at)["messages"]},
        "output": {"role": "assistant", "content": _text(at + 7)}, "usageDetails": counts, "usage": counts,
    }
    return {"id": f"e{at}", "type": "generation-create", "timestamp": "2026-08-21T09:00:02.000Z", "body": body}


def hook(at: int) -> dict[str, Any]:
    return {
        "type": "prompt", "request_id": f"req_{at}", "tenant_id": "11111111-1111-1111-1111-111111111111",
        "actor": {"type": "user", "id": _user(at), "email_address": f"{_user(at)}@example.com"},
        "source": {"application": "claude-code"}, "session_id": f"s-{at % 50}", "model": "claude-sonnet-5",
        "messages": [{"role": "user", "content": [{"type": "text", "text": _text(at, 125)}]}],
    }


def cloudevent(at: int) -> dict[str, Any]:
    return {
        "specversion": "1.0", "type": "com.example.llm.v1", "source": "/gateways/prod-1", "id": f"01J5-{at}",
        "time": "2026-08-21T09:00:00.125Z", "datacontenttype": "application/json",
        "data": {
            "model": "gpt-5", "provider": "openai", "user_email": f"{_user(at)}@example.com",
            "session_id": f"s-{at % 50}", "request": asked(at), "response": answered(at),
        },
    }
