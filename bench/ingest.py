"""Ingest: from the body of a request to the durable bus, and the whole way over HTTP on loopback.

The rate per core is the processor time of the whole process, so that it says the same on a shared machine. Latency is
measured at half of the rate that the machine reached, over HTTP, one body per request.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from bench.figures import Figure
from collector.auth import INGEST, Tokens, mint_token
from collector.formats import http_routes
from collector.gateways import Format, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.server import serve
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

BODIES = 24
BATCH = 500
RATE_REQUESTS = 600
LATENCY_REQUESTS = 400
LATENCY_BATCH = 20
USERS = 200


def measure() -> Sequence[Figure]:
    """Every format through :class:`~collector.ingest.Ingest`; the native one over HTTP as well."""
    figures = []
    for name, source, body, budget in (
        ("native NDJSON ingest to durable bus", NativeFormat(), native_body, 12_000),
        ("LiteLLM ingest to durable bus", LiteLLMFormat(), litellm_body, 8_000),
    ):
        rate = asyncio.run(_rate(source, [body(at, BATCH) for at in range(BODIES)]))
        note = f"{rate.events_per_unit:.1f} events per unit, {rate.wall:,.0f}/s by the wall clock"
        figures.append(Figure(name, rate.per_core, "units/s per core", budget, note=note))
    return [*figures, *_over_http()]


def native_body(at: int, events: int) -> bytes:
    """NDJSON of 1.4 KB events, no two the same."""
    return b"\n".join(json.dumps(_native_event(at, number)).encode() for number in range(events))


def litellm_body(at: int, records: int) -> bytes:
    """A ``json_array`` of exchanges: a prompt and a response each."""
    return json.dumps([_litellm_record(at, number) for number in range(records)]).encode()


@dataclass(frozen=True, slots=True)
class _Rate:
    per_core: float
    wall: float
    events_per_unit: float


class _Stores:
    """An embedded deployment's bus and keys, in a folder."""

    def __init__(self, folder: str) -> None:
        root = Path(folder)
        create_kek_file(root / "kek")
        self.control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
        self.control.migrate()
        self.bus = SqliteBus(root / "bus.db")
        self.ingest = Ingest(self.bus, DatabaseKeys(self.control, FileKek(root / "kek")), collector_id="bench")

    async def close(self) -> None:
        self.ingest.close()
        await self.bus.close()
        self.control.close()


async def _rate(source: Format, bodies: list[bytes]) -> _Rate:
    with tempfile.TemporaryDirectory() as folder:
        stores = _Stores(folder)
        await stores.ingest.accept_body(bodies[0], source, _received(source))
        begun, used = time.perf_counter(), time.process_time()
        stored = [await stores.ingest.accept_body(body, source, _received(source)) for body in bodies[1:]]
        wall, used = time.perf_counter() - begun, time.process_time() - used
        await stores.close()
    units = sum(len(one.accepted) for one in stored)
    events = sum(len(unit.events) for one in stored for unit in one.accepted)
    return _Rate(units / used, units / wall, events / units)


