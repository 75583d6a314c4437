"""Bedrock's invocation records: what becomes of each, that no leaf is lost, and that nothing makes the format fail.

The records are our own, written to the documented shapes; no call was made to AWS.
"""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from bedrock_records import CONVERSE, FOLDER, INPUT, INVOKE, OUTPUT, PDF, REQUEST, STREAM
from collector_server import collector_server
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.assemble import Stamp, assemble
from collector.gateways import Attachment, Draft, Received, Unit
from collector.gateways.bedrock import BedrockFormat
from collector.routes import Webhook

NOW = 1_787_305_200_125_000
DERIVED = ("/schemaType", "/input/inputBodyJson/messages/2/content/0/toolResult/status")


def received(**attachments: Attachment) -> Received:
    return Received(
        *("acme", "bedrock", "t-1", "objects", "", "application/json", "", NOW, "bedrock", "ab" * 32),
        attachments={key.replace("REF", "s3://"): value for key, value in attachments.items()},
    )


def with_attached(attachments: dict[str, Attachment]) -> Received:
    return Received(
        *("acme", "bedrock", "t-1", "objects", "", "application/json", "", NOW, "bedrock"), attachments=attachments
    )


def read(record: object, attachments: dict[str, Attachment] | None = None) -> list[Unit]:
    return BedrockFormat().read(json.dumps(record).encode(), with_attached(attachments or {})).units


def unit_of(record: object) -> Unit:
    (unit,) = read(record)
    assert unit.error == ""
    return unit


def drafts_of(record: object) -> dict[str, Draft]:
    """The first draft of each kind."""
    found: dict[str, Draft] = {}
    for draft in unit_of(record).drafts:
        found.setdefault(draft.kind, draft)
    return found


