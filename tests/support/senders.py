"""Senders that never give up: threads that post events and post again what was not acknowledged, as gateways do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from schemas.ids import Shard, parse_shard

PATIENCE = 30.0
"""Seconds for one answer: a collector that hands over to its spool takes some."""


@dataclass
class Acknowledged:
    """What senders were told is durable.

    Attributes:
        placed: native events that were given a place on the bus.
        spooled: native events that were told to wait in a spool for theirs.
        sessions: LiteLLM sessions, by number of events.
        refused: answers 503, and connections that failed.
    """

    placed: dict[tuple[Shard, int], str] = field(default_factory=dict)
    spooled: set[str] = field(default_factory=set)
    sessions: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def event_ids(self) -> set[str]:
        """All native events that were acknowledged."""
        with self.lock:
            return {*self.placed.values(), *self.spooled}

    def native(self, answer: dict[str, Any]) -> None:
        with self.lock:
            for item in answer["items"]:
                place = item["position"]
                if place is None:
                    self.spooled.add(item["event_id"])
                else:
                    self.placed[(parse_shard(place["shard"]), place["offset"])] = item["event_id"]

    def litellm(self, session: str, answer: dict[str, Any]) -> None:
        with self.lock:
            self.sessions[session] = answer["events"]


class Senders:
    """Threads that send without end.

    Args:
        tokens: bearer tokens by gateway, ``native`` and ``litellm``.
        acknowledged: told of every 200.
        count: threads; odd ones send LiteLLM's payloads.
        subjects: whether every event is about a new person, so that keys must be made all the time.
        pause: seconds between a sender's requests.
    """

    def __init__(
        self,
        tokens: dict[str, str],
        acknowledged: Acknowledged,
        *,
        count: int = 4,
        subjects: bool = False,
        pause: float = 0.0,
    ) -> None:
        self._tokens, self._acknowledged = tokens, acknowledged
        self._subjects, self._pause = subjects, pause
        self._stop = threading.Event()
        self._urls: Sequence[str] = ()
        self._threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(count)]
        self._failures: list[BaseException] = []

    def aim(self, *urls: str) -> None:
        """Send to these collectors from now on: to one until it fails, then to the next."""
        self._urls = urls
        for thread in self._threads:
            if not thread.ident:
                thread.start()

    def stop(self) -> None:
        """Stop, and raise what a sender met that it should not have."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _send(self, number: int) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
                self._loop(client, number)
        except BaseException as error:
            self._failures.append(error)

    def _loop(self, client: httpx.Client, number: int) -> None:
        turn, at = 0, number // 2
        while not self._stop.is_set():
            turn += 1
            post: Callable[[httpx.Client, str, int, int], bool] = self._litellm if number % 2 else self._native
            while not self._stop.is_set() and not post(client, self._urls[at % len(self._urls)], number, turn):
                at += 1
                self._stop.wait(0.02)  # this collector is away
            if self._pause:
                self._stop.wait(self._pause)

    def _native(self, client: httpx.Client, url: str, number: int, turn: int) -> bool:
        events = [
            {
                "kind": "prompt",
                "id": f"n-{number}-{turn}-{at}",
                "session_id": f"s-{number}-{turn % 7}",
                "content": "x" * 200,
            }
            | ({"user_id": f"person-{number}-{turn}-{at}"} if self._subjects else {})
            for at in range(1 + turn % 20)
        ]
        answer = self._post(client, url + "/v1/events", "native", "\n".join(json.dumps(event) for event in events))
        if answer is not None:
            self._acknowledged.native(answer)
        return answer is not None

    def _litellm(self, client: httpx.Client, url: str, number: int, turn: int) -> bool:
        session = f"litellm-{number}-{turn}"
        record = {
            "id": f"chatcmpl-{number}-{turn}",
            "litellm_call_id": f"call-{number}-{turn}",
            "session_id": session,
            "call_type": "acompletion",
            "status": "success",
            "startTime": 1_795_000_000.0 + turn,
            "endTime": 1_795_000_001.0 + turn,
            "model": "gpt-5",
            "messages": [{"role": "user", "content": f"question {turn} " + "y" * (turn * 97 % 3000)}],
            "response": {"choices": [{"message": {"role": "assistant", "content": f"answer {turn}"}}]},
        }
        answer = self._post(client, url + "/v1/litellm", "litellm", json.dumps([record]))
        if answer is not None:
            self._acknowledged.litellm(session, answer)
        return answer is not None

    def _post(self, client: httpx.Client, url: str, gateway: str, body: str) -> dict[str, Any] | None:
        try:
            answer = client.post(url, content=body, headers={"Authorization": f"Bearer {self._tokens[gateway]}"})
        except httpx.HTTPError:
            answer = None
        if answer is None or answer.status_code == 503:
            with self._acknowledged.lock:
                self._acknowledged.refused += 1
            return None
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document