def _over_http() -> list[Figure]:
    """The server in a process of its own, as a gateway would find it."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        here, there = spawn.Pipe()
        server = spawn.Process(target=_serve, args=(folder, there))
        server.start()
        port, token = here.recv()
        rate, latencies = asyncio.run(_drive(port, token))
        here.send("stop")
        server.join(30)
    latencies.sort()
    note = f"{LATENCY_BATCH} events per request at {rate / 2:,.0f} events/s; the client takes its share of the machine"
    return [
        Figure("native NDJSON over HTTP, by the wall clock", rate, "events/s", note="8 senders, client included"),
        Figure("ingest acknowledgement at half load, p50", latencies[len(latencies) // 2], "ms", note=note),
        Figure("ingest acknowledgement at half load, p99", latencies[len(latencies) * 99 // 100], "ms", 25, True, note),
    ]


def _serve(folder: str, parent: Connection) -> None:
    async def main() -> None:
        stores = _Stores(folder)
        minted = mint_token("acme", "bench", [INGEST], now_ms=0)
        stores.control.add_token(minted.row)
        stop = asyncio.Event()
        app = create_app(Receiver(stores.ingest, Tokens(stores.control), _always), http_routes())
        asyncio.get_running_loop().add_reader(parent.fileno(), stop.set)
        await serve(app, "127.0.0.1", 0, stop, started=lambda port: parent.send((port, minted.text)))
        await stores.close()

    asyncio.run(main())


async def _drive(port: int, token: str) -> tuple[float, list[float]]:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:

        async def post(body: bytes) -> None:
            response = await client.post("/v1/events", content=body)
            if response.status_code != 200:
                raise RuntimeError(f"got status {response.status_code}: {response.text[:200]}")

        bodies = [native_body(at, LATENCY_BATCH) for at in range(RATE_REQUESTS + LATENCY_REQUESTS)]
        await asyncio.gather(*(post(native_body(1000, BATCH)) for _ in range(2)))
        todo = iter(bodies[:RATE_REQUESTS])

        async def sender() -> None:
            for body in todo:
                await post(body)

        begun = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(8)))
        rate = RATE_REQUESTS * LATENCY_BATCH / (time.perf_counter() - begun)
        return rate, await _latencies(post, bodies[RATE_REQUESTS:], rate / 2)


async def _always() -> None:
    """The stores of the benchmark are always there."""


async def _latencies(
    post: Callable[[bytes], Awaitable[None]], bodies: Sequence[bytes], events_per_second: float
) -> list[float]:
    """Requests at a fixed rate, whatever the answers do; what is late to start counts as late to be answered."""
    interval = LATENCY_BATCH / events_per_second
    begun = time.perf_counter()

    async def at_its_time(number: int, body: bytes) -> float:
        due = begun + number * interval
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await post(body)
        return (time.perf_counter() - due) * 1000

    return list(await asyncio.gather(*(at_its_time(number, body) for number, body in enumerate(bodies))))


def _received(source: Format) -> Received:
    now = time.time_ns() // 1000
    return Received("acme", "bench", "t-1", "http", "127.0.0.1", "application/json", "", now, source.name)


_WORDS = [secrets.token_hex(3) for _ in range(400)]


def _text(seed: int, words: int) -> str:
    return " ".join(_WORDS[(seed * 7 + at * at) % len(_WORDS)] for at in range(words))


def _native_event(at: int, number: int) -> dict[str, Any]:
    user = (at * 31 + number) % USERS
    return {
        "kind": "prompt",
        "id": f"chat-{at}/{number}",
        "session_id": f"session-{at}-{number % 50}",
        "exchange_id": f"exchange-{at}-{number}",
        "occurred_at": "2026-08-21T09:00:00.125Z",
        "user_id": f"u-{user}",
        "user_email": f"user{user}@example.com",
        "team_id": "t-3",
        "model_requested": "claude-sonnet-5",
        "model_served": "claude-sonnet-5",
        "provider": "anthropic",
        "operation": "chat",
        "stream": True,
        "input_tokens": 700 + number,
        "output_tokens": 120,
        "latency_ms": 812.5,
        "outcome": "ok",
        "http_status": 200,
        "stop_reason": "stop",
        "content": {"messages": [{"role": "user", "content": _text(at + number, 125)}]},
    }


def _litellm_record(at: int, number: int) -> dict[str, Any]:
    user = (at * 31 + number) % USERS
    usage = {"prompt_tokens": 700, "completion_tokens": 120, "total_tokens": 820}
    answer = {"role": "assistant", "content": _text(number, 60)}
    return {
        "id": f"chatcmpl-{at}-{number}",
        "litellm_call_id": f"call-{at}-{number}",
        "trace_id": f"trace-{at}-{number}",
        "session_id": f"session-{at}-{number % 50}",
        "call_type": "acompletion",
        "status": "success",
        "status_fields": {"llm_api_status": "success", "guardrail_status": "not_run"},
        "custom_llm_provider": "anthropic",
        "model": "anthropic/claude-sonnet-5",
        "model_group": "sonnet",
        "startTime": 1787305200.125,
        "endTime": 1787305203.904,
        "completionStartTime": 1787305200.871,
        **usage,
        "response_cost": 0.00391,
        "metadata": {
            "user_api_key_hash": f"hash-{user}",
            "user_api_key_user_id": f"u-{user}",
            "usage_object": usage,
            "requester_ip_address": "192.0.2.4",
        },
        "messages": [{"role": "user", "content": _text(at + number, 60)}],
        "response": {
            "id": f"chatcmpl-{at}-{number}",
            "model": "claude-sonnet-5",
            "choices": [{"index": 0, "finish_reason": "stop", "message": answer}],
            "usage": usage,
        },
        "model_parameters": {"stream": True, "max_tokens": 512},
        "hidden_params": {"litellm_overhead_time_ms": 3.2, "additional_headers": {"llm_provider-request-id": "req_1"}},
    }
