"""The recording proxy passes bytes: what the upstream got and sent is what the caller sent and got."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from provider_streams import anthropic_events, sse
from proxy_server import RunningProxy, proxy_server
from scripted_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    HangUp,
    Seen,
    chunk,
    head,
    scripted_upstream,
    whole,
    zipped,
)

from collector.proxy import Bound, ProxyConfig, Upstream

ASKED = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Weather in Paris?"}]}
BODY = json.dumps(ASKED, indent=1).encode()
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": "Sunny."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


async def plain(request: Seen) -> AsyncIterator[bytes]:
    yield whole(json.dumps(MESSAGE).encode(), "request-id: req_1", "X-Unknown: a", "X-Unknown: b", "Date: never")


def raw(proxy: RunningProxy, request: bytes, *, until_closed: bool = True) -> bytes:
    """Send bytes on a socket of our own; returns everything that comes back."""
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def request_of(proxy: RunningProxy, path: str, *headers: str, body: bytes = BODY, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy", f"x-affidavit-token: {proxy.token}", "Connection: close"]
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, *length, *headers, "", ""]).encode("latin-1") + body


def test_request_and_response_pass_byte_for_byte() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url + "/base"}) as proxy:
        sent = (
            "X-Api-Key: sk-ant-0123456789abcdef",
            "Accept-Encoding: br, gzip",
            "X-Odd: é ~",
            "X-Odd: two",
            "TE: trailers",
        )
        answer = raw(proxy, request_of(proxy, "/anthropic/v1/m%65ssages/%7e?beta=true&q=%2F", *sent))
        seen = upstream.seen[0]
        assert seen.line == b"POST /base/v1/m%65ssages/%7e?beta=true&q=%2F HTTP/1.1"
        assert seen.body == BODY
        host = urlsplit(upstream.url).netloc.encode()
        assert seen.headers == [
            (b"host", host),
            (b"content-length", str(len(BODY)).encode()),
            (b"x-api-key", b"sk-ant-0123456789abcdef"),
            (b"accept-encoding", b"br, gzip"),
            (b"x-odd", "é ~".encode("latin-1")),
            (b"x-odd", b"two"),
        ]
        lines, _, body = answer.partition(b"\r\n\r\n")
        assert body == bytes(upstream.sent[0]).partition(b"\r\n\r\n")[2]
        assert [line.lower() for line in lines.split(b"\r\n")] == [
            b"http/1.1 200 ok",
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"request-id: req_1",
            b"x-unknown: a",
            b"x-unknown: b",
            b"date: never",
            b"connection: close",
        ]


@pytest.mark.parametrize(
    "status", ["204 No Content", "304 Not Modified", "418 I'm a teapot", "529 Overloaded", "302 Found"]
)
def test_any_status_passes(status: str) -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        body = b"" if status[:3] in ("204", "304") else b'{"type":"error"}'
        yield head(status, "Location: /elsewhere", *([f"Content-Length: {len(body)}"] if body else [])) + body

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        response = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert response.status_code == int(status[:3])
        assert response.headers["location"] == "/elsewhere"
        assert len(upstream.seen) == 1, "redirects are the caller's to follow"


def test_a_compressed_answer_stays_compressed_on_its_way_and_is_read_in_the_record() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        yield zipped(json.dumps(MESSAGE).encode())

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        with httpx.stream(
            "POST", f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY
        ) as response:
            wire = b"".join(response.iter_raw())
        assert response.headers["content-encoding"] == "gzip"
        assert bytes(upstream.sent[0]).endswith(wire)
        assert wire[:2] == b"\x1f\x8b"
        prompt, answered = proxy.opened(2)
        assert answered.content == MESSAGE
        assert prompt.source is not None
        assert wire in prompt.source


def test_pieces_of_a_stream_pass_as_they_come() -> None:
    go_on = asyncio.Event()
    pieces = [b"event: ping\ndata: {}\n\n", "data: ☀".encode()[:-2], "data: ☀".encode()[-2:] + b"\n\n"]
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer(request: Seen) -> AsyncIterator[bytes]:
        loops.append(asyncio.get_running_loop())
        yield STREAM_HEAD
        for piece in pieces:
            yield chunk(piece)
            await go_on.wait()
            go_on.clear()
        yield LAST_CHUNK

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        url = f"{proxy.url}/anthropic/v1/messages"
        with httpx.stream("POST", url, headers=proxy.headers, content=BODY, timeout=20) as response:
            got = response.iter_raw()
            for piece in pieces:
                assert next(got) == piece, "no piece waits for the next one"
                loops[0].call_soon_threadsafe(go_on.set)
            assert list(got) == []


def test_a_caller_that_hangs_up_lets_the_upstream_go() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        yield STREAM_HEAD
        for event in anthropic_events()[:8]:
            yield chunk(sse([event]))
        while True:
            yield chunk(b": still here\n\n")
            await asyncio.sleep(0.01)

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        url = f"{proxy.url}/anthropic/v1/messages"
        with httpx.stream("POST", url, headers=proxy.headers, content=BODY, timeout=20) as response:
            seen, pieces = b"", response.iter_raw()
            while b"content_block_delta" not in seen:
                seen += next(pieces)
        assert upstream.on_closed.wait(10)
        answered = next(event for event in proxy.opened(2) if event.metadata["kind"] == "response")
        assert answered.metadata["outcome"] == "cancelled"
        assert answered.content["content"][0]["type"] == "thinking"


def test_a_caller_that_hangs_up_before_the_answer_lets_the_upstream_go() -> None:
    arrived = threading.Event()

    async def answer(request: Seen) -> AsyncIterator[bytes]:
        arrived.set()
        while True:
            await asyncio.sleep(0.01)
            yield b""

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        connection = socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0))
        connection.sendall(request_of(proxy, "/anthropic/v1/messages"))
        assert arrived.wait(10)
        connection.close()
        assert upstream.on_closed.wait(10)
        prompt, answered = proxy.opened(2)
        assert prompt.content == ASKED
        assert (answered.metadata["outcome"], answered.content) == ("cancelled", None)


def test_a_caller_that_hangs_up_in_its_request_leaves_what_it_sent() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        connection = socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0))
        connection.sendall(request_of(proxy, "/anthropic/v1/messages")[:-20])
        proxy.until(lambda: proxy.snapshot().memory_bytes == len(BODY) - 20)
        connection.close()
        prompt = proxy.opened(2)[0]
        assert prompt.content == {"text": BODY[:-20].decode()}
        assert prompt.metadata["content_state"] == "truncated"


def test_an_upstream_that_breaks_off_breaks_the_answer_off() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        yield STREAM_HEAD
        yield chunk(sse(anthropic_events()[:6]))
        raise HangUp

    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        url = f"{proxy.url}/anthropic/v1/messages"
        with httpx.stream("POST", url, headers=proxy.headers, content=BODY, timeout=20) as response:
            got = response.iter_raw()
            assert next(got) == sse(anthropic_events()[:6])
            with pytest.raises(httpx.RemoteProtocolError, match="closed"):
                next(got)
        answered = next(event for event in proxy.opened(2) if event.metadata["kind"] == "response")
        assert answered.metadata["outcome"] == "partial"
        assert "broke off" in answered.metadata["error_message"]


def test_an_upstream_that_cannot_be_reached_is_a_502_in_its_words() -> None:
    with proxy_server({"anthropic": "http://127.0.0.1:9", "openai": "http://127.0.0.1:9"}) as proxy:
        there = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert there.status_code == 502
        assert there.json()["error"]["type"] == "api_error"
        assert there.headers["x-affidavit-refused"] == "1"
        other = httpx.post(f"{proxy.url}/openai/v1/responses", headers=proxy.headers, content=BODY)
        assert (other.status_code, other.json()["error"]["type"]) == (502, "server_error")
        events = proxy.opened(4)
        ended = [event.metadata for event in events if event.metadata["kind"] == "response"]
        assert [(one["outcome"], one["error_stage"], one["error_type"]) for one in ended] == [
            ("error", "transport", "unreachable")
        ] * 2


def test_an_upstream_that_says_nothing_is_a_504() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    config = ProxyConfig(silence_seconds=0.2)
    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}, config) as proxy:
        response = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=BODY)
        assert (response.status_code, response.json()["error"]["type"]) == (504, "timeout_error")
        answered = next(event for event in proxy.opened(2) if event.metadata["kind"] == "response")
        assert answered.metadata["error_type"] == "timeout"


def test_who_expects_100_gets_it_and_the_upstream_does_not() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        answer = raw(proxy, request_of(proxy, "/anthropic/v1/messages", "Expect: 100-continue"))
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert not upstream.seen[0].header(b"expect")


def test_a_request_in_chunks_goes_on_in_chunks() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:

        def pieces() -> list[bytes]:
            return [BODY[:10], BODY[10:]]

        httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=proxy.headers, content=iter(pieces()))
        assert upstream.seen[0].body == BODY
        assert upstream.seen[0].header(b"transfer-encoding") == b"chunked"


def test_head_and_get_pass() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        full = whole(b'{"data":[]}')
        yield full[: full.index(b"\r\n\r\n") + 4] if request.line.startswith(b"HEAD") else full

    with scripted_upstream(answer) as upstream, proxy_server({"openai": upstream.url}) as proxy:
        assert httpx.head(f"{proxy.url}/openai/v1/models", headers=proxy.headers).headers["content-length"] == "11"
        assert httpx.get(f"{proxy.url}/openai/v1/models", headers=proxy.headers).json() == {"data": []}
        listed = proxy.opened(1)
        assert [(event.metadata["kind"], event.metadata["operation"]) for event in listed] == [("response", "admin")]


def test_a_websocket_is_refused_clearly() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"openai": upstream.url}) as proxy:
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
        lines = ["GET /openai/v1/realtime HTTP/1.1", "Host: proxy", f"x-affidavit-token: {proxy.token}", *upgrade]
        request = "\r\n".join([*lines, "Sec-WebSocket-Version: 13", "", ""]).encode()
        with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0), timeout=20) as connection:
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 501 ")
        assert upstream.seen == []


@pytest.mark.parametrize("path", ["/", "/nobody/v1/messages", "/t/", "/t/aff_x/nobody/v1", "/anthropi"])
def test_a_path_without_an_upstream_is_refused(path: str) -> None:
    with proxy_server({"anthropic": "http://127.0.0.1:9"}) as proxy:
        response = httpx.get(proxy.url + path)
        assert response.status_code == 404
        assert "/anthropic/…" in response.json()["error"]["message"]


def test_a_token_in_the_base_url() -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        response = httpx.post(f"{proxy.url}/t/{proxy.token}/anthropic/v1/messages?a=b", content=BODY)
        assert response.status_code == 200
        assert upstream.seen[0].line == b"POST /v1/messages?a=b HTTP/1.1"
        for event in proxy.opened(2):
            assert proxy.token not in json.dumps(event.metadata)
            assert proxy.token.encode() not in (event.source or b"")


@pytest.mark.parametrize("token", ["", "aff_0123456789ab_" + "x" * 40, "nonsense"])
def test_without_a_good_token_nothing_goes_upstream(token: str) -> None:
    with scripted_upstream(plain) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        headers = {"x-affidavit-token": token} if token else {}
        response = httpx.post(f"{proxy.url}/anthropic/v1/messages", headers=headers, content=BODY)
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"
        assert upstream.seen == []
        assert proxy.opened() == []


def test_an_upstream_bound_to_a_tenant_needs_no_token_on_loopback() -> None:
    with scripted_upstream(plain) as upstream:
        bound = Upstream("anthropic", upstream.url, "anthropic", Bound("acme", "laptop"))
        with proxy_server({}, ProxyConfig((bound,))) as proxy:
            assert httpx.post(f"{proxy.url}/anthropic/v1/messages", content=BODY).status_code == 200
            prompt = proxy.opened(2)[0].metadata
            assert (prompt["tenant"], prompt["gateway"], prompt["token_id"]) == ("acme", "laptop", "bound:anthropic")