def changed(record: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return copy.deepcopy(record) | fields


def invoked(model: str, asked: Any, answered: Any, operation: str = "InvokeModel") -> dict[str, Any]:
    """A record of a model's own API."""
    return changed(
        INVOKE,
        operation=operation,
        modelId=model,
        input={"inputBodyJson": asked, "inputTokenCount": 5},
        output={"outputBodyJson": answered, "outputTokenCount": 7},
    )


def gaps_of(draft: Draft) -> list[tuple[str, str]]:
    return [(gap["pointer"], gap["state"]) for gap in json.loads(draft.metadata.get("content_gaps") or "[]")]


def test_an_exchange_becomes_its_events_in_causal_order() -> None:
    kinds = [draft.kind for draft in unit_of(CONVERSE).drafts]
    assert kinds == [
        *("prompt", "tool_result", "context", "context", "guardrail", "guardrail", "response", "tool_call"),
    ]
    assert [draft.kind for draft in unit_of(INVOKE).drafts] == ["prompt", "response", "tool_call"]


@pytest.mark.parametrize("record", [CONVERSE, INVOKE])
def test_no_leaf_of_a_record_is_lost(record: dict[str, Any]) -> None:
    words = ("/operation", "/output/outputBodyJson/0/type", "/output/outputBodyJson/1/content_block/type")
    types = tuple(f"/output/outputBodyJson/{at}/type" for at in range(len(STREAM)))
    deltas = tuple(f"/output/outputBodyJson/{at}/delta/{name}" for at in (2, 3) for name in ("type", "partial_json"))
    index = tuple(f"/output/outputBodyJson/{at}/index" for at in range(1, 5))
    overwritten = ("/output/outputBodyJson/0/message/usage/output_tokens",)
    framing = (*types, *deltas, *index, *overwritten) if record is INVOKE else ()
    one = distinct(record, keep=(*DERIVED, *words, *framing))
    assert_kept(one, unit_of(one).drafts, dropped=(*DERIVED, *framing))


def test_no_leaf_is_lost_when_a_field_is_of_another_type_than_ever_before() -> None:
    for name in CONVERSE:
        for value in (5, "text", ["list"], {"an": "object"}, True):
            record = changed(CONVERSE) | {name: value}
            for unit in read(record):
                if not unit.error:
                    assert_kept({name: value}, unit.drafts, dropped=("/schemaType",))


def test_who_called_is_the_principal_and_the_session_is_often_the_person() -> None:
    metadata = drafts_of(INVOKE)["prompt"].metadata
    assert metadata["cloud_principal"].endswith("assumed-role/DevBedrock/dana@example.com")
    assert (metadata["user_name"], metadata["user_email"]) == ("dana@example.com", "dana@example.com")
    assert (metadata["roles"], metadata["user_id_kind"]) == (["DevBedrock"], "iam_role_session")
    assert metadata["assurance"] == "provider_authenticated"
    assert metadata["end_user_id"] == "u-17"
    user = drafts_of(changed(CONVERSE, identity={"arn": "arn:aws:iam::1:user/team/sam"}))["prompt"].metadata
    assert (user["user_name"], user["user_id_kind"], user.get("roles")) == ("sam", "iam_user", None)
    old = drafts_of({name: value for name, value in CONVERSE.items() if name != "identity"})["prompt"].metadata
    assert (old["cloud_principal"], old["assurance"]) == ("", "unknown")


def test_what_the_caller_says_of_itself_stays_what_it_says() -> None:
    metadata = drafts_of(CONVERSE)["prompt"].metadata
    assert json.loads(metadata["extras"]["requestMetadata"]) == {"team": "payments"}
    assert "team_id" not in metadata


@pytest.mark.parametrize(
    ("asked", "routed", "deployment"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0", ""),
        ("us.anthropic.claude-x", "anthropic.claude-x", ""),
        ("global.anthropic.claude-x", "anthropic.claude-x", ""),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.meta.llama3", "meta.llama3", "arn"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", "arn"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2.c3", None, "arn"),
    ],
)
def test_a_model_may_be_named_by_a_profile_or_an_arn(asked: str, routed: str | None, deployment: str) -> None:
    metadata = drafts_of(changed(CONVERSE, modelId=asked))["prompt"].metadata
    assert metadata["model_requested"] == asked
    assert metadata.get("model_routed") == routed
    assert metadata.get("deployment_id", "") == (asked if deployment else "")
    assert (metadata["provider"], metadata["model_path"]) == ("aws.bedrock", "bedrock")


def test_input_tokens_leave_out_the_cache_and_are_put_together() -> None:
    for record, write in ((CONVERSE, 7), (INVOKE, 0)):
        metadata = drafts_of(record)["response"].metadata
        assert metadata["input_tokens"] == 18 + 3200 + write
        assert (metadata["input_uncached_tokens"], metadata["cache_read_tokens"]) == (18, 3200)
        assert (metadata["output_tokens"], metadata["usage_semantics"]) == (31, "uncached")
        assert json.loads(metadata["usage_raw"])["inputTokenCount"] == 18


def test_counts_come_from_the_body_where_the_record_has_none() -> None:
    record = changed(CONVERSE)
    for name in ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"):
        del record["input"][name]
    del record["output"]["outputTokenCount"]
    metadata = drafts_of(record)["response"].metadata
    assert (metadata["input_tokens"], metadata["output_tokens"]) == (18, 31)
    anthropic = {"content": [], "usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 2}}
    bare = changed(record, output={"outputBodyJson": anthropic})
    assert drafts_of(bare)["response"].metadata["input_tokens"] == 10


def test_times_and_ids() -> None:
    metadata = drafts_of(INVOKE)["response"].metadata
    assert (metadata["occurred_at"], metadata["time_role"]) == (1787302800000000, "start")
    assert (metadata["latency_ms"], metadata["time_to_first_token_ms"]) == (1450, 610)
    assert metadata["request_id_cloud"] == metadata["exchange_id"] == REQUEST
    assert metadata["request_id_response"] == "msg_bdrk_01X"
    assert (metadata["region"], metadata["served_region"]) == ("us-east-1", "us-west-2")
    assert unit_of(INVOKE).source_id == f"111122223333/us-east-1/{REQUEST}/InvokeModelWithResponseStream"


def test_the_schema_need_not_come_first_nor_at_all() -> None:
    last = {
        **{name: value for name, value in CONVERSE.items() if name != "schemaType"},
        "schemaType": "ModelInvocationLog",
    }
    assert next(draft.kind for draft in unit_of(last).drafts) == "prompt"
    without = {name: value for name, value in CONVERSE.items() if name not in ("schemaType", "schemaVersion")}
    assert unit_of(without).drafts[0].metadata["format_version"] == ""


def test_a_stream_of_anthropic_events_is_put_together() -> None:
    response, call = drafts_of(INVOKE)["response"], drafts_of(INVOKE)["tool_call"]
    assert response.content["content"] == [{"type": "tool_use", "id": "tb-1", "name": "look", "input": {"a": 1}}]
    assert response.content["amazon-bedrock-invocationMetrics"]["firstByteLatency"] == 610
    assert gaps_of(response) == [("/content", "reconstructed")]
    assert (call.metadata["call_id"], call.content) == ("tb-1", {"arguments": {"a": 1}})
    assert (response.metadata["outcome"], response.metadata["stop_reason"]) == ("ok", "tool_call")


def test_a_stream_may_end_with_a_text_that_says_so() -> None:
    record = changed(INVOKE)
    record["output"]["outputBodyJson"] = [*STREAM[:-1], "[DONE]"]
    assert drafts_of(record)["response"].metadata["outcome"] == "ok"
    record["output"]["outputBodyJson"] = STREAM[:-2]
    broken = drafts_of(record)["response"]
    assert (broken.metadata["outcome"], gaps_of(broken)) == ("partial", [("/content", "truncated")])
    failing = [*STREAM[:3], {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}]
    record["output"]["outputBodyJson"] = failing
    failed = drafts_of(record)["response"].metadata
    assert (failed["outcome"], failed["error_type"], failed["error_message"]) == ("error", "overloaded_error", "busy")


def test_a_failed_call_has_a_code_and_no_output() -> None:
    record = {
        name: value for name, value in changed(CONVERSE, errorCode="ThrottlingException").items() if name != "output"
    }
    drafts = unit_of(record).drafts
    assert [draft.kind for draft in drafts] == ["prompt", "tool_result", "context", "context", "response"]
    metadata = drafts[-1].metadata
    assert (metadata["outcome"], metadata["error_code"], metadata["error_stage"]) == (
        *("error", "ThrottlingException", "provider"),
    )


def test_each_assessment_of_a_guardrail_is_an_event() -> None:
    found = [draft for draft in unit_of(CONVERSE).drafts if draft.kind == "guardrail"]
    first, second = (draft.metadata for draft in found)
    assert (first["guardrail_name"], first["guardrail_mode"], first["guardrail_action"]) == (
        "grd-1",
        "input",
        "ANONYMIZED",
    )
    assert (first["dlp_rules"], first["data_categories"], first["dlp_verdict"]) == (
        ["Finance", "EMAIL"],
        ["EMAIL"],
        "masked",
    )
    assert (first["latency_ms"], first["policy_id"], first["policy_version"]) == (250, "grd-1", "3")
    assert (second["guardrail_mode"], second["outcome"], second["dlp_rules"]) == ("output", "blocked", ["CUSTOM_WORD"])
    assert "secret word" not in json.dumps(second)
    assert drafts_of(CONVERSE)["response"].metadata["outcome"] == "blocked"


def test_the_trace_of_a_native_body_and_a_bare_verdict() -> None:
    trace = {"guardrail": {"input": {"g": {"contentPolicy": {"filters": [{"type": "VIOLENCE", "action": "BLOCKED"}]}}}}}
    body = {"content": [], "amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": trace}
    found = drafts_of(invoked("anthropic.claude", {"messages": []}, body))
    assert found["guardrail"].metadata["guardrail_verdict"] == "INTERVENED"
    assert found["guardrail"].metadata["dlp_rules"] == ["VIOLENCE"]
    chunks = [*STREAM[:2], {**STREAM[2], "amazon-bedrock-guardrailAction": "INTERVENED"}, STREAM[5]]
    chunks.append(
        {"type": "message_stop", "amazon-bedrock-trace": trace, "amazon-bedrock-guardrailAction": "INTERVENED"}
    )
    found = drafts_of(invoked("anthropic.claude", {"messages": []}, chunks, "InvokeModelWithResponseStream"))
    assert found["guardrail"].metadata["guardrail_name"] == "g"
    assert found["response"].content["amazon-bedrock-guardrailAction"] == "INTERVENED"
    assert found["response"].metadata["outcome"] == "blocked"
    bare = drafts_of(invoked("m", {"messages": []}, {"amazon-bedrock-guardrailAction": "NONE", "content": []}))
    assert (bare["guardrail"].metadata["guardrail_verdict"], bare["response"].metadata["outcome"]) == ("NONE", "ok")
    masked = changed(CONVERSE)
    del masked["output"]["outputBodyJson"]["trace"]["guardrail"]["outputAssessments"]
    assert drafts_of(masked)["response"].metadata["outcome"] == "ok"  # masking is no blocking


@pytest.mark.parametrize(
    ("answered", "stop", "reason"),
    [
        ({"results": [{"outputText": "hi", "completionReason": "FINISH"}], "inputTextTokenCount": 5}, "FINISH", "stop"),
        ({"generation": "hi", "stop_reason": "length", "prompt_token_count": 5}, "length", "length"),
        ({"outputs": [{"text": "hi", "stop_reason": "stop"}]}, "stop", "stop"),
        ({"generations": [{"text": "hi", "finish_reason": "COMPLETE"}]}, "COMPLETE", "stop"),
        ({"choices": [{"message": {"content": "hi"}, "finish_reason": "tool_calls"}]}, "tool_calls", "tool_call"),
        ({"output": {"message": {"content": [{"text": "hi"}]}}, "stopReason": "end_turn"}, "end_turn", "stop"),
    ],
)
def test_bodies_of_other_models(answered: dict[str, Any], stop: str, reason: str) -> None:
    response = drafts_of(invoked("x", {"prompt": "hello"}, answered))["response"]
    assert response.content == answered
    assert (response.metadata["stop_reason_raw"], response.metadata["stop_reason"]) == (stop, reason)
    assert response.metadata["operation"] == "text_completion"


@pytest.mark.parametrize(
    ("chunks", "stop"),
    [
        ([{"outputText": "he"}, {"outputText": "y", "completionReason": "FINISH"}], "FINISH"),
        ([{"generation": "he"}, {"generation": "y", "stop_reason": "stop"}], "stop"),
        ([{"outputs": [{"text": "he"}]}, {"outputs": [{"text": "y", "stop_reason": "stop"}]}], "stop"),
        ([{"text": "he", "is_finished": False}, {"text": "y", "finish_reason": "COMPLETE"}], "COMPLETE"),
    ],
)
def test_streams_of_other_models_are_kept_and_their_text_is_put_together(chunks: list[Any], stop: str) -> None:
    record = invoked("x", {"prompt": "hello"}, [*chunks, "[DONE]"], "InvokeModelWithResponseStream")
    response = drafts_of(record)["response"]
    assert response.content["text"] == "hey"
    assert response.content["chunks"] == [*chunks, "[DONE]"]
    assert response.metadata["stop_reason_raw"] == stop


def test_a_stream_of_nova_is_put_together_with_its_calls() -> None:
    chunks = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Let "}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": "me look"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "n-1", "name": "look"}}, "contentBlockIndex": 1}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a"'}}, "contentBlockIndex": 1}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ": 1}"}}, "contentBlockIndex": 1}},
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"somethingNew": {"a": 1}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7}, "metrics": {"latencyMs": 90}}},
    ]
    found = drafts_of(invoked("amazon.nova-pro-v1:0", {"messages": []}, chunks, "InvokeModelWithResponseStream"))
    content = found["response"].content
    assert content["output"]["message"]["content"] == [
        {"text": "Let me look"},
        {"toolUse": {"toolUseId": "n-1", "name": "look", "input": {"a": 1}}},
    ]
    assert content["stream_rest"] == [{"somethingNew": {"a": 1}}]
    assert found["tool_call"].content == {"arguments": {"a": 1}}
    assert (found["response"].metadata["outcome"], found["response"].metadata["latency_ms"]) == ("ok", 90)
    broken = drafts_of(invoked("amazon.nova", {"messages": []}, chunks[:3], "InvokeModelWithResponseStream"))
    assert broken["response"].metadata["outcome"] == "partial"


