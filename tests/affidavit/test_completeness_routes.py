"""Routes around the gateways: what Amazon's own record knows, against what a gateway sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from up_process import Up, command, command_json

from affidavit.demo.deployment import wait_for

pytestmark = pytest.mark.slow

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def bedrock(request_id: str, at: datetime, tokens: tuple[int, int]) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "accountId": "111122223333", "region": "us-east-1", "requestId": request_id, "operation": "InvokeModel",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/Dev/dana@example.com"}, "modelId": MODEL,
        "input": {
            "inputContentType": "application/json", "inputTokenCount": tokens[0],
            "inputBodyJson": {"messages": [{"role": "user", "content": "hi"}]},
        },
        "output": {
            "outputContentType": "application/json", "outputTokenCount": tokens[1],
            "outputBodyJson": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}]},
        },
    }  # fmt: skip


def litellm(request_id: str, at: datetime, tokens: tuple[int, int]) -> dict[str, Any]:
    named = {"llm_provider-x-amzn-requestid": request_id} if request_id else {}
    return {
        "id": f"chatcmpl-{tokens[1]}", "litellm_call_id": f"call-{tokens[1]}", "call_type": "acompletion",
        "status": "success", "custom_llm_provider": "bedrock", "model": MODEL, "startTime": at.timestamp() - 1,
        "endTime": at.timestamp(), "prompt_tokens": tokens[0], "completion_tokens": tokens[1],
        "messages": [{"role": "user", "content": "hi"}], "hidden_params": {"additional_headers": named},
        "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]},
    }  # fmt: skip


def test_an_exchange_that_went_around_the_gateway_is_named(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    up.start()
    now = datetime.now(UTC).replace(microsecond=0)
    known, nearly, around = (("r-known", (10, 20)), ("r-nearly", (11, 21)), ("r-around", (12, 22)))
    sent = {
        "bedrock": [bedrock(name, now, tokens) for name, tokens in (known, nearly, around)],
        "litellm": [litellm("r-known", now, known[1]), litellm("", now, nearly[1]), litellm("r-odd", now, (5, 6))],
    }
    for gateway, records in sent.items():
        token = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", gateway)["token"]
        body = "\n".join(map(json.dumps, records))
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.post(f"{up.collector}/v1/{gateway}", content=body, headers=headers).status_code == 200

    def all_there() -> bool | None:
        rows = command_json(up.data, "query", "SELECT count() AS n FROM events WHERE kind = 'response'")["rows"]
        return rows[0]["n"] == 6 or None

    wait_for("the records", all_there)
    ran = command(up.data, "completeness", "--json", "--until", "2099-01-01")
    assert ran.returncode == 2, ran.stderr
    shown = json.loads(ran.stdout)
    routes = [one for one in shown["findings"] if one["section"] == "routes"]
    assert [(one["missing"], one["facts"]["kind"]) for one in routes] == [
        (True, "only_provider"),
        (False, "only_gateway"),
    ]
    assert "r-around" in routes[0]["detail"]
    assert "r-odd" in routes[1]["detail"]
    assert shown["checked"]["routes"] == [
        "bedrock: 3 exchanges in the provider's own record",
        "1 match by tokens and time only, without a common id",
    ]
    assert up.stop() == 0
