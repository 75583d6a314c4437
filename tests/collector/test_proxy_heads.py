"""What the proxy decides without a network: headers, paths, upstreams, refusals, and what it tells of losses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.losses import Losses
from collector.proxy import UPSTREAMS, ProxyConfig, Upstream
from collector.proxy.heads import credential, end_to_end, for_upstream, on_record
from collector.proxy.losses import noting
from collector.proxy.recorder import Loss
from collector.proxy.recording import Sender
from collector.proxy.refusals import refusal
from collector.proxy.routing import destinations, route
from collector.proxy.tape import Tape, TapeStore
from schemas.errors import ConfigurationError

KNOWN = destinations(ProxyConfig().by_name())


def test_headers_of_one_connection_stay_on_it() -> None:
    kept = [(b"x-request", b"1"), (b"via", b"1.1 a"), (b"content-encoding", b"br")]
    dropped = [
        (b"Connection", b"close, X-Secret-Hop"),
        (b"x-secret-hop", b"1"),
        *((name, b"x") for name in (b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection")),
        (b"proxy-authorization", b"Basic x"),
    ]
    assert end_to_end([*kept[:1], *dropped, *kept[1:]]) == kept


def test_a_request_in_chunks_loses_a_length_that_contradicts() -> None:
    headers = [(b"host", b"proxy"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    assert for_upstream(headers, b"api") == [(b"host", b"api"), (b"transfer-encoding", b"chunked")]


def test_ours_do_not_go_upstream() -> None:
    headers = [(b"x-affidavit-token", b"aff_x"), (b"x-affidavit-user", b"dana"), (b"expect", b"100-continue")]
    assert for_upstream(headers, b"api") == [(b"host", b"api")]


def test_headers_with_credentials_are_named_and_not_kept() -> None:
    kept, removed = on_record([(b"X-Api-Key", b"k"), (b"Cookie", b"c"), (b"accept", b"*/*")])
    assert (kept, removed) == ([(b"accept", b"*/*")], ["x-api-key", "cookie"])


def test_a_short_key_has_no_fingerprint_to_guess_it_by() -> None:
    assert credential([(b"x-api-key", b"secret")], b"key") == ("x-api-key", "", "")
    assert credential([(b"accept", b"*/*")], b"key") is None


@pytest.mark.parametrize(
    ("path", "target", "token"),
    [
        (b"/anthropic/v1/messages", b"/v1/messages", ""),
        (b"/anthropic", b"/", ""),
        (b"/anthropic/", b"/", ""),
        (b"/anthropic//v1", b"//v1", ""),
        (b"/t/aff_1_x/anthropic/v1/%2e%2e/x", b"/v1/%2e%2e/x", "aff_1_x"),
    ],
)
def test_paths(path: bytes, target: bytes, token: str) -> None:
    routed = route(KNOWN, path, b"")
    assert routed is not None
    assert (routed.target, routed.token) == (target, token)
    assert routed.destination.origin == "https://api.anthropic.com"


@given(path=st.binary(max_size=30), query=st.binary(max_size=10))
def test_any_path_has_an_answer(path: bytes, query: bytes) -> None:
    routed = route(KNOWN, path, query)
    assert routed is None or routed.target.startswith(b"/")


@pytest.mark.parametrize(
    "url", ["api.anthropic.com", "ftp://x", "https://", "https://u:p@x", "https://x?q=1", "https://x:y"]
)
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected https://"):
        destinations({"a": Upstream("a", url)})


@pytest.mark.parametrize("name", ["", "t", "a/b", "a b", "é"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match="expected letters, digits and dashes"):
        destinations({name: Upstream(name, "https://x")})


def test_ports_paths_and_addresses_of_base_urls() -> None:
    found = destinations({"a": Upstream("a", "http://[::1]:8080/base/"), "b": Upstream("b", "https://host:443")})
    assert (found[b"a"].origin, found[b"a"].host, found[b"a"].prefix) == ("http://[::1]:8080", b"[::1]:8080", b"/base")
    assert found[b"b"].host == b"host:443"


def test_the_usual_upstreams() -> None:
    assert [(upstream.name, upstream.api) for upstream in UPSTREAMS] == [
        ("anthropic", "anthropic"),
        ("openai", "openai"),
    ]


def test_refusals_in_the_words_of_each_api() -> None:
    assert json.loads(refusal("anthropic", 503, "x").body)["error"]["type"] == "overloaded_error"
    assert json.loads(refusal("openai", 401, "x").body)["error"]["type"] == "invalid_request_error"
    assert json.loads(refusal("mcp", 502, "x").body)["jsonrpc"] == "2.0"
    assert refusal("", 503, "x", retry_after=2).headers["retry-after"] == "2"


def test_losses_are_told_like_those_of_other_senders() -> None:
    losses = Losses()
    lose = noting(losses)
    lose(Loss(Sender("acme", "proxy", "t-1"), "openai", "e-1", "ab", 7, 1, "the bus is away"))
    lose(Loss(None, "openai", "e-2", "", 7, 1, "the process stopped"))
    acts = [act for act, _ in losses.acts()]
    assert [(act.tenant, act.details["webhook"]) for act in acts] == [
        ("acme", "proxy/openai"),
        ("affidavit", "proxy/openai"),
    ]
    assert losses.snapshot().lost == 2


@given(sizes=st.lists(st.integers(0, 3000), max_size=30), memory=st.integers(0, 20_000), disk=st.integers(0, 40_000))
def test_tapes_stay_within_their_bounds_and_forget_nothing_silently(sizes: list[int], memory: int, disk: int) -> None:
    store = TapeStore(None, memory, disk)
    tapes = [Tape(store) for _ in range(3)]
    written = [b"", b"", b""]
    for at, size in enumerate(sizes):
        piece = bytes([at]) * (size * 10)
        tapes[at % 3].write(piece)
        written[at % 3] += piece
        assert store.disk_used <= disk
        assert store.memory_used <= memory + 3 * 16 * 1024
    for tape, whole in zip(tapes, written, strict=True):
        assert len(tape.buffer()) + tape.lost == len(whole)
        assert whole.startswith(bytes(tape.buffer()))
        tape.close()
    assert (store.memory_used, store.disk_used) == (0, 0)
