"""A Messages API on loopback that answers one tool round: a Bash call first, text once its result is in."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "The marker was printed."
COMMAND = "echo affidavit-marker"
USAGE = {"input_tokens": 12, "cache_creation_input_tokens": 410, "cache_read_input_tokens": 30112, "output_tokens": 1}


_numbers = itertools.count(1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if not self.path.split("?")[0].endswith("/v1/messages"):
            return self._send(b'{"input_tokens":1}', "application/json")
        blocks, stop = _turn(body)
        if not body.get("stream"):
            message = {**_message(body), "content": blocks, "stop_reason": stop}
            return self._send(json.dumps(message).encode(), "application/json")
        events = list(_events(_message(body), blocks, stop))
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return self._send(text.encode(), "text/event-stream")

    def do_GET(self) -> None:
        self._send(b"{}", "application/json")

    def do_HEAD(self) -> None:
        self._send(b"", "application/json")

    def _send(self, body: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("request-id", f"req_011CAffidavit{next(_numbers)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


def _turn(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The content blocks to answer with, and the stop reason."""
    blocks = [
        block
        for message in body.get("messages", [])
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    has_bash = any(tool.get("name") == "Bash" for tool in body.get("tools", []))
    if has_bash and not any(block.get("type") == "tool_result" for block in blocks):
        call = {"command": COMMAND, "description": "Print the marker"}
        return [{"type": "tool_use", "id": "toolu_01Affidavit", "name": "Bash", "input": call}], "tool_use"
    return [{"type": "text", "text": ANSWER}], "end_turn"


def _message(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_01Affidavit{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    }


def _events(message: dict[str, Any], blocks: list[dict[str, Any]], stop: str) -> Iterator[dict[str, Any]]:
    """The stream that carries ``blocks``, as the API's server-sent events."""
    yield {"type": "message_start", "message": message}
    for index, block in enumerate(blocks):
        if block["type"] == "tool_use":
            yield {"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        else:
            yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            delta = {"type": "text_delta", "text": block["text"]}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": stop, "stop_sequence": None},
        "usage": {"output_tokens": 31},
    }
    yield {"type": "message_stop"}


@contextmanager
def fake_messages_api() -> Iterator[str]:
    """Serve on a free port of loopback; yields the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