def test_a_stream_of_an_openai_model_is_put_together() -> None:
    one = {"id": "c-1", "object": "chat.completion.chunk", "model": "gpt-oss"}
    chunks = [
        {**one, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "he"}}]},
        {**one, "choices": [{"index": 0, "delta": {"content": "y"}, "finish_reason": "stop"}]},
    ]
    response = drafts_of(invoked("openai.gpt-oss", {"messages": []}, chunks, "InvokeModelWithResponseStream"))[
        "response"
    ]
    assert response.content["choices"][0]["message"]["content"] == "hey"


def test_tool_results_are_the_new_ones_with_their_status() -> None:
    (result,) = [draft for draft in unit_of(CONVERSE).drafts if draft.kind == "tool_result"]
    assert (result.metadata["call_id"], result.metadata["tool_is_error"]) == ("t-0", False)
    assert result.content == {"result": [{"json": {"place": "Paris, FR"}}]}
    record = changed(CONVERSE)
    record["input"]["inputBodyJson"]["messages"][2]["content"][0]["toolResult"]["status"] = "error"
    assert drafts_of(record)["tool_result"].metadata["tool_is_error"] is True


def test_documents_are_context_and_say_what_is_not_there() -> None:
    document, image = [draft for draft in unit_of(CONVERSE).drafts if draft.kind == "context"]
    assert (document.metadata["document_source"], document.metadata["document_label"]) == (PDF, "atlas")
    assert gaps_of(document) == [("/content/document", "not_captured")]
    assert image.metadata["document_sha256"] == hashlib.sha256(b"png").hexdigest()
    assert "bytes" not in image.content["document"]["image"]["source"]


