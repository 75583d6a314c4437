"""A Chat Completions API on loopback that answers one tool round: a call first, text once its result is in."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "It is 14 °C in Paris."
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
USAGE = {
    "prompt_tokens": 162,
    "completion_tokens": 31,
    "total_tokens": 193,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 9},
}
SERVED = "gpt-5-2026-05-01"
REFUSED = "too-busy"
"""A model of this name is answered 429."""

_numbers = itertools.count(1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if body.get("model") == REFUSED:
            error = {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            return self._send(429, json.dumps({"error": error}).encode(), "application/json")
        message, reason = _turn(body)
        if not body.get("stream"):
            return self._send(200, json.dumps(_completion(message, reason)).encode(), "application/json")
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(message, reason)) + "data: [DONE]\n\n"
        return self._send(200, text.encode(), "text/event-stream")

    def _send(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", f"req_{next(_numbers)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


def _turn(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    answered = any(message.get("role") == "tool" for message in body.get("messages", []))
    if body.get("tools") and not answered:
        return {"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls"
    return {"role": "assistant", "content": ANSWER}, "stop"


def _completion(message: dict[str, Any], reason: str) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {**_head("chat.completion"), "choices": [choice], "usage": USAGE}


def _chunks(message: dict[str, Any], reason: str) -> Iterator[dict[str, Any]]:
    head = _head("chat.completion.chunk")
    calls = [{**call, "index": at} for at, call in enumerate(message.get("tool_calls", ()))]
    delta = {"role": "assistant", "content": message["content"], **({"tool_calls": calls} if calls else {})}
    yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    yield {**head, "choices": [], "usage": USAGE}


def _head(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{next(_numbers)}", "object": kind, "created": 1_787_305_200, "model": SERVED}


@contextmanager
def fake_chat_api() -> Iterator[str]:
    """Serve on a free port of loopback; yields the base URL, which ends in ``/v1``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
