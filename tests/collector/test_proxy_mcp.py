"""MCP through the recording proxy: calls and results of tools, with ids as they are, in JSON and in streams."""

from __future__ import annotations

from typing import Any

import pytest
from provider_streams import sse
from recorded import drafts_of, kinds, recorded

META = {"traceparent": "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01", "progressToken": "p1"}
PARAMS = {"name": "query_db", "arguments": {"sql": "select 1"}, "_meta": META}
CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": PARAMS}
DENIED = {
    "content": [{"type": "text", "text": "permission denied"}],
    "structuredContent": {"rows": []},
    "isError": True,
}
FINE = {"content": [{"type": "text", "text": "1"}], "isError": False}
SESSION = [("mcp-session-id", "m-1")]


def mcp(request: Any, response: Any, **more: Any) -> bytes:
    return recorded(request, response, api="mcp", path="/mcp", headers=SESSION, **more)


def result(value: Any, call_id: Any = 7) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "result": value}


def test_a_call_and_the_failure_of_its_tool() -> None:
    drafts = drafts_of(mcp(CALL, result(DENIED)))
    assert kinds(drafts) == ["tool_call", "tool_result"]
    called, came = drafts[0].metadata, drafts[1].metadata
    assert (called["tool_name"], called["tool_kind"], called["operation"]) == ("query_db", "mcp", "execute_tool")
    assert (called["session_id"], called["tool_session_id"]) == ("m-1", "m-1")
    assert (called["trace_id"], called["tool_server_url"]) == (META["traceparent"][3:35], "https://mcp.example/mcp")
    assert drafts[0].content["arguments"] == {"sql": "select 1"}
    assert drafts[0].content["message"]["params"] == {"name": "query_db", "_meta": META}
    assert drafts[1].content["result"] == DENIED
    assert (came["tool_is_error"], came["outcome"], came["http_status"]) == (True, "error", 200)


@pytest.mark.parametrize(("call_id", "kept"), [(7, "7"), ("7", '"7"'), (0, "0"), ("", '""')])
def test_the_type_of_the_id_is_kept(call_id: Any, kept: str) -> None:
    drafts = drafts_of(mcp({**CALL, "id": call_id}, result(FINE, call_id)))
    assert {draft.metadata["jsonrpc_id"] for draft in drafts} == {kept}
    assert (drafts[1].metadata["tool_is_error"], drafts[1].metadata["outcome"]) == (False, "ok")


def test_a_failure_of_the_protocol() -> None:
    error = {"code": -32602, "message": "Unknown tool: query_db", "data": {"hint": "list them"}}
    came = drafts_of(mcp(CALL, {"jsonrpc": "2.0", "id": 7, "error": error}))[1]
    assert came.content["result"] == error
    assert (came.metadata["error_code"], came.metadata["outcome"]) == ("-32602", "error")
    assert came.metadata["error_message"] == "Unknown tool: query_db"


def test_an_answer_in_a_stream_with_what_the_server_asks_meanwhile() -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "p1", "progress": 1}}
    sampling = {"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {"messages": []}}
    stream = sse([{**one, "type": "message"} for one in (progress, sampling, result(FINE))], named=False)
    drafts = drafts_of(mcp(CALL, stream, media_type="text/event-stream"))
    assert kinds(drafts) == ["tool_call", "tool_result", "response"]
    assert drafts[1].content["result"] == FINE
    assert [message["method"] for message in drafts[2].content] == ["notifications/progress", "sampling/createMessage"]


def test_a_stream_that_ends_without_the_result_is_partial() -> None:
    drafts = drafts_of(mcp(CALL, b": waiting\n\n", media_type="text/event-stream", end="broken"))
    assert (drafts[1].kind, drafts[1].metadata["outcome"], drafts[1].content) == ("tool_result", "partial", None)


def test_a_batch_answers_each_by_its_id() -> None:
    asked = [CALL, {**CALL, "id": "7", "params": {"name": "other"}}, {"jsonrpc": "2.0", "method": "notifications/x"}]
    drafts = drafts_of(mcp(asked, [result("two", "7"), result("one", 7)]))
    assert kinds(drafts) == ["tool_call", "tool_call", "prompt", "tool_result", "tool_result"]
    assert [draft.content["result"] for draft in drafts[3:]] == ["one", "two"]
    assert drafts[1].pointer == "/request/1"


def test_other_methods_are_a_prompt_and_a_response() -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"clientInfo": {"name": "c", "version": "1"}}}
    drafts = drafts_of(mcp(asked, result({"serverInfo": {"name": "s"}}, 1), answer_headers=[("mcp-session-id", "m-2")]))
    assert kinds(drafts) == ["prompt", "response"]
    assert {draft.metadata["operation"] for draft in drafts} == {"mcp.initialize"}
    assert (drafts[0].content, drafts[1].content["result"]) == (asked, {"serverInfo": {"name": "s"}})


def test_a_notification_that_is_accepted_and_not_answered() -> None:
    drafts = drafts_of(mcp({"jsonrpc": "2.0", "method": "notifications/initialized"}, b"", status=202))
    assert kinds(drafts) == ["prompt", "response"]
    assert (drafts[1].metadata["http_status"], drafts[1].metadata["outcome"]) == (202, "ok")


def test_the_stream_a_server_holds_open_for_its_own_messages() -> None:
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    stream = sse([{**changed, "type": "message"}], named=False)
    drafts = drafts_of(mcp(b"", stream, method="GET", media_type="text/event-stream", end="cancelled"))
    assert drafts[-1].kind == "response"
    assert drafts[-1].content[0]["method"] == "notifications/tools/list_changed"