def offloaded(content_type: str = "application/json") -> dict[str, Any]:
    return changed(
        CONVERSE,
        input={"inputContentType": content_type, "inputBodyS3Path": INPUT, "inputTokenCount": 18},
        output={"outputContentType": content_type, "outputBodyS3Path": OUTPUT, "outputTokenCount": 31},
    )


def test_bodies_in_objects_of_their_own_are_the_content_and_their_bytes_are_units() -> None:
    asked, answered = CONVERSE["input"]["inputBodyJson"], CONVERSE["output"]["outputBodyJson"]
    attached = {
        INPUT: Attachment(gzip.compress(json.dumps(asked).encode())),
        OUTPUT: Attachment(json.dumps(answered).encode()),
        PDF: Attachment(b"%PDF-1.7 atlas"),
    }
    record, *behind = read(offloaded(), attached)
    prompt, response = record.drafts[0], next(draft for draft in record.drafts if draft.kind == "response")
    assert (prompt.content, response.content) == (asked, answered)
    (gap,) = json.loads(prompt.metadata["content_gaps"])
    assert (gap["state"], gap["ref"]) == ("by_ref", INPUT)
    assert gap["original_sha256"] == hashlib.sha256(attached[INPUT].data).hexdigest()
    assert {draft.kind for draft in record.drafts} >= {"tool_call", "tool_result", "guardrail"}
    assert [unit.source for unit in behind] == [attached[PDF].data, attached[INPUT].data, attached[OUTPUT].data]
    assert [unit.drafts[0].metadata["document_label"] for unit in behind] == ["atlas", "request body", "response body"]
    for unit in behind:
        (draft,) = unit.drafts
        assert (draft.kind, draft.metadata["exchange_id"]) == ("context", REQUEST)
        assert draft.metadata["document_sha256"] == hashlib.sha256(unit.source).hexdigest()
        assert unit.source_id.startswith(record.source_id + "/s3://")
    again = read(offloaded(), attached)
    assert [unit.source_id for unit in again] == [unit.source_id for unit in (record, *behind)]


