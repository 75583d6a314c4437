"""A program that sends with the real CloudEvents SDK: run in an environment of its own, by ``test_cloudevents_real.py``.

    python cloudevents_client.py URL TOKEN

It sends a model call in structured and in binary mode, a text, a few bytes, and prints the status of each answer.
"""

# ruff: noqa: E501  This file runs on its own, and is read with its command above.
from __future__ import annotations

import sys
import urllib.request
from datetime import UTC, datetime
from typing import Any

SUBJECT = 'user/Euro € 100% "quoted"'
EXCHANGE = {
    "model": "gpt-5",
    "request": {"messages": [{"role": "user", "content": "hi"}]},
    "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]},
}


def main(url: str, token: str) -> None:
    from cloudevents.core.bindings.http import to_binary, to_structured
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    def event(own_id: str, data: Any, media_type: str) -> Any:
        attributes = {
            "id": own_id,
            "source": "/gateways/prod-1",
            "type": "com.example.llm.exchange.v1",
            "specversion": "1.0",
            "datacontenttype": media_type,
            "subject": SUBJECT,
            "time": datetime(2026, 8, 21, 9, 0, 0, 125000, UTC),
            "tenantname": "a",
        }
        return CloudEvent(attributes, data)

    messages = [
        to_structured(event("e-1", EXCHANGE, "application/json"), JSONFormat()),
        to_binary(event("e-2", EXCHANGE, "application/json"), JSONFormat()),
        to_binary(event("e-3", "plain words", "text/plain"), JSONFormat()),
        to_binary(event("e-4", b"RIFF\xff", "audio/wav"), JSONFormat()),
        to_structured(event("e-5", b"RIFF\xff", "audio/wav"), JSONFormat()),
    ]
    for message in messages:
        headers = {**message.headers, "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(url, data=message.body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            print(answer.status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
