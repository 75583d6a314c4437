"""Bedrock invocation records of our own, written to the documented shapes."""

from __future__ import annotations

import base64
from typing import Any

REQUEST = "6f9e9644-95a1-4c3c-892f-b51372320d5e"
FOLDER = "s3://logs/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/08/21/09/data"
INPUT, OUTPUT = f"{FOLDER}/{REQUEST}_input.json.gz", f"{FOLDER}/{REQUEST}_output.json.gz"
PDF = f"{FOLDER}/{REQUEST}_input_media_00.pdf"

CONVERSE: dict[str, Any] = {
    "schemaType": "ModelInvocationLog",
    "schemaVersion": "1.0",
    "timestamp": "2026-08-21T09:00:00Z",
    "accountId": "111122223333",
    "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/DevBedrock/dana@example.com"},
    "region": "us-east-1",
    "inferenceRegion": "us-west-2",
    "requestId": REQUEST,
    "operation": "Converse",
    "modelId": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "requestMetadata": {"team": "payments"},
    "input": {
        "inputContentType": "application/json",
        "inputBodyJson": {
            "system": [{"text": "You are terse."}],
            "messages": [
                {"role": "user", "content": [{"text": "Weather in Paris?"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t-0", "name": "locate", "input": {}}}]},
                {
                    "role": "user",
                    "content": [
                        {
                            "toolResult": {
                                "toolUseId": "t-0",
                                "content": [{"json": {"place": "Paris, FR"}}],
                                "status": "success",
                            }
                        },
                        {"document": {"format": "pdf", "name": "atlas", "source": {"s3Uri": PDF}}},
                        {"image": {"format": "png", "source": {"bytes": base64.b64encode(b"png").decode()}}},
                        {"cachePoint": {"type": "default"}},
                    ],
                },
            ],
            "inferenceConfig": {"maxTokens": 512},
            "guardrailConfig": {"guardrailIdentifier": "grd-1", "guardrailVersion": "3"},
            "toolConfig": {"tools": [{"toolSpec": {"name": "get_weather"}}]},
        },
        "inputTokenCount": 18,
        "cacheReadInputTokenCount": 3200,
        "cacheWriteInputTokenCount": 7,
    },
    "output": {
        "outputContentType": "application/json",
        "outputBodyJson": {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Need the tool.", "signature": "EqQ="}}},
                        {"text": "Let me look."},
                        {"toolUse": {"toolUseId": "t-1", "name": "get_weather", "input": {"city": "Paris"}}},
                    ],
                }
            },
            "stopReason": "tool_use",
            "metrics": {"latencyMs": 1450},
            "usage": {"inputTokens": 18, "outputTokens": 31, "totalTokens": 49},
            "trace": {
                "guardrail": {
                    "modelOutput": ["the answer that was withheld"],
                    "inputAssessment": {
                        "grd-1": {
                            "topicPolicy": {"topics": [{"name": "Finance", "type": "DENY", "action": "NONE"}]},
                            "sensitiveInformationPolicy": {
                                "piiEntities": [{"type": "EMAIL", "match": "a@example.com", "action": "ANONYMIZED"}]
                            },
                            "invocationMetrics": {"guardrailProcessingLatency": 250},
                        }
                    },
                    "outputAssessments": [
                        {"grd-1": {"wordPolicy": {"customWords": [{"match": "secret word", "action": "BLOCKED"}]}}}
                    ],
                }
            },
        },
        "outputTokenCount": 31,
    },
    "a_field_of_next_year": {"nested": ["value"]},
}

STREAM: list[Any] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_bdrk_01X",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 18, "cache_read_input_tokens": 3200, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "tb-1", "name": "look"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": " 1}"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 31}},
    {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": 18,
            "outputTokenCount": 31,
            "invocationLatency": 1450,
            "firstByteLatency": 610,
        },
    },
]

INVOKE: dict[str, Any] = {
    **{name: value for name, value in CONVERSE.items() if name not in ("input", "output", "a_field_of_next_year")},
    "operation": "InvokeModelWithResponseStream",
    "modelId": "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "input": {
        "inputContentType": "application/json",
        "inputBodyJson": {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 512,
            "messages": [{"role": "user", "content": "Weather in Paris?"}],
            "metadata": {"user_id": "u-17"},
        },
        "inputTokenCount": 18,
        "cacheReadInputTokenCount": 3200,
        "cacheWriteInputTokenCount": 0,
    },
    "output": {"outputContentType": "application/json", "outputBodyJson": STREAM, "outputTokenCount": 31},
}