def test_a_stream_in_an_object_of_its_own_is_put_together_too() -> None:
    record = changed(INVOKE, output={"outputBodyS3Path": OUTPUT})
    found, *_ = read(record, {OUTPUT: Attachment(gzip.compress(json.dumps(STREAM).encode()))})
    assert [draft.kind for draft in found.drafts] == ["prompt", "response", "tool_call"]
    states = [state for _, state in gaps_of(found.drafts[1])]
    assert states == ["by_ref", "reconstructed"]


@pytest.mark.parametrize("attached", [{}, {INPUT: Attachment(problem="there is no such object")}])
def test_a_body_that_cannot_be_had_is_a_gap_that_names_it(attached: dict[str, Attachment]) -> None:
    (unit,) = read(offloaded(), attached)
    prompt = unit.drafts[0]
    (gap,) = json.loads(prompt.metadata["content_gaps"])
    assert (gap["state"], gap["ref"]) == ("not_captured", INPUT)
    assert prompt.content is None
    assert prompt.metadata["content_state"] == "not_captured"
    assert unit.drafts[-1].metadata["outcome"] == "ok"


def test_a_body_that_is_no_json_is_evidence_all_the_same() -> None:
    record, behind, *_ = read(offloaded("image/png"), {INPUT: Attachment(b"\x89PNG")})
    (gap,) = json.loads(record.drafts[0].metadata["content_gaps"])
    assert (gap["state"], behind.source) == ("by_ref", b"\x89PNG")


