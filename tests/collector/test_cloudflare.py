"""Cloudflare's logs: encrypted lines with and without the key, portals, REST logs. Documented payloads; an account was
not at hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudflare_lines import ANSWERED, ASKED, PLAIN, line, private_key, sealed
from collector_server import collector_server
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from kept_leaves import assert_kept, distinct

from collector.catalogue import Options
from collector.cloudflare_keys import decrypt_with, load_private_keys
from collector.formats import http_routes
from collector.gateways import Draft, Received, Unit
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.cloudflare_fields import Encrypted
from schemas.errors import ConfigurationError

NOW = 1_787_305_200_125_000
OPENING = decrypt_with([private_key()])


def received() -> Received:
    return Received("acme", "cf", "t-1", "http", "192.0.2.1", "application/json", "", NOW, "cloudflare", "ab" * 32)


def unit_of(record: object, decrypt: Any = None) -> Unit:
    (unit,) = CloudflareFormat(decrypt).read(json.dumps(record).encode(), received()).units
    assert unit.error == ""
    return unit


def drafts_of(record: object, decrypt: Any = None) -> dict[str, Draft]:
    """The first draft of each kind."""
    found: dict[str, Draft] = {}
    for draft in unit_of(record, decrypt).drafts:
        found.setdefault(draft.kind, draft)
    return found


def test_an_encrypted_line_is_opened_with_the_key() -> None:
    record = line(private_key())
    unit = unit_of(record, OPENING)
    assert unit.source == json.dumps(record).encode(), "the evidence is the ciphertext as received"
    drafts = drafts_of(record, OPENING)
    assert drafts["prompt"].content == ASKED
    assert drafts["response"].content == ANSWERED
    metadata = drafts["response"].metadata
    assert (metadata["content_state"], metadata["input_tokens"], metadata["http_status"]) == ("full", 9, 200)
    assert (metadata["end_user_id"], metadata["assurance"]) == ("dana", "client_asserted")
    assert (metadata["workspace_id"], metadata["provider"], metadata["operation"]) == ("prod", "openai", "chat")
    assert drafts["prompt"].metadata["extras"]["Metadata.team"] == '"payments"'
    assert drafts["prompt"].metadata["occurred_at"] == 1787302800000000


def test_without_the_key_it_is_recorded_as_encrypted() -> None:
    record = line(private_key())
    drafts = drafts_of(record)
    for kind in ("prompt", "response"):
        assert drafts[kind].content is None
        gaps = json.loads(drafts[kind].metadata["content_gaps"])
        assert gaps[0]["state"] == drafts[kind].metadata["content_state"] == "encrypted"
    sizes = {gap["pointer"]: gap["original_size"] for gap in json.loads(drafts["prompt"].metadata["content_gaps"])}
    assert sizes == {
        "/content": len(json.dumps(ASKED)),
        "/extras/Metadata": len('{"user_id": "dana", "team": "payments"}'),
    }
    assert drafts["response"].metadata["model_routed"] == "gpt-5", "what is in the clear is read all the same"


def test_another_key_opens_nothing_and_says_so() -> None:
    drafts = drafts_of(line(private_key("other")), OPENING)
    assert "no configured private key opens it" in drafts["prompt"].metadata["content_gaps"]


def test_while_keys_are_changed_lines_under_both_are_opened() -> None:
    both = decrypt_with([private_key(), private_key("other")])
    for name in ("first", "other"):
        assert drafts_of(line(private_key(name)), both)["prompt"].content == ASKED


def test_the_type_of_an_encrypted_field_may_be_missing() -> None:
    record = line(private_key())
    del record["RequestBody"]["type"]
    assert drafts_of(record, OPENING)["prompt"].content == ASKED


@pytest.mark.parametrize("part", ["key", "iv", "data"])
def test_a_damaged_field_stays_closed(part: str) -> None:
    record = line(private_key())
    good = record["RequestBody"][part]
    record["RequestBody"][part] = ("A" if good[0] != "A" else "B") + good[1:]
    assert drafts_of(record, OPENING)["prompt"].metadata["content_state"] == "encrypted"
    record["RequestBody"][part] = "%%%"
    kept = drafts_of(record, OPENING)["prompt"]
    assert kept.content == record["RequestBody"], "what is no base64 is no ciphertext, and is kept as it is"


def test_no_leaf_of_a_line_is_lost() -> None:
    record = distinct(PLAIN, keep=["/StatusCode", "/Datetime"]) | {
        "RequestBody": {"a": "x1"},
        "ResponseBody": {"b": "y1"},
    }
    assert_kept(record, unit_of(record).drafts)
    for strange in ({"x": "a lone value"}, ["a lone value"], "a lone value", 424_242):
        for name in PLAIN:
            assert_kept(record | {name: strange}, unit_of(record | {name: strange}).drafts)


def test_bodies_that_the_client_kept_out_of_the_log_are_gaps() -> None:
    drafts = drafts_of(PLAIN)
    assert drafts["prompt"].metadata["content_state"] == "not_captured"
    assert "cf-aig-collect-log-payload" in drafts["prompt"].metadata["content_gaps"]


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (424, {}, "dlp"),
        (400, {"success": False, "error": [{"code": 2029, "message": "Request content blocked"}]}, "dlp"),
        (400, {"error": {"code": 2016, "message": "Prompt blocked"}}, "guardrails"),
    ],
)
def test_what_a_policy_stopped_is_blocked(status: int, body: dict[str, Any], name: str) -> None:
    drafts = drafts_of(line(StatusCode=status, ResponseBody=json.dumps(body)))
    assert (drafts["guardrail"].metadata["guardrail_name"], drafts["guardrail"].metadata["outcome"]) == (
        name,
        "blocked",
    )
    assert (drafts["response"].metadata["outcome"], drafts["response"].metadata["error_stage"]) == (
        "blocked",
        "guardrail",
    )


@pytest.mark.parametrize("stamp", ["2026-08-21T09:00:00Z", 1787302800, 1787302800_000_000_000])
def test_times_in_each_format_of_logpush(stamp: object) -> None:
    assert drafts_of(line(Datetime=stamp))["prompt"].metadata["occurred_at"] == 1787302800000000


PORTAL: dict[str, Any] = {
    "Datetime": "2026-08-21T09:00:00Z",
    "Method": "tools/call",
    "ToolCallName": "query_db",
    "Success": False,
    "Error": "permission denied",
    "SessionID": "191c4850",
    "PortalID": "p-1",
    "PortalAUD": "aud1",
    "ServerID": "s-1",
    "ServerAUD": "aud2",
    "ServerURL": "https://mcp.example/mcp",
    "ServerResponseDurationMs": 120,
    "UserEmail": "dana@example.com",
    "UserID": "u-17",
    "ClientIP": "198.51.100.7",
    "ClientCountry": "DE",
    "ColoCode": "FRA",
    "PromptGetName": "",
    "ResourceReadURI": "",
}


def test_a_portals_tool_call_is_a_call_and_its_result_without_their_content() -> None:
    drafts = unit_of(PORTAL).drafts
    assert [draft.kind for draft in drafts] == ["tool_call", "tool_result"]
    assert_kept(PORTAL, drafts, dropped=["/Success", "/Method"])
    call, result = (draft.metadata for draft in drafts)
    assert (call["tool_name"], call["user_email"], call["assurance"]) == (
        "query_db",
        "dana@example.com",
        "gateway_authenticated",
    )
    assert (result["tool_is_error"], result["outcome"], result["tool_duration_ms"]) == (True, "error", 120)
    assert {call["content_state"], result["content_state"]} == {"not_captured"}


@pytest.mark.parametrize(
    ("method", "kind"), [("resources/read", "context"), ("prompts/get", "context"), ("tools/list", "session")]
)
def test_a_portals_other_methods(method: str, kind: str) -> None:
    record = PORTAL | {
        "Method": method,
        "ToolCallName": "",
        "ResourceReadURI": "file:///x",
        "Success": True,
        "Error": "",
    }
    (draft,) = unit_of(record).drafts
    assert (draft.kind, draft.metadata["operation"], draft.metadata["outcome"]) == (kind, f"mcp.{method}", "ok")
    assert_kept(record, [draft], dropped=["/Success", "/Method"])


LOG: dict[str, Any] = {
    "id": "01JADMCQQQBWH3NXZ5GCRN98DP",
    "created_at": "2026-08-21T09:00:00.404Z",
    "provider": "openai",
    "model": "gpt-5",
    "model_type": "chat",
    "path": "chat/completions",
    "success": True,
    "status_code": 200,
    "cached": False,
    "duration": 517,
    "tokens_in": 9,
    "tokens_out": 3,
    "cost": 0.0004,
    "metadata": '{"user": "dana", "team": "x"}',
    "step": 0,
    "request_type": "chat/completions",
    "request_head": json.dumps(ASKED),
    "request_head_complete": True,
    "request_size": 80,
    "response_head": json.dumps(ANSWERED)[:60],
    "response_head_complete": False,
    "response_size": 4711,
}


def test_a_log_of_the_rest_api() -> None:
    unit = unit_of(LOG)
    assert unit.source_id == '["01JADMCQQQBWH3NXZ5GCRN98DP"]'
    drafts = drafts_of(LOG)
    assert_kept(LOG, unit.drafts, dropped=["/step", "/success", "/metadata", "/request_head"])
    metadata = drafts["response"].metadata
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["usage_semantics"]) == (9, 3, "total")
    assert (metadata["cost_amount"], metadata["latency_ms"], metadata["attempt"]) == (0.0004, 517, 1)
    assert (metadata["content_state"], drafts["prompt"].metadata["content_state"]) == ("truncated", "full")
    assert json.loads(metadata["content_gaps"])[0]["original_size"] == 4711
    assert drafts["prompt"].metadata["end_user_id"] == "dana"


def test_a_page_of_the_rest_api_is_refused_with_the_remedy() -> None:
    (unit,) = CloudflareFormat().read(json.dumps({"result": [LOG], "success": True}).encode(), received()).units
    assert "send each element of result by itself" in unit.error


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("named", [True, False])
def test_gzipped_lines_over_http(method: str, named: bool) -> None:
    body = gzip.compress("\n".join(json.dumps(record) for record in (line(), PORTAL)).encode())
    with collector_server("cloudflare") as collector:
        headers = collector.headers | ({"content-encoding": "gzip"} if named else {})
        for _ in range(2):
            answer = httpx.request(method, f"{collector.url}/v1/cloudflare", content=body, headers=headers)
            assert (answer.status_code, answer.json()["accepted"], answer.json()["unparsed"]) == (200, 2, 0)
        events = collector.opened()
    sources = [event.source for event in events if event.source is not None]
    assert sources == [json.dumps(record).encode() for record in (line(), PORTAL)] * 2
    ids = [event.metadata["event_id"] for event in events]
    assert len(ids) == 2 * len(set(ids)), "sent again, the same lines have the same ids"


def test_the_file_that_logpush_tries_a_destination_with_is_welcome() -> None:
    """``test.txt.gz`` with ``{"content":"tests"}``; a job is made only if the answer is a 2xx."""
    with collector_server("cloudflare") as collector:
        body = gzip.compress(b'{"content":"tests"}')
        answer = httpx.post(f"{collector.url}/v1/cloudflare", content=body, headers=collector.headers)
        assert answer.status_code == 200
        (event,) = collector.opened()
        assert (event.metadata["kind"], event.metadata["operation"]) == ("session", "logpush_validation")


def test_a_cut_or_boundless_gzip_is_kept_as_it_came() -> None:
    for body in (gzip.compress(b"{}")[:-5], gzip.compress(bytes(65 << 20))):
        reading = CloudflareFormat().read(body, received())
        assert reading.error
        assert reading.units[0].source == body


def test_a_file_of_the_private_key(tmp_path: Path) -> None:
    pem = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    decrypt = load_private_keys([tmp_path / "key.pem"])
    (route,) = [one for one in http_routes(Options(decrypt)) if one.paths[0] == "/v1/cloudflare"]
    (unit,) = route.format.read(json.dumps(line(private_key())).encode(), received()).units
    assert unit.drafts[0].content == ASKED
    assert http_routes(), "the table can be had without settings"


def test_files_that_are_no_such_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    with pytest.raises(ConfigurationError, match=r"cannot read .*key\.pem as a private key"):
        load_private_keys([file])
    file.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"cannot read .*key\.pem as a private key"):
        load_private_keys([file])
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for key in (ec.generate_private_key(ec.SECP256R1()), weak):
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        with pytest.raises(ConfigurationError, match="not RSA of at least 2048 bits"):
            load_private_keys([file])


def test_a_wrapped_key_of_the_wrong_size_opens_nothing() -> None:
    field = sealed("x", private_key())
    assert OPENING(Encrypted(b"short", b"iv", field["data"].encode())) is None
