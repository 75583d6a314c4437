"""Answers that the proxy gives itself, in the words of the API that the client expects behind it. Pure."""

from __future__ import annotations

from typing import Any

from collector.json_units import encode_content
from collector.proxy import Api
from collector.routes import Answer

_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    426: "invalid_request_error",
    501: "invalid_request_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_OPENAI = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    426: "invalid_request_error",
    501: "invalid_request_error",
}

BY_US = "x-affidavit-refused"
"""Header of every answer that is the proxy's own, so that nobody takes it for the provider's."""


def refusal(api: Api, status: int, message: str, *, retry_after: int = 0) -> Answer:
    """The answer for a request that the proxy could not pass on."""
    text = f"affidavit proxy: {message}"
    headers = {"content-type": "application/json", BY_US: "1"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    return Answer(status, headers, encode_content(_body(api, status, text)))


def _body(api: Api, status: int, text: str) -> dict[str, Any]:
    if api == "anthropic":
        return {"type": "error", "error": {"type": _ANTHROPIC.get(status, "api_error"), "message": text}}
    if api == "mcp":
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": text}}
    kind = _OPENAI.get(status, "server_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": f"affidavit_proxy_{status}"}}
