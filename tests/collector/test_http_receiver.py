"""The receiver over a real server on loopback: tokens, framings, limits, encodings, faults, acknowledgements."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import zstandard
from collector_server import RunningCollector, collector_server
from faults import Fault, Faults
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.auth import Tokens, mint_token
from collector.body import BodyLimits
from collector.formats import http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.server import _listen
from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import Offset, parse_shard

EVENT = {"kind": "prompt", "id": "e-1", "session_id": "s-1", "content": {"messages": ["hello"]}}


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with collector_server("native") as running:
        yield running


def post(collector: RunningCollector, body: bytes, path: str = "/v1/events", **headers: str) -> httpx.Response:
    return httpx.post(
        collector.url + path, content=body, headers=collector.headers | {"content-type": "application/json"} | headers
    )


def raw(collector: RunningCollector, head: str, *pieces: bytes, close: bool = False) -> bytes:
    """Send exact bytes and read until the server closes or answers once."""
    host, port = collector.url.removeprefix("http://").split(":")
    token = collector.headers["Authorization"]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall((head + f"Host: x\r\nAuthorization: {token}\r\n\r\n").encode())
        for piece in pieces:
            connection.sendall(piece)
        if close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while b"\r\n\r\n" not in received or not _whole(received):
            more = connection.recv(65536)
            if not more:
                break
            received += more
        return received


def _whole(response: bytes) -> bool:
    head, _, body = response.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return len(body) >= int(length.split(b":")[1])


def test_one_event_is_answered_with_its_place_on_the_bus(collector: RunningCollector) -> None:
    response = post(collector, json.dumps(EVENT).encode())
    assert response.status_code == 200
    item = response.json()["items"][0]
    assert (item["index"], item["status"]) == (0, "accepted")
    messages = asyncio.run(_read(collector, item["position"]))
    assert str(messages.event_id.hex()) == item["event_id"].replace("-", "")


async def _read(collector: RunningCollector, position: dict[str, Any]) -> Any:
    shard, offset = parse_shard(position["shard"]), Offset(position["offset"])
    return (await collector.bus.read(shard, offset, max_records=1, max_bytes=1 << 20))[0]


def test_the_same_event_sent_again_has_the_same_id_and_another_place(collector: RunningCollector) -> None:
    first, second = (post(collector, json.dumps(EVENT).encode()).json()["items"][0] for _ in range(2))
    assert first["event_id"] == second["event_id"]
    assert first["position"] != second["position"]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"kind":"prompt"},{"kind":"nonsense"},{"kind":"response"}]',
        b'{"kind":"prompt"}\n{"kind":"nonsense"}\r\n{"kind":"response"}\n',
        b'\xef\xbb\xbf{"kind":"prompt"}{"kind":\n"nonsense"} {"kind":"response"}',
    ],
    ids=["array", "ndjson", "concatenated with a byte order mark"],
)
def test_every_framing_gives_an_item_per_event(collector: RunningCollector, body: bytes) -> None:
    answer = post(collector, body).json()
    assert [item["status"] for item in answer["items"]] == ["accepted", "unparsed", "accepted"]
    assert (answer["accepted"], answer["unparsed"]) == (2, 1)
    assert "kind" in answer["items"][1]["error"]


def test_what_cannot_be_normalised_is_on_the_bus_with_its_exact_bytes() -> None:
    with collector_server("native") as collector:
        response = post(collector, b'{"kind": "prompt", "user_emial": 1}')
        assert response.status_code == 400
        assert "did you mean user_email" in response.json()["items"][0]["error"]
        (event,) = collector.opened()
        assert event.source == b'{"kind": "prompt", "user_emial": 1}'
        assert event.metadata["kind"] == "unparsed"
        assert "user_emial" in event.metadata["error_message"]


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]"])
def test_a_body_without_events_is_an_error(collector: RunningCollector, body: bytes) -> None:
    response = post(collector, body)
    assert response.status_code == 400
    assert "expected at least one" in response.json()["error"]


def test_a_token_as_the_password_of_basic_is_as_good_as_a_bearer_token(collector: RunningCollector) -> None:
    response = httpx.post(collector.url + "/v1/events", content=b'{"kind":"prompt"}', auth=("anybody", collector.token))
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (None, "got no token"),
        ("Digest username=dana", "another scheme"),
        ("Basic dXNlcjpwYXNz", "not one of ours"),
        ("Basic dXNlcg==", "not user:password"),
        ("Basic ü", "not user:password"),
        ("Bearer hunter2hunter2", "not one of ours"),
        ("Bearer aff_0123456789ab_" + "x" * 43, "does not know"),
    ],
)
def test_without_a_valid_token_nothing_is_read(
    collector: RunningCollector, authorization: str | None, says: str
) -> None:
    headers = {"authorization": authorization.encode()} if authorization else {}
    response = httpx.post(collector.url + "/v1/events", content=b"{}", headers=headers)
    assert response.status_code == 401
    assert says in response.json()["error"]
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert authorization is None or authorization.split()[1] not in response.text


def test_a_chunked_body_without_a_length_is_read_to_its_end(collector: RunningCollector) -> None:
    pieces = [b'5\r\n{"kin\r\n', b"d\r\n", b'd": "prompt"}\r\n', b"0\r\n\r\n"]
    answer = raw(collector, "POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", *pieces)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"accepted":1' in answer


def test_a_body_that_ends_early_is_not_acknowledged() -> None:
    with collector_server("native") as collector:
        head = "POST /v1/events HTTP/1.1\r\nContent-Length: 1000\r\n"
        answer = raw(collector, head, b'{"kind": "prompt"}', close=True)
        assert not answer.startswith(b"HTTP/1.1 2")
        assert collector.opened() == []


def test_broken_chunks_are_refused(collector: RunningCollector) -> None:
    answer = raw(collector, "POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n")
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]


def test_a_head_without_end_is_refused(collector: RunningCollector) -> None:
    answer = raw(collector, "POST /v1/events HTTP/1.1\r\nX-Long: " + "y" * 200_000 + "\r\n")
    assert b" 400 " in answer.split(b"\r\n")[0]


ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": lambda data: data,
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_encodings_are_undone(collector: RunningCollector, coding: str) -> None:
    response = post(collector, ENCODERS[coding](json.dumps(EVENT).encode()), **{"content-encoding": coding})
    assert response.status_code == 200


def test_several_encodings_and_gzip_members_are_undone(collector: RunningCollector) -> None:
    half = json.dumps(EVENT).encode()
    twice = zstandard.ZstdCompressor().compress(gzip.compress(half[:9]) + gzip.compress(half[9:]))
    assert post(collector, twice, **{"content-encoding": "gzip, zstd"}).status_code == 200


def test_an_unknown_encoding_is_refused_with_those_that_are_known(collector: RunningCollector) -> None:
    response = post(collector, b"x", **{"content-encoding": "br"})
    assert response.status_code == 415
    assert "gzip" in response.headers["accept-encoding"]


@pytest.mark.parametrize("cut", [1, 10, 30])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_body_that_does_not_inflate_is_recorded_and_refused(coding: str, cut: int) -> None:
    whole = ENCODERS[coding](json.dumps(EVENT).encode() * 3)
    with collector_server("native") as collector:
        response = post(collector, whole[:-cut], **{"content-encoding": coding})
        assert response.status_code == 400
        assert "recorded as unparsed" in response.json()["error"]
        (event,) = collector.opened()
        assert event.source == whole[:-cut]
        assert event.metadata["content_encoding"] == coding


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_costs_no_more_than_the_limit(coding: str) -> None:
    with collector_server("native", limits=BodyLimits(max_bytes=1 << 20)) as collector:
        response = post(collector, ENCODERS[coding](bytes(200 << 20)), **{"content-encoding": coding})
        assert response.status_code == 413
        assert "after decompression" in response.json()["error"]
        assert collector.opened() == []


def test_a_body_beyond_the_limit_is_refused_whether_it_says_so_or_not() -> None:
    with collector_server("native", limits=BodyLimits(max_bytes=1000)) as collector:
        assert post(collector, b" " * 1001).status_code == 413
        head = "POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        answer = raw(collector, head, b"3e9\r\n" + b" " * 1001 + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        assert collector.opened() == []


def test_a_sender_that_goes_silent_is_dropped() -> None:
    with collector_server("native", limits=BodyLimits(idle_seconds=0.2)) as collector:
        answer = raw(collector, "POST /v1/events HTTP/1.1\r\nContent-Length: 100\r\n", b"{")
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"then nothing" in answer


@pytest.mark.parametrize("path", ["/v1/events", "/v1/litellm"])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_when_the_bus_fails_the_sender_is_asked_to_come_back(path: str, fault: Fault) -> None:
    with collector_server("native", Faults({1: fault})) as collector:
        response = post(collector, json.dumps(EVENT).encode(), path)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        again = post(collector, json.dumps(EVENT).encode())
        assert again.status_code == 200
        ids = {event.metadata["event_id"] for event in collector.opened() if event.metadata["kind"] == "prompt"}
        assert ids == {again.json()["items"][0]["event_id"]}


def test_many_senders_at_once_are_all_on_the_bus_once_and_numbered_without_gaps() -> None:
    async def send(url: str, headers: dict[str, str]) -> list[str]:
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:

            async def one(number: int) -> list[str]:
                events = [{"kind": "prompt", "id": f"{number}/{at}"} for at in range(20)]
                answer = await client.post(url + "/v1/events", json=events)
                return [item["event_id"] for item in answer.json()["items"]]

            answers = await asyncio.gather(*(one(number) for number in range(30)))
        return [event_id for answer in answers for event_id in answer]

    with collector_server("native") as collector:
        acknowledged = asyncio.run(send(collector.url, collector.headers))
        events = collector.opened()
    assert sorted(acknowledged) == sorted(event.metadata["event_id"] for event in events)
    assert [event.metadata["collector_sequence"] for event in events] == list(range(600))


def test_litellm_is_told_the_counts_and_its_nulls_are_on_record() -> None:
    record = {"id": "c-1", "litellm_call_id": "k", "call_type": "completion", "status": "success", "messages": "hi"}
    with collector_server("litellm") as collector:
        body = json.dumps([record, None, None]).encode()
        response = post(collector, body, "/ingest/litellm")
        assert response.status_code == 200
        assert response.json() == {
            "accepted": 1,
            "unparsed": 2,
            "events": 4,
            "errors": [
                {"index": at, "error": "got null: LiteLLM failed to build the payload of a call; its own log says why"}
                for at in (1, 2)
            ],
        }
        unparsed = [event for event in collector.opened() if event.metadata["kind"] == "unparsed"]
        assert [event.source for event in unparsed] == [b"null", b"null"]
        assert len({event.metadata["event_id"] for event in unparsed}) == 2


def test_answers_do_not_wait_for_a_delayed_acknowledgement() -> None:
    """asyncio switches Nagle's algorithm off only for a listener that says it is TCP; with it on, each answer waits."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_in_use_is_refused_with_the_fix() -> None:
    with (
        _listen("127.0.0.1", 0) as taken,
        pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*; choose another port"),
    ):
        _listen("127.0.0.1", taken.getsockname()[1])


