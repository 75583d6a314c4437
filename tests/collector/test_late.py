"""Senders that cannot wait: answered in time, whatever the bus does, and what is lost by it is on record."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import httpx
import pytest
from ailing_bus import AilingBus, Illness
from collector_server import collector_server
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.auth import Tokens
from collector.body import BodyLimits
from collector.gateways.native import NativeFormat
from collector.hook_routes import hook_route
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.internal import SelfAudit
from collector.losses import Loss, Losses, record_losses
from collector.routes import Answer, Failed, Greeting, Late, Outcome, Route, Webhook
from collector.standard_webhooks import sign_standard
from schemas.errors import AccessDenied
from schemas.ids import CONTROL, EVENTS, Shard
from stores.bus import Bus, Outgoing, Position

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OPEN = Webhook("open", "acme", "claude", (SECRET,))
CLOSED = Webhook("closed", "acme", "claude", (SECRET,), fail_closed=True)
NOW = 1_787_305_200_000_000
BODY = json.dumps({"type": "prompt", "request_id": "msg-1", "messages": []}).encode()


class HeldBus:
    """A bus whose appends wait until it is let go."""

    def __init__(self, inner: MemoryBus) -> None:
        self._inner = inner
        self.let_go = asyncio.Event()

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        await self.let_go.wait()
        return await self._inner.append(messages)


class Setup:
    """The hook's route, with less time to wait, before a bus of the test's choice."""

    def __init__(
        self, bus: Bus, *, seconds: float = 0.05, patience: float = 30.0, limits: BodyLimits | None = None
    ) -> None:
        route = hook_route()
        assert route.late is not None
        self.route = replace(route, late=route.late._replace(seconds=seconds, patience_seconds=patience))
        self.ingest = Ingest(bus, MemoryKeys(), collector_id="c-1")
        self.receiver = Receiver(
            self.ingest,
            Tokens(MemoryControl()),
            self._ready,
            limits or BodyLimits(),
            now_micros=lambda: NOW,
            webhooks={"open": OPEN, "closed": CLOSED},
        )
        self.app = create_app(self.receiver, [self.route])

    async def _ready(self) -> None:
        """It always is."""

    async def post(
        self, webhook: str, body: bytes | AsyncIterator[bytes] = BODY, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        signature = sign_standard("msg-1", NOW // 1_000_000, BODY, SECRET)
        own = {"webhook-id": "msg-1", "webhook-timestamp": str(NOW // 1_000_000), "webhook-signature": signature}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://collector") as client:
            return await client.post(f"/v1/anthropic-hooks/{webhook}", content=body, headers=own | dict(headers or {}))


async def stored(bus: MemoryBus) -> int:
    return sum([(await bus.bounds(shard)).end for shard in await bus.shards(EVENTS)])


ALLOW = {"action": "allow"}


@pytest.mark.parametrize("webhook", ["open", "closed"])
async def test_who_is_recorded_in_time_is_allowed(webhook: str) -> None:
    bus = MemoryBus()
    setup = Setup(bus, seconds=30)
    response = await setup.post(webhook)
    assert (response.status_code, response.json()) == (200, ALLOW)
    assert await stored(bus) == 1
    assert setup.receiver.losses.snapshot().waiting == 0


async def test_a_bus_that_hangs_delays_nobody_and_gets_the_body_later() -> None:
    inner = MemoryBus()
    bus = HeldBus(inner)
    setup = Setup(bus)
    assert (await setup.post("open")).json() == ALLOW
    assert await stored(inner) == 0
    bus.let_go.set()
    await setup.receiver.latecomers.finish(30)
    assert await stored(inner) == 1
    assert setup.receiver.losses.snapshot() == Losses().snapshot()
    assert setup.ingest.budget.used == 0


async def test_fail_closed_refuses_what_is_not_durable_and_says_so_even_if_it_becomes_so() -> None:
    inner = MemoryBus()
    bus = HeldBus(inner)
    setup = Setup(bus)
    response = await setup.post("closed")
    assert response.status_code == 200, "an error status would be a failure of the webhook, not a denial"
    assert response.json()["action"] == "deny"
    assert len(response.json()["deny_reason"]) <= 500
    assert len(response.json()["reference_id"]) <= 50
    bus.let_go.set()
    await setup.receiver.latecomers.finish(30)
    assert await stored(inner) == 1
    ((act, _),) = setup.receiver.losses.acts()
    assert (act.details["lost"], act.details["refused"]) == (0, 1)


async def test_a_bus_that_refuses_is_asked_again_behind_the_senders_back() -> None:
    inner = MemoryBus()
    bus = AilingBus(inner)
    bus.ill = Illness.DOWN
    setup = Setup(bus, seconds=600)
    assert (await setup.post("open")).json() == ALLOW, "at once: nobody waits for the 600 s"
    bus.ill = Illness.NONE
    await setup.receiver.latecomers.finish(30)
    assert await stored(inner) == 1
    assert setup.receiver.losses.snapshot().lost == 0


@pytest.mark.parametrize(("webhook", "action"), [("open", "allow"), ("closed", "deny")])
async def test_what_is_lost_is_on_the_log_as_soon_as_there_is_one_again(webhook: str, action: str) -> None:
    inner = MemoryBus()
    bus = AilingBus(inner)
    bus.ill = Illness.DOWN
    setup = Setup(bus, patience=0.0)
    assert (await setup.post(webhook)).json()["action"] == action
    await setup.receiver.latecomers.finish(30)
    losses, stop = setup.receiver.losses, asyncio.Event()
    assert losses.snapshot().lost == 1
    audit = SelfAudit(bus, MemoryKeys(), "c-1")
    stop.set()
    await record_losses(losses, audit, stop)
    assert losses.snapshot().waiting == 1, "the bus is still away"
    ((act, _),) = losses.acts()
    bus.ill = Illness.NONE
    await record_losses(losses, audit, stop)
    assert losses.snapshot().waiting == 0
    assert (await inner.bounds(Shard(CONTROL, 0))).end == 1
    assert act.tenant == "acme"
    (body,) = act.details["bodies"]
    assert body["message_id"] == "msg-1"
    assert (body["sha256"], body["size"]) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
    assert body["refused"] is (action == "deny")
    assert not body["stored"]


async def test_a_process_that_ends_notes_what_it_leaves_behind() -> None:
    setup = Setup(HeldBus(MemoryBus()))
    await setup.post("open")
    await setup.receiver.latecomers.finish(0.01)
    assert setup.receiver.losses.snapshot().lost == 1


async def test_a_body_that_comes_slowly_is_read_to_its_end_before_the_early_answer() -> None:
    """After an answer the server tells the application that the sender is gone, and the rest of a body is lost."""
    inner = MemoryBus()
    bus = HeldBus(inner)
    setup = Setup(bus, seconds=0.0)

    async def slowly() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 10):
            await asyncio.sleep(0)
            yield BODY[at : at + 10]

    assert (await setup.post("open", slowly())).json() == ALLOW
    bus.let_go.set()
    await setup.receiver.latecomers.finish(30)
    assert await stored(inner) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"webhook-signature": "v1,AAAA"}, 401), ({"webhook-signature": ""}, 401), ({"content-encoding": "br"}, 415)],
)
async def test_who_is_not_known_gets_no_verdict_and_leaves_no_trace(headers: dict[str, str], status: int) -> None:
    bus = MemoryBus()
    setup = Setup(bus, seconds=30)
    assert (await setup.post("open", headers=headers)).status_code == status
    assert (await setup.post("nobody")).status_code == 401
    assert await stored(bus) == 0
    assert setup.receiver.losses.snapshot().waiting == 0


async def test_a_body_beyond_the_limit_is_an_error_for_nobody_knows_who_signed_it() -> None:
    setup = Setup(MemoryBus(), seconds=30, limits=BodyLimits(max_bytes=10))
    assert (await setup.post("open")).status_code == 413


@pytest.mark.slow
async def test_a_frame_of_ten_megabytes_is_recorded_whole() -> None:
    bus = MemoryBus()
    setup = Setup(bus, seconds=60)
    text = "x" * (10 << 20)
    body = json.dumps(
        {"type": "prompt", "request_id": "msg-1", "messages": [{"role": "user", "content": text}]}
    ).encode()
    signature = sign_standard("msg-1", NOW // 1_000_000, body, SECRET)
    assert (await setup.post("open", body, {"webhook-signature": signature})).json() == ALLOW
    assert await stored(bus) == 1


def test_the_memory_of_losses_is_bounded_and_counts_on() -> None:
    losses = Losses(kept=3)
    for number in range(5):
        losses.note("acme", "claude", "open", Loss(f"m-{number}", "00", 1, number, False))
    losses.note("acme", "claude", "other", Loss("m", "00", 1, 9, True))
    assert losses.snapshot().waiting == 6
    acts = {act.details["webhook"]: act for act, _ in losses.acts()}
    assert (len(acts["open"].details["bodies"]), acts["open"].details["not_named"]) == (3, 2)
    assert acts["other"].details["not_named"] == 1
    losses.recorded(acts["open"])
    losses.note("acme", "claude", "open", Loss("m-9", "00", 1, 9, False))
    losses.recorded(acts["other"])
    ((left, count),) = losses.acts()
    assert (count, left.details["bodies"][0]["message_id"]) == (1, "m-9")
    assert (losses.snapshot().lost, losses.snapshot().refused) == (7, 1)


async def test_any_route_may_have_an_early_answer_and_any_protocol_a_greeting() -> None:
    """What the receiver does for the hooks it does for whoever asks in the table."""
    seen: list[Outcome] = []

    def answer(outcome: Outcome, media_type: str) -> Answer:
        seen.append(outcome)
        return Answer(500 if isinstance(outcome, Failed) else 200, {}, b"in time")

    def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: int) -> None:
        if body == b"forged":
            raise AccessDenied("forged")

    late = Late(0.01, lambda webhook: Answer(202, {"x-name": webhook.name}, b"early"), 0.0)
    described = {"responses": {}}
    route = Route(("/v1/test/{webhook}",), NativeFormat(), answer, operation=described, verify=verify, late=late)
    hello = Greeting("/v1/test/hello", "GET", lambda headers: Answer(200, {}, headers.get("x-ask", "").encode()))
    bus = HeldBus(MemoryBus())
    setup = Setup(bus)
    app = create_app(setup.receiver, [route], [hello])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        early = await client.post("/v1/test/open", content=b'{"kind":"prompt"}')
        assert (early.status_code, early.headers["x-name"], early.text) == (202, "open", "early")
        assert (await client.post("/v1/test/open", content=b"forged")).status_code == 500
        assert (await client.get("/v1/test/hello", headers={"x-ask": "who"})).text == "who"
        bus.let_go.set()
        await setup.receiver.latecomers.finish(30)
        assert (await client.post("/v1/test/open", content=b'{"kind":"prompt"}')).text in ("in time", "early")
    assert [isinstance(outcome, Failed) for outcome in seen[:2]] == [True, False]


def test_over_a_real_socket_a_bus_that_never_answers_delays_nobody() -> None:
    def hanging(inner: MemoryBus) -> Bus:
        bus = AilingBus(inner)
        bus.ill = Illness.HANGS
        return bus

    stamp = int(time.time())
    signature = sign_standard("msg-1", stamp, BODY, SECRET)
    headers = {"webhook-id": "msg-1", "webhook-timestamp": str(stamp), "webhook-signature": signature}
    with collector_server("claude", before=hanging, webhooks={"open": OPEN}) as collector:
        response = httpx.post(f"{collector.url}/v1/anthropic-hooks/open", content=BODY, headers=headers, timeout=60)
        assert (response.status_code, response.json()) == (200, ALLOW)
        assert collector.opened() == []
