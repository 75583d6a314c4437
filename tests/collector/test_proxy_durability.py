"""What is on record when things fail: closed tenants wait for it, the others never do, and losses are told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from faults import Fault, Faults
from memory_bus import MemoryBus
from provider_streams import anthropic_events, sse
from proxy_server import proxy_server
from scripted_upstream import LAST_CHUNK, STREAM_HEAD, Seen, chunk, scripted_upstream, whole

from collector.proxy import ProxyConfig
from schemas.errors import Unavailable
from stores.bus import Outgoing, Position

ASKED = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "?"}]}
BODY = json.dumps(ASKED).encode()
CLOSED = ProxyConfig(fail_closed=frozenset({"acme"}))


async def plain(request: Seen) -> AsyncIterator[bytes]:
    yield whole(b'{"id":"msg_1","type":"message","content":[]}')


class DeafBus(MemoryBus):
    """A bus that takes nothing until it is told to."""

    listening = False

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:  # type: ignore[override]
        if not self.listening:
            raise Unavailable("deaf", retry_after=0.01)
        return await super().append(messages)


def test_a_tenant_that_fails_closed_has_its_prompt_on_record_before_it_goes_upstream() -> None:
    on_record: list[int] = []

    async def answer(request: Seen) -> AsyncIterator[bytes]:
        on_record.append(faults.writes)
        async for piece in plain(request):
            yield piece

    faults = Faults()
    with (
        scripted_upstream(answer) as upstream,
        proxy_server({"anthropic": upstream.url}, CLOSED, faults=faults) as proxy,
    ):
        assert httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY).status_code == 200
        assert on_record == [1]
        assert upstream.seen[0].body == BODY
        prompt, repeated, response = proxy.opened(3)
        assert prompt.metadata["event_id"] == repeated.metadata["event_id"]
        assert (prompt.content, repeated.content, response.metadata["outcome"]) == (ASKED, ASKED, "ok")


def test_a_tenant_that_fails_closed_is_refused_when_nothing_takes_its_prompt() -> None:
    faults = Faults({1: Fault.LOST})
    with (
        scripted_upstream(plain) as upstream,
        proxy_server({"anthropic": upstream.url}, CLOSED, faults=faults) as proxy,
    ):
        refused = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["type"] == "overloaded_error"
        assert upstream.seen == []
        prompt, response = proxy.opened(2)
        assert response.metadata["error_message"] == "refused: the request could not be made durable"
        assert prompt.content == ASKED


def test_a_bus_that_hangs_does_not_hold_a_closed_tenant_for_ever() -> None:
    class Hanging(MemoryBus):
        async def append(self, messages: Sequence[Outgoing]) -> list[Position]:  # type: ignore[override]
            await asyncio.Event().wait()
            raise AssertionError

    config = ProxyConfig(fail_closed=frozenset({"acme"}), store_seconds=0.1, ready_seconds=0.1)
    with (
        scripted_upstream(plain) as upstream,
        proxy_server({"anthropic": upstream.url}, config, before=lambda bus: Hanging()) as proxy,
    ):
        refused = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert refused.status_code == 503
    assert [loss.reason for loss in proxy.losses] == ["the process stopped"]


def test_everybody_else_passes_while_nothing_is_recorded_and_is_recorded_later() -> None:
    deaf = DeafBus()
    with (
        scripted_upstream(plain) as upstream,
        proxy_server({"anthropic": upstream.url}, before=lambda bus: deaf) as proxy,
    ):
        for _ in range(5):
            url = f"{proxy.url}/anthropic/v1/messages"
            assert httpx.post(url, headers=proxy.headers, content=BODY).status_code == 200
        proxy.until(lambda: proxy.snapshot().recorder.waiting == 5)
        deaf.listening = True
        proxy.until(lambda: proxy.snapshot().recorder.recorded == 5)
        assert proxy.snapshot().memory_bytes == 0
    assert proxy.losses == []


def test_what_is_given_up_is_told_with_its_hash() -> None:
    config = ProxyConfig(patience_seconds=0.1)
    with (
        scripted_upstream(plain) as upstream,
        proxy_server({"anthropic": upstream.url}, config, before=lambda bus: DeafBus()) as proxy,
    ):
        httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        proxy.until(lambda: len(proxy.losses) == 1)
        loss = proxy.losses[0]
        assert loss.sender is not None
        assert (loss.sender.tenant, loss.upstream, loss.reason) == ("acme", "anthropic", "deaf")
        assert len(loss.sha256) == 64
        assert proxy.snapshot().recorder.lost == 1


def test_the_prompt_of_a_long_stream_is_on_record_before_it_ends() -> None:
    go_on: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def answer(request: Seen) -> AsyncIterator[bytes]:
        wait = asyncio.Event()
        go_on.append((asyncio.get_running_loop(), wait))
        yield STREAM_HEAD
        yield chunk(sse(anthropic_events()[:5]))
        await wait.wait()
        yield chunk(sse(anthropic_events()[5:]))
        yield LAST_CHUNK

    config = ProxyConfig(early_seconds=0.05)
    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}, config) as proxy:
        url = f"{proxy.url}/anthropic/v1/messages"
        with httpx.stream("POST", url, headers=proxy.headers, content=BODY, timeout=20) as response:
            got = response.iter_raw()
            next(got)
            (early,) = proxy.opened(1)
            assert (early.metadata["kind"], early.content) == ("prompt", ASKED)
            loop, wait = go_on[0]
            loop.call_soon_threadsafe(wait.set)
            assert b"message_stop" in b"".join(got)
        events = proxy.opened(7)
        assert [event.metadata["kind"] for event in events[:3]] == ["prompt", "prompt", "response"]
        assert events[1].metadata["event_id"] == early.metadata["event_id"]
        assert proxy.snapshot().recorder.early == 1


def test_a_token_that_cannot_be_checked_is_checked_again_when_its_exchange_is_recorded() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        proxy.control.away = True
        assert httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY).status_code == 200
        assert proxy.opened() == []
        proxy.control.away = False
        assert [event.metadata["tenant"] for event in proxy.opened(2)] == ["acme", "acme"]


def test_a_token_that_cannot_be_checked_is_refused_where_tenants_fail_closed() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}, CLOSED) as proxy:
        proxy.control.away = True
        refused = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert refused.status_code == 503
        assert upstream.seen == []


@pytest.mark.parametrize("size", [3_000_000, 20_000])
def test_large_bodies_go_through_files_and_leave_nothing(size: int) -> None:
    png = random.Random(size).randbytes(size)
    image = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()}
    asked = {**ASKED, "messages": [{"role": "user", "content": [{"type": "image", "source": image}]}]}
    config = ProxyConfig(memory_bytes=10_000)
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}, config) as proxy:
        body = json.dumps(asked).encode()
        httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=body)
        assert upstream.seen[0].body == body
        prompt, context, _ = proxy.opened(3)
        kept = prompt.content["messages"][0]["content"][0]["source"]
        assert kept.pop("data").endswith("see the source]")
        assert kept == {"type": "base64", "media_type": "image/png"}
        (gap,) = json.loads(prompt.metadata["content_gaps"])
        assert prompt.source is not None
        assert body in prompt.source
        start, length = map(int, gap["ref"].removeprefix("source:").split("+"))
        assert prompt.source[start : start + length] == image["data"].encode()
        assert context.metadata["document_sha256"] == hashlib.sha256(png).hexdigest()
        proxy.until(lambda: (proxy.snapshot().memory_bytes, proxy.snapshot().disk_bytes) == (0, 0))


def test_a_copy_that_finds_no_room_is_cut_and_the_traffic_is_not() -> None:
    config = ProxyConfig(memory_bytes=0, disk_bytes=10_000)
    body = json.dumps({**ASKED, "padding": "x" * 200_000}).encode()
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}, config) as proxy:
        assert httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=body).status_code == 200
        assert upstream.seen[0].body == body
        prompt = proxy.opened(2)[0]
        assert prompt.metadata["content_state"] == "truncated"
        assert "bytes of it were not kept" in prompt.metadata["content_gaps"]


def test_a_stop_ends_with_everything_on_record() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        for _ in range(20):
            httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
    assert len(proxy.opened()) == 40