def test_unknown_paths_and_methods_are_answered_with_a_hint(collector: RunningCollector) -> None:
    missing = httpx.post(collector.url + "/v1/event")
    assert missing.status_code == 404
    assert "did you mean /v1/events" in missing.json()["error"]
    wrong = httpx.get(collector.url + "/v1/events")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_the_probes_and_the_documentation_are_served(collector: RunningCollector) -> None:
    assert httpx.get(collector.url + "/healthz").json() == {"status": "ok"}
    assert httpx.get(collector.url + "/readyz").json() == {"status": "ready"}
    document = httpx.get(collector.url + "/openapi.json").json()
    assert {"/v1/events", "/v1/litellm", "/v1/logs", "/v1/traces"} <= set(document["paths"])
    page = httpx.get(collector.url + "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in document["paths"]:
        assert path in page.text
    assert "://" not in page.text, "the page loads nothing from anywhere"


async def test_readiness_says_what_is_away() -> None:
    async def ready() -> None:
        raise Unavailable("the bus is away")

    ingest = Ingest(MemoryBus(), MemoryKeys(), collector_id="c-1")
    app = create_app(Receiver(ingest, Tokens(MemoryControl()), ready), http_routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        response = await client.get("/readyz")
    ingest.close()
    assert (response.status_code, response.json()["error"]) == (503, "the bus is away")
    assert response.headers["retry-after"] == "1"


async def test_a_token_that_may_only_read_does_not_send() -> None:
    async def ready() -> None:
        """Always."""

    control, bus = MemoryControl(), MemoryBus()
    minted = mint_token("acme", "g", ["query"], now_ms=0)
    control.add_token(minted.row)
    ingest = Ingest(bus, MemoryKeys(), collector_id="c-1")
    app = create_app(Receiver(ingest, Tokens(control), ready), http_routes())
    headers = {"authorization": f"Bearer {minted.text}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        response = await client.post("/v1/events", json=EVENT, headers=headers)
    ingest.close()
    assert (response.status_code, "expected ingest" in response.json()["error"]) == (403, True)
    assert (await bus.bounds(parse_shard("events/0"))).end == 0