def test_references_are_bodies_and_then_what_these_refer_to() -> None:
    body = json.dumps(offloaded()).encode()
    assert BedrockFormat().references(body, {}) == [INPUT, OUTPUT]
    attached = {INPUT: Attachment(gzip.compress(json.dumps(CONVERSE["input"]["inputBodyJson"]).encode()))}
    assert BedrockFormat().references(body, attached) == [INPUT, OUTPUT, PDF]
    assert BedrockFormat().references(json.dumps(CONVERSE).encode(), {}) == [PDF]


def test_what_a_caller_writes_into_its_request_is_not_fetched_with_our_rights() -> None:
    record = changed(CONVERSE)
    blocks = record["input"]["inputBodyJson"]["messages"][2]["content"]
    blocks.append({"image": {"source": {"s3Uri": "s3://payroll/salaries.csv"}}})
    blocks.append({"image": {"source": {"s3Uri": f"{FOLDER}/somebody-elses_input.json.gz"}}})
    blocks.append({"video": {"source": {"s3Location": {"uri": "s3://caller/film.mp4"}}}})
    assert BedrockFormat().references(json.dumps(record).encode(), {}) == [PDF]
    video = unit_of(record).drafts[-5]
    assert video.metadata["document_source"] == "s3://caller/film.mp4"
    assert gaps_of(video) == [("/content/document/video/source", "by_ref")]


