"""JSON-RPC 2.0 as the Model Context Protocol uses it: what a call names, and whether its answer says that it failed."""

from __future__ import annotations

from typing import Any, NamedTuple

from collector.json_units import encode_content


class Call(NamedTuple):
    """``tools/call``, ``resources/read`` or ``prompts/get``: the name, and the arguments as they were sent."""

    name: str
    arguments: Any


def call_parts(message: Any) -> Call:
    """Name and arguments of a request; empty where it is none."""
    params = message.get("params") if isinstance(message, dict) else None
    if not isinstance(params, dict):
        return Call("", None)
    name = next((params[key] for key in ("name", "uri") if isinstance(params.get(key), str)), "")
    return Call(name, params.get("arguments"))


def says_error(message: Any) -> bool:
    """Whether a response is an error, or the success that carries a tool's failure (``isError``)."""
    if not isinstance(message, dict):
        return False
    result = message.get("result", message)
    return message.get("error") is not None or (isinstance(result, dict) and result.get("isError") is True)


def rpc_id(value: Any) -> str:
    """An id as JSON text, so that ``7`` and ``"7"`` stay different; ``""`` where there is none."""
    return "" if value is None else encode_content(value).decode("utf-8", "replace")[:256]
