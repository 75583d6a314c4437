"""A chat completions API on loopback that always asks for the weather, whole or streamed, or refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
_HEAD = {"id": "chatcmpl-1", "created": 1787305200, "model": "gpt-x-2026"}


@contextmanager
def scripted_openai(status: int = 200) -> Iterator[str]:
    """Serve on a free port until the block ends; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            media_type, body = _answer(status, bool(asked.get("stream")))
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-request-id", "req_1")
            self.send_header("set-cookie", "__cf=of-the-provider")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _answer(status: int, stream: bool) -> tuple[str, bytes]:
    if status != 200:
        return "application/json", json.dumps({"error": {"message": "slow down", "type": "rate_limit"}}).encode()
    if not stream:
        message = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        body = _HEAD | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return "application/json", json.dumps(body).encode()
    deltas: list[dict[str, Any]] = [
        {"index": 0, "delta": {"role": "assistant", "content": "Sun"}},
        {"index": 0, "delta": {"content": "ny"}, "finish_reason": "stop"},
    ]
    chunks = [_HEAD | {"object": "chat.completion.chunk", "choices": [delta]} for delta in deltas]
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return "text/event-stream", (text + "data: [DONE]\n\n").encode()