def cloudwatch(*messages: str, kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    events = [{"id": f"e-{at}", "timestamp": 1787302800000 + at, "message": text} for at, text in enumerate(messages)]
    return {
        "messageType": kind,
        "owner": "111122223333",
        "logGroup": "/bedrock",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["affidavit"],
        "logEvents": events,
    }


def packed(value: object) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: json.dumps(inner).encode(),
        lambda inner: gzip.compress(json.dumps(inner).encode()),
        lambda inner: json.dumps({"awslogs": {"data": packed(inner)}}).encode(),
        lambda inner: json.dumps({"requestId": "f-1", "timestamp": 1, "records": [{"data": packed(inner)}]}).encode(),
    ],
)
def test_records_come_out_of_the_envelopes_of_aws(wrap: Any) -> None:
    texts = [json.dumps(CONVERSE), json.dumps(INVOKE)]
    units = BedrockFormat().read(wrap(cloudwatch(*texts)), received()).units
    assert [unit.source.decode() for unit in units] == texts
    extras = units[1].drafts[0].metadata["extras"]
    assert (extras["cloudwatch.id"], extras["cloudwatch.logGroup"]) == ('"e-1"', '"/bedrock"')
    plain = BedrockFormat().read("\n".join(texts).encode(), received()).units
    assert [unit.source_id for unit in plain] == [unit.source_id for unit in units]


def test_a_word_between_the_services_is_a_session_event() -> None:
    inner = cloudwatch("CWL CONTROL MESSAGE: Checking health of destination", kind="CONTROL_MESSAGE")
    (unit,) = BedrockFormat().read(json.dumps(inner).encode(), received()).units
    assert (unit.error, unit.drafts[0].kind) == ("", "session")
    assert unit.drafts[0].metadata["operation"] == "CONTROL_MESSAGE"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "no fields"),
        (b'{"a": 1}', "an object with a"),
        (b"5", "got int"),
        (b"null", "got NoneType"),
        (b"\x1f\x8bnot gzip", "does not inflate"),
        (b'{"awslogs": {"data": "!"}}', "not base64"),
        (b'{"logEvents": [{"id": "1"}]}', "without a message"),
        (b'{"requestId": "f", "timestamp": 1, "records": [{"data": ""}]}', "without data"),
        (b"\xff\xfe{", "not"),
    ],
)
def test_what_is_no_record_says_why(body: bytes, says: str) -> None:
    (unit,) = BedrockFormat().read(body, received()).units
    assert says in unit.error


def test_a_bomb_in_an_envelope_costs_what_the_limit_allows() -> None:
    inner = base64.b64encode(gzip.compress(b" " * (80 * 1024 * 1024))).decode()
    (unit,) = BedrockFormat().read(json.dumps({"awslogs": {"data": inner}}).encode(), received()).units
    assert "expected at most" in unit.error


def test_published_payloads_lose_no_leaf(samples: Path) -> None:
    record = json.loads((samples / "bedrock" / "invokemodel-guardrail-intervened.json").read_bytes())
    assert_kept(record, unit_of(record).drafts, dropped=("/schemaType",))
    assert drafts_of(record)["guardrail"].metadata["guardrail_name"] == "h28wrktbwagn"
    assert drafts_of(record)["response"].metadata["outcome"] == "blocked"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *(CONVERSE["input"]["inputBodyJson"], CONVERSE["output"]["outputBodyJson"], STREAM, CONVERSE["input"]),
        *(INVOKE["output"], {"outputBodyS3Path": OUTPUT}, CONVERSE["identity"], "InvokeModelWithResponseStream"),
    ]
)
SIDES = st.dictionaries(
    st.sampled_from(["inputBodyJson", "outputBodyJson", "inputBodyS3Path", "outputBodyS3Path", "inputTokenCount"]),
    JSON | PIECES,
)
RECORDS = st.dictionaries(st.sampled_from(sorted(CONVERSE)), JSON | PIECES | SIDES)


@given(RECORDS, st.binary(max_size=20))
def test_no_record_makes_the_format_fail_or_lose_its_bytes(record: dict[str, Any], fetched: bytes) -> None:
    body = json.dumps(record).encode()
    attached = {ref: Attachment(fetched) for ref in (INPUT, OUTPUT, PDF)}
    around = with_attached(attached)
    BedrockFormat().references(body, attached)
    reading = BedrockFormat().read(body, around)
    assert reading.units[0].source == body
    assert all(unit.error or unit.drafts for unit in reading.units)
    assert all(assemble(reading, around, Stamp("c", 0)))


@given(st.lists(st.dictionaries(st.text(max_size=4) | st.sampled_from(["type", "index", "delta"]), JSON), max_size=6))
def test_no_stream_makes_the_format_fail(chunks: list[Any]) -> None:
    for first in (STREAM[0], {"messageStart": {}}, {"object": "chat.completion.chunk"}, {}):
        record = invoked("x", {}, [first, *chunks], "InvokeModelWithResponseStream")
        assert unit_of(record).drafts


@given(st.binary())
def test_no_bytes_make_the_format_fail(body: bytes) -> None:
    for unit in BedrockFormat().read(body, received()).units:
        assert unit.error or unit.drafts


def test_depth_and_size_that_no_sender_means() -> None:
    deep = b'{"modelId":"m","operation":"o","input":{"inputBodyJson":' + b'{"messages":[' * 400 + b"]}" * 400 + b"}}"
    many = json.dumps({"modelId": "m", "operation": "o", **{f"field-{at}": at for at in range(10_000)}}).encode()
    huge = b'{"modelId":"m","operation":"o","input":{"inputTokenCount":' + b"9" * 400 + b"}}"
    twice = b'{"modelId":"m","operation":"o","operation":"p"}'
    lone = b'{"modelId":"\\ud800","operation":"o","requestId":"\\udfff"}'
    for body in (deep, many, huge, twice, lone):
        reading = BedrockFormat().read(body, received())
        assert [unit.source for unit in reading.units] == [body]
        assert all(assemble(reading, received(), Stamp("c", 0)))


def test_records_are_pushed_with_a_token() -> None:
    body = gzip.compress(f"{json.dumps(CONVERSE)}\n{json.dumps(INVOKE)}\n".encode())
    with collector_server("bedrock") as collector:
        answer = httpx.post(f"{collector.url}/v1/bedrock", content=body, headers=collector.headers)
        repeat = httpx.post(f"{collector.url}/v1/bedrock", content=body, headers=collector.headers)
        events = collector.opened()
    assert (answer.status_code, answer.json()["accepted"], repeat.status_code) == (200, 2, 200)
    assert len({event.metadata["event_id"] for event in events}) == len(events) / 2
    contexts = [event for event in events if event.metadata["kind"] == "context"]
    assert len(contexts) == 4  # the format tells of them, and nobody does a second time
    assert {event.metadata["gateway"] for event in events} == {"bedrock"}


def test_firehose_is_let_in_by_its_key_and_gets_its_id_back() -> None:
    webhook = Webhook("aws", "acme", "bedrock", (b"old-key", b"new-key"))
    body = {"requestId": "f-1", "timestamp": 1, "records": [{"data": packed(cloudwatch(json.dumps(CONVERSE)))}]}
    with collector_server("bedrock", webhooks={"aws": webhook}) as collector:
        url = f"{collector.url}/v1/bedrock/firehose/aws"
        answers = [
            httpx.post(url, json=body, headers={"X-Amz-Firehose-Access-Key": key})
            for key in ("new-key", "old-key", "wrong", "")
        ]
        unreadable = httpx.post(url, json={"requestId": "f-2"}, headers={"X-Amz-Firehose-Access-Key": "new-key"})
        events = collector.opened()
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401]
    assert [answer.json()["requestId"] for answer in answers[:2]] == ["f-1", "f-1"]
    assert "errorMessage" in answers[2].json()
    assert (unreadable.status_code, unreadable.json()["requestId"]) == (200, "f-2")
    assert {event.metadata["kind"] for event in events} >= {"prompt", "response", "unparsed"}
    assert "new-key" not in json.dumps([event.metadata for event in events])
